package sectors

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func replaceRoot(text, root string) string { return strings.ReplaceAll(text, "ROOT", root) }

func quiet() IndexOptions {
	return IndexOptions{MissEvery: time.Nanosecond, ScanLimit: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// TestFind lays two stores, a and b, and asks for one sector.
func TestFind(t *testing.T) {
	for situation, c := range map[string]struct {
		a, b     []string
		upgraded bool
		store    string // where it is found
		reason   string // or why not
	}{
		"in the first store":  {a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, b: []string{"sealed/"}, store: "a"},
		"in the second store": {a: []string{"sealed/"}, b: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, store: "b"},
		"in both: the first": {
			a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, b: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, store: "a",
		},
		"whole in the second, half in the first": {
			a: []string{"sealed/s-t01000-7"}, b: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, store: "b",
		},
		"mainnet's spelling": {a: []string{"sealed/s-f01000-7", "cache/s-f01000-7/"}, b: []string{"sealed/"}, store: "a"},
		"upgraded":           {a: []string{"sealed/"}, b: []string{"update/s-t01000-7", "update-cache/s-t01000-7/"}, upgraded: true, store: "b"},
		"upgraded on chain, not on disk": {
			a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, b: []string{"sealed/"}, upgraded: true,
			reason: `store "a" has it only as it was before its upgrade: in sealed/, not in update/`,
		},
		"upgraded, and both pairs are there": {
			a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, b: []string{"sealed/", "update/s-t01000-7", "update-cache/s-t01000-7/"}, upgraded: true, store: "b",
		},
		"not upgraded on chain, and both pairs are there": {
			a: []string{"update/s-t01000-7", "update-cache/s-t01000-7/"}, b: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, store: "b",
		},
		"upgraded on disk, not on chain": {
			a: []string{"update/s-t01000-7", "update-cache/s-t01000-7/"}, b: []string{"sealed/"},
			reason: `store "a" has it only upgraded, in update/, and on the chain it is not: it has to be in sealed/`,
		},
		"upgraded, half of it": {
			a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/", "update/s-t01000-7"}, b: []string{"sealed/"}, upgraded: true,
			reason: `store "a" has it in update/ but not in update-cache/`,
		},
		"replica without cache": {
			a: []string{"sealed/s-t01000-7"}, b: []string{"sealed/"}, reason: `store "a" has it in sealed/ but not in cache/`,
		},
		"replica here, cache there": {
			a: []string{"sealed/s-t01000-7"}, b: []string{"sealed/", "cache/s-t01000-7/"},
			reason: `store "a" has it in sealed/ but not in cache/; store "b" has it in cache/ but not in sealed/`,
		},
		"another miner's sector of that number": {
			a: []string{"sealed/s-t01001-7", "cache/s-t01001-7/"}, b: []string{"sealed/"}, reason: "in none of the 2 stores (a, b)",
		},
		"a folder where the replica should be": {
			a: []string{"sealed/s-t01000-7/", "cache/s-t01000-7/"}, b: []string{"sealed/"},
			reason: `store "a" has it in cache/ but not in sealed/`,
		},
		"a temporary file of that name": {
			a: []string{"sealed/s-t01000-7.tmp", "cache/s-t01000-7/"}, b: []string{"sealed/"},
			reason: `store "a" has it in cache/ but not in sealed/`,
		},
		"not found while a store is down": {
			a: []string{"sealed/"}, b: nil, reason: `in none of the stores that could be listed; not listed: "b"`,
		},
		"found although another store is down": {a: []string{"sealed/s-t01000-7", "cache/s-t01000-7/"}, b: nil, store: "a"},
	} {
		t.Run(situation, func(t *testing.T) {
			x := NewIndex(mustStores(t, Store{"a", lay(t, c.a...)}, Store{"b", lay(t, c.b...)}), quiet())
			asked := post.Sectors{{Number: 7, CommR: [32]byte{1}, Upgraded: c.upgraded}}
			found, missing, err := x.Find(t.Context(), 1000, asked)
			require.NoError(t, err)
			if c.store == "" {
				require.Empty(t, found)
				require.Equal(t, []post.Skipped{{Sector: 7, Reason: c.reason}}, missing)
				return
			}
			require.Empty(t, missing)
			require.Equal(t, post.Sectors{{Number: 7, CommR: [32]byte{1}, Upgraded: c.upgraded, Store: c.store}}, found)
			require.Empty(t, asked[0].Store, "the caller's sectors stay as they were")
		})
	}
}

func TestFindSaysNothingWhenNoStoreCanBeListed(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	_, missing, err := NewIndex(mustStores(t, Store{"a", gone}), quiet()).Find(t.Context(), 1000, post.Sectors{{Number: 7}})
	require.Empty(t, missing, "a sector must not be called missing, and so be declared faulty, because a mount is down")
	require.EqualError(t, err, replaceRoot(`looking up 1 sectors of f01000: no store could be listed: store "a": there is no ROOT; is it mounted?`, gone))

	_, _, err = NewIndex(mustStores(t), quiet()).Find(t.Context(), 1000, post.Sectors{{Number: 7}})
	require.EqualError(t, err, "looking up 1 sectors of f01000: no store is configured; add [[stores]] to posthaste.toml")
}

func TestAStoreThatGoesAwayStaysKnown(t *testing.T) {
	root := lay(t, "sealed/s-t01000-7", "cache/s-t01000-7/")
	x := NewIndex(mustStores(t, Store{"a", root}), quiet())
	require.NoError(t, x.Refresh(t.Context())[0].Err)

	require.NoError(t, os.Rename(root, root+".away"))
	states := x.Refresh(t.Context())
	require.Error(t, states[0].Err)
	require.Equal(t, 1, states[0].Sectors)
	found, missing, err := x.Find(t.Context(), 1000, post.Sectors{{Number: 7}})
	require.NoError(t, err)
	require.Empty(t, missing)
	require.Equal(t, "a", found[0].Store)

	require.NoError(t, os.Rename(root+".away", root))
	require.NoError(t, os.Remove(filepath.Join(root, "sealed/s-t01000-7")))
	require.NoError(t, x.Refresh(t.Context())[0].Err)
	_, missing, err = x.Find(t.Context(), 1000, post.Sectors{{Number: 7}})
	require.NoError(t, err)
	require.Len(t, missing, 1, "a store that answers and does not have it: gone")
}

func TestAHangingStoreDoesNotHoldUpTheOthers(t *testing.T) {
	bad, good := lay(t, "sealed/s-t01000-8", "cache/s-t01000-8/"), lay(t, "sealed/s-t01000-7", "cache/s-t01000-7/")
	s := mustStores(t, Store{"nfs", bad}, Store{"good", good})
	hang(t, s, bad)
	x := NewIndex(s, quiet())
	began := time.Now()
	found, missing, err := x.Find(t.Context(), 1000, post.Sectors{{Number: 7}, {Number: 8}})
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, []abi.SectorNumber{7}, found.Numbers())
	require.Equal(t, []post.Skipped{{Sector: 8, Reason: `in none of the stores that could be listed; not listed: "nfs"`}}, missing)
	require.ErrorAs(t, x.States()[0].Err, new(ErrStoreHangs))
}

func TestAMissListsAgainButNotMoreOftenThanAllowed(t *testing.T) {
	root := lay(t, "sealed/", "cache/")
	synctest.Test(t, func(t *testing.T) { // an hour passes at once
		s := mustStores(t, Store{"a", root})
		var listed atomic.Int32
		real := s.disk.readDir
		s.disk.readDir = func(path string) ([]os.DirEntry, error) {
			if filepath.Base(path) == sealedFolder {
				listed.Add(1)
			}
			return real(path)
		}
		options := quiet()
		options.MissEvery = time.Hour
		x := NewIndex(s, options)
		x.Refresh(t.Context())
		missed := func() (total int) {
			var each [100]int
			var all sync.WaitGroup
			for i := range each {
				all.Go(func() {
					_, missing, err := x.Find(t.Context(), 1000, post.Sectors{{Number: 7}})
					assert.NoError(t, err)
					each[i] = len(missing)
				})
			}
			synctest.Wait()
			require.EqualValues(t, 1, listed.Swap(1), "it was listed less than an hour ago")
			all.Wait()
			require.EqualValues(t, 2, listed.Swap(1), "one listing is for all who asked before it")
			for _, n := range each {
				total += n
			}
			return total
		}
		require.Equal(t, 100, missed())

		// Mounted, and asked for in the same moment.
		put(t, root, "sealed/s-t01000-7", "")
		put(t, root, "cache/s-t01000-7/", "")
		require.Zero(t, missed(), "a sector that came since is found without waiting for the next round")
	})
}

func TestWhoWaitsForAListingCanBeCalledOff(t *testing.T) {
	options := quiet()
	options.MissEvery = time.Hour
	x := NewIndex(mustStores(t, Store{"a", lay(t, "sealed/", "cache/")}), options)
	x.Refresh(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := x.Find(ctx, 1000, post.Sectors{{Number: 7}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestRunListsAtStartAndPeriodically(t *testing.T) {
	root := lay(t, "sealed/", "cache/")
	options := quiet()
	options.Every = 10 * time.Millisecond
	x := NewIndex(mustStores(t, Store{"a", root}), options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); x.Run(ctx) }()
	put(t, root, "sealed/s-t01000-7", "")
	put(t, root, "cache/s-t01000-7/", "")
	require.Eventually(t, func() bool { return x.States()[0].Sectors == 1 }, 5*time.Second, 5*time.Millisecond)
	cancel()
	<-ended
}
