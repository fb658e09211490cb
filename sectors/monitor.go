package sectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"posthaste/post"
)

// lookEvery is how often a store is looked at. A mount that is lost costs the jobs that come meanwhile a moment, since they look too.
const lookEvery = 10 * time.Second

// MonitorOptions are the settings of a Monitor. The zero value is right for production.
type MonitorOptions struct {
	Log   *slog.Logger  // nil: slog.Default()
	Every time.Duration // between two looks at a store; 0 means 10 s
	// Changed is called, with no lock held, when a store was lost, is back, or is lost for another reason. It must not block.
	Changed func()
}

// Monitor knows which of a machine's stores can be read. It only reads, and a disk that hangs holds up nobody but those who ask
// about it, for a limited time.
type Monitor struct {
	stores  *Stores
	log     *slog.Logger
	every   time.Duration
	changed func()

	mu      sync.Mutex
	watched map[string]*watched
}

// watched is what is known of a store.
type watched struct {
	*mount
	looking sync.Mutex // one look at a time

	// Guarded by the monitor's mutex.
	looked bool  // at least once
	err    error // why it cannot be read
	had    filled
}

// filled says which folders of a store have something in them.
type filled [4]bool

// foldersInPairs are the folders of a store, each replica's beside its cache's.
var foldersInPairs = [4]string{sealedFolder, cacheFolder, updateFolder, updateCacheFolder}

// errNotLookedAt is the state of a store before the first look has come back.
var errNotLookedAt = errors.New("it has not been looked at yet")

// NewMonitor makes a monitor, which does nothing until Run or Look is called.
func NewMonitor(stores *Stores, opts MonitorOptions) *Monitor {
	m := &Monitor{stores: stores, log: opts.Log, every: opts.Every, changed: opts.Changed, watched: map[string]*watched{}}
	if m.log == nil {
		m.log = slog.Default()
	}
	if m.every == 0 {
		m.every = lookEvery
	}
	if m.changed == nil {
		m.changed = func() {}
	}
	for _, mount := range stores.list {
		m.watched[mount.Name] = &watched{mount: mount, err: errNotLookedAt}
	}
	return m
}

// Run looks at every store at once and then every few seconds, side by side, until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range m.watched {
		wg.Go(func() {
			ticker := time.NewTicker(m.every)
			defer ticker.Stop()
			for ctx.Err() == nil {
				_ = m.look(ctx, w)
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
}

// Look looks at a store now and says why it cannot be read, or nil. It takes at most some 15 s; ErrStoreHangs says that the disk did
// not answer, ErrNotAttached that this machine does not have the store.
func (m *Monitor) Look(ctx context.Context, store string) error {
	w := m.watched[store]
	if w == nil {
		return ErrNotAttached{Store: store}
	}
	return m.look(ctx, w)
}

// Reachable says why a store cannot be read, as it was at the last look, or nil. A store that was not looked at yet is looked at.
func (m *Monitor) Reachable(ctx context.Context, store string) error {
	w := m.watched[store]
	if w == nil {
		return ErrNotAttached{Store: store}
	}
	m.mu.Lock()
	looked, err := w.looked, w.err
	m.mu.Unlock()
	if looked {
		return err
	}
	return m.look(ctx, w)
}

// Readable are the names of the stores that can be read, ascending.
func (m *Monitor) Readable() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := []string{}
	for name, w := range m.watched {
		if w.err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Lost are the stores that cannot be read, by name, and why.
func (m *Monitor) Lost() []post.LostStore {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lost []post.LostStore
	for _, mount := range m.stores.list {
		if w := m.watched[mount.Name]; w.err != nil {
			lost = append(lost, post.LostStore{Name: w.Name, Path: w.Path, Reason: w.err.Error()})
		}
	}
	slices.SortFunc(lost, func(a, b post.LostStore) int { return cmp.Compare(a.Name, b.Name) })
	return lost
}

// Settled returns when every store has been looked at once, or when ctx ends: a disk that hangs is known to after 15 s only.
func (m *Monitor) Settled(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !m.settled() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Monitor) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.watched {
		if !w.looked {
			return false
		}
	}
	return true
}

// look looks at a store and takes note. What is wrong is logged when it begins and when it changes, and when it is over.
func (m *Monitor) look(ctx context.Context, w *watched) error {
	w.looking.Lock()
	defer w.looking.Unlock()
	m.mu.Lock()
	before := w.had
	m.mu.Unlock()
	has, err := within(w.mount, m.stores.limit, ctx.Done(), func() (filled, error) { return m.stores.see(w.Store, before) })
	if errors.Is(err, errStopped) {
		return fmt.Errorf("store %q: %w", w.Name, context.Cause(ctx))
	}
	m.mu.Lock()
	first, was := !w.looked, w.err
	w.looked, w.err = true, err
	if err == nil {
		w.had = has
	}
	m.mu.Unlock()
	switch {
	case err == nil && was == nil, err != nil && was != nil && err.Error() == was.Error():
		return err
	case err == nil && first:
		m.log.Debug("a store can be read", "store", w.Name, "path", w.Path)
	case err == nil:
		m.log.Info("a store is back", "store", w.Name, "path", w.Path)
	default:
		m.log.Error("a store is in trouble; its sectors cannot be proven here until it is back", "store", w.Name, "path", w.Path, "error", err)
	}
	m.changed()
	return err
}

// see says what is wrong with a store, at first sight and compared with what it had before: the empty folder that an unmounted disk
// leaves behind looks like a store without sectors, and all that it should hold would be declared faulty.
func (s *Stores) see(store Store, before filled) (filled, error) {
	var has filled
	if err := s.look(store); err != nil {
		return has, err
	}
	if _, err := s.disk.readDir(store.Path); err != nil {
		return has, fmt.Errorf("store %q: listing it: %w", store.Name, err)
	}
	for i, folder := range foldersInPairs {
		full, err := s.disk.hasEntries(filepath.Join(store.Path, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return has, fmt.Errorf("store %q: listing %s/: %w", store.Name, folder, err)
		}
		has[i] = full
	}
	if i := has.missing(before); i >= 0 {
		return has, fmt.Errorf("store %q: %s had sectors in %s/ and has none now; is it still mounted?", store.Name, store.Path, foldersInPairs[i])
	}
	return has, nil
}

// missing is a folder that had something in it and should still have, or -1. An upgrade may empty one pair of folders and fill the
// other, but not one of a pair.
func (f filled) missing(before filled) int {
	none := f == filled{}
	for i := range f {
		partner := f[i^1]
		if before[i] && !f[i] && (partner || none) {
			return i
		}
	}
	return -1
}

// hasEntries opens a folder and reads one name at most: a provider's have tens of thousands.
func hasEntries(path string) (bool, error) {
	folder, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) > 0, err
}
