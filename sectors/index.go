package sectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// IndexOptions are the index's time limits. Zero means the default.
type IndexOptions struct {
	Every     time.Duration // how often all stores are listed anew; 10 min
	MissEvery time.Duration // how often at most, because a sector was not found; 1 s, so that a reset after a mount came back finds it
	ScanLimit time.Duration // how long listing one store may take; 2 min (a folder of 100,000 names over NFS: seconds)
	Log       *slog.Logger  // nil: slog's default
}

func (o IndexOptions) withDefaults() IndexOptions {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Every, 10*time.Minute)
	set(&o.MissEvery, time.Second)
	set(&o.ScanLimit, 2*time.Minute)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// StoreState is what the last scan of a store said.
type StoreState struct {
	Store   Store
	Sectors int       // with both replica and cache, ordinary and upgraded ones counted apart
	Scanned time.Time // the last scan that succeeded; zero: none did
	Err     error     // nil if the last scan succeeded
}

// Index says which store holds a sector. It knows what listing the stores' folders tells. Safe for use by many goroutines.
type Index struct {
	stores  *Stores
	options IndexOptions

	scanning sync.Mutex // one scan of all stores at a time
	mu       sync.RWMutex
	seen     []listing // per store, in the order of the configuration
	scanned  time.Time // when the last scan began
}

// listing is what a store held when it was last listed with success, and what came of the last try.
type listing struct {
	holds   map[sectorID]parts
	scanned time.Time
	err     error
}

// NewIndex makes an empty index; Run fills it, or the first Find does.
func NewIndex(stores *Stores, options IndexOptions) *Index {
	return &Index{stores: stores, options: options.withDefaults(), seen: make([]listing, len(stores.list))}
}

// Run lists the stores now and then every Every, until ctx ends.
func (x *Index) Run(ctx context.Context) {
	ticker := time.NewTicker(x.options.Every)
	defer ticker.Stop()
	for {
		x.Refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Refresh lists all stores now, side by side, and says what it found. A store that cannot be listed keeps what it was last
// seen to hold: workers reach it by mounts of their own, and a sector must not be declared faulty because this machine's
// mount is down.
func (x *Index) Refresh(ctx context.Context) []StoreState {
	x.refresh(ctx, time.Now())
	return x.States()
}

// refresh scans unless a scan has begun after asOf.
func (x *Index) refresh(ctx context.Context, asOf time.Time) {
	x.scanning.Lock()
	defer x.scanning.Unlock()
	x.mu.RLock()
	done := x.scanned.After(asOf)
	x.mu.RUnlock()
	if done || ctx.Err() != nil {
		return
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i, m := range x.stores.list {
		wg.Go(func() {
			holds, err := within(m, x.options.ScanLimit, ctx.Done(), func() (map[sectorID]parts, error) { return x.stores.scan(m.Store) })
			if ctx.Err() == nil {
				x.note(i, holds, err)
			}
		})
	}
	wg.Wait()
	x.mu.Lock()
	x.scanned = began
	x.mu.Unlock()
}

// freshen returns when the stores have been listed by a scan that began after the call, whoever wanted it, or when ctx ends. Who mounts a disk and
// has a job run again in the same second must not be told what was there before.
func (x *Index) freshen(ctx context.Context) {
	asked := time.Now()
	x.mu.RLock()
	wait := x.options.MissEvery - asked.Sub(x.scanned)
	x.mu.RUnlock()
	select {
	case <-time.After(wait):
		x.refresh(ctx, asked)
	case <-ctx.Done():
	}
}

// note takes in what came of listing store i, and logs it when it is news.
func (x *Index) note(i int, holds map[sectorID]parts, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := x.seen[i]
	name, log := x.stores.list[i].Name, x.options.Log
	if err != nil {
		if was.err == nil || was.err.Error() != err.Error() {
			log.Warn("a store cannot be listed; what it was last seen to hold stays known", "store", name, "sectors", count(was.holds), "err", err)
		}
		x.seen[i].err = err
		return
	}
	x.seen[i] = listing{holds: holds, scanned: time.Now()}
	if was.err != nil || was.scanned.IsZero() || count(was.holds) != count(holds) {
		level, text := slog.LevelInfo, "listed a store"
		if count(holds) == 0 {
			level, text = slog.LevelWarn, "a store holds no sectors; is its path the folder with sealed/ and cache/ in it?"
		}
		log.Log(context.Background(), level, text, "store", name, "path", x.stores.list[i].Path, "sectors", count(holds))
	}
}

// States are the stores as last listed, in the order of the configuration.
func (x *Index) States() []StoreState {
	x.mu.RLock()
	defer x.mu.RUnlock()
	states := make([]StoreState, len(x.seen))
	for i, l := range x.seen {
		states[i] = StoreState{Store: x.stores.list[i].Store, Sectors: count(l.holds), Scanned: l.scanned, Err: l.err}
	}
	return states
}

// Find says for each sector which store holds it, in the order given; what no store holds is missing, with the reason.
// A miss makes it list the stores again first, at most every MissEvery, for which it waits: what is called missing was missing after it was
// asked. An error means that nothing can be said, because no store could ever be listed: then nothing may be called missing.
func (x *Index) Find(ctx context.Context, miner abi.ActorID, sectors post.Sectors) (found post.Sectors, missing []post.Skipped, err error) {
	found, missing = x.lookUp(miner, sectors)
	if len(missing) > 0 {
		x.freshen(ctx)
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("looking up %d sectors of %s: %w", len(sectors), post.MinerName(miner), err)
		}
		found, missing = x.lookUp(miner, sectors)
	}
	if len(missing) > 0 && x.blind() {
		return nil, nil, fmt.Errorf("looking up %d sectors of %s: %w", len(sectors), post.MinerName(miner), x.trouble())
	}
	return found, missing, nil
}

// lookUp is Find from what is known.
func (x *Index) lookUp(miner abi.ActorID, sectors post.Sectors) (found post.Sectors, missing []post.Skipped) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found = make(post.Sectors, 0, len(sectors))
	for _, sector := range sectors {
		id, halves := sectorID{miner, sector.Number}, []string(nil)
		sector.Store = ""
		for i, l := range x.seen {
			held, name := l.holds[id], x.stores.list[i].Name
			if held.whole(sector.Upgraded) {
				sector.Store = name
				break
			}
			if half := held.half(sector.Upgraded); half != "" {
				halves = append(halves, fmt.Sprintf("store %q %s", name, half))
			}
		}
		if sector.Store != "" {
			found = append(found, sector)
			continue
		}
		missing = append(missing, post.Skipped{Sector: sector.Number, Reason: x.reason(halves)})
	}
	return found, missing
}

// reason says why a sector counts as missing; x.mu is held.
func (x *Index) reason(halves []string) string {
	if len(halves) > 0 {
		return strings.Join(halves, "; ")
	}
	var down []string
	for i, l := range x.seen {
		if l.err != nil {
			down = append(down, fmt.Sprintf("%q", x.stores.list[i].Name))
		}
	}
	if len(down) > 0 {
		return fmt.Sprintf("in none of the stores that could be listed; not listed: %s", strings.Join(down, ", "))
	}
	return fmt.Sprintf("in none of the %d stores (%s)", len(x.seen), strings.Join(x.stores.Names(), ", "))
}

// blind says whether no store was ever listed.
func (x *Index) blind() bool { return len(x.Unlisted()) == len(x.seen) }

// Unlisted names the stores that have not been listed since the start. What is missing may be there.
func (x *Index) Unlisted() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var names []string
	for i, l := range x.seen {
		if l.scanned.IsZero() {
			names = append(names, x.stores.list[i].Name)
		}
	}
	return names
}

// trouble is why the index is blind.
func (x *Index) trouble() error {
	var errs []error
	for _, state := range x.States() {
		errs = append(errs, state.Err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("no store could be listed: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return errors.New("no store is configured; add [[stores]] to posthaste.toml")
}
