package sectors

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A store as it is at the first look and at the second, and what the monitor says each time.
func TestMonitorTellsALostMountFromAStore(t *testing.T) {
	const whole = `sealed/s-t01000-1 cache/s-t01000-1/p_aux`
	for situation, c := range map[string]struct {
		first, then string // what is in the folder; "-": there is none
		denied      string // a folder that may not be read, the second time
		wantFirst   string
		want        string // "" for readable; ROOT stands for the folder
	}{
		"nothing happens":                         {first: whole, then: whole},
		"a sector more":                           {first: whole, then: whole + ` sealed/s-t01000-2`},
		"an upgrade leaves nothing unsealed":      {first: whole, then: `sealed/ cache/ update/s-t01000-1 update-cache/s-t01000-1/p_aux`},
		"a new store, with no sector yet":         {first: `sealed/ cache/`, then: whole},
		"a mount point whose folder disappears":   {first: whole, then: `-`, want: `store "disk": there is no ROOT; is it mounted?`},
		"unmounted: an empty folder":              {first: whole, then: ``, want: `store "disk": ROOT has neither sealed/ nor update/; is it empty or not mounted?`},
		"unmounted one level below":               {first: whole, then: `sealed/ cache/`, want: `store "disk": ROOT had sectors in sealed/ and has none now; is it still mounted?`},
		"only the caches' disk is unmounted":      {first: whole, then: `sealed/s-t01000-1 cache/`, want: `store "disk": ROOT had sectors in cache/ and has none now; is it still mounted?`},
		"the caches' folder disappears":           {first: whole, then: `sealed/s-t01000-1`, want: `store "disk": ROOT had sectors in cache/ and has none now; is it still mounted?`},
		"another disk is mounted there":           {first: whole, then: whole + ` sectorstore.json={"Name":"other"}`, want: `store "disk": ROOT/sectorstore.json says that it is store "other"; correct the name or the path in posthaste.toml`},
		"mounted after the start":                 {first: ``, then: whole, wantFirst: `store "disk": ROOT has neither sealed/ nor update/; is it empty or not mounted?`},
		"the folder may not be listed any more":   {first: whole, then: whole, denied: ``, want: `store "disk": listing it: permission denied`},
		"the replicas may not be listed any more": {first: whole, then: whole, denied: `sealed`, want: `store "disk": listing sealed/: permission denied`},
	} {
		t.Run(situation, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "disk")
			s := mustStores(t, Store{"disk", root}, Store{"good", lay(t, "sealed/")})
			m := NewMonitor(s, MonitorOptions{Log: slog.New(slog.DiscardHandler)})
			check := func(want string) {
				t.Helper()
				err := m.Look(t.Context(), "disk")
				require.NoError(t, m.Look(t.Context(), "good"), "the other store is good")
				cached := m.Reachable(t.Context(), "disk")
				if want == "" {
					require.NoError(t, err)
					require.NoError(t, cached)
					require.Equal(t, []string{"disk", "good"}, m.Readable())
					require.Empty(t, m.Lost())
					return
				}
				require.EqualError(t, err, replaceRoot(want, root))
				require.EqualError(t, cached, replaceRoot(want, root))
				require.Equal(t, []string{"good"}, m.Readable())
				require.Len(t, m.Lost(), 1)
				require.Equal(t, "disk", m.Lost()[0].Name)
				require.Equal(t, root, m.Lost()[0].Path)
				require.Equal(t, err.Error(), m.Lost()[0].Reason)
			}
			fill(t, root, c.first)
			check(c.wantFirst)
			fill(t, root, c.then)
			if strings.Contains(c.want, "permission denied") {
				deny(s, filepath.Join(root, c.denied))
			}
			check(c.want)
			check(c.want) // a lost store stays lost
		})
	}
}

// fill makes a folder that holds the named files and folders and nothing else.
func fill(t *testing.T, root, names string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(root))
	if names == "-" {
		return
	}
	require.NoError(t, os.MkdirAll(root, 0o755))
	for _, name := range strings.Fields(names) {
		name, text, _ := strings.Cut(name, "=")
		put(t, root, name, text)
	}
}

// deny makes listing a folder fail (the tests may run as root, who may list everything).
func deny(s *Stores, folder string) {
	real := s.disk
	s.disk.readDir = func(path string) ([]fs.DirEntry, error) {
		if path == folder {
			return nil, fs.ErrPermission
		}
		return real.readDir(path)
	}
	s.disk.hasEntries = func(path string) (bool, error) {
		if path == folder {
			return false, fs.ErrPermission
		}
		return real.hasEntries(path)
	}
}

func TestMonitorOfAStoreThatIsNotHere(t *testing.T) {
	m := NewMonitor(mustStores(t, Store{"disk", lay(t, "sealed/")}), MonitorOptions{})
	require.ErrorIs(t, m.Look(t.Context(), "elsewhere"), ErrNotAttached{Store: "elsewhere"})
	require.ErrorIs(t, m.Reachable(t.Context(), "elsewhere"), ErrNotAttached{Store: "elsewhere"})
}

// One mount hangs: the others are looked at all the same, and whoever asks about the one that hangs is not kept.
func TestMonitorRunsBesideAMountThatHangs(t *testing.T) {
	bad, lost := lay(t, "sealed/s-t01000-1", "cache/s-t01000-1"), lay(t, "sealed/s-t01000-2", "cache/s-t01000-2")
	s := mustStores(t, Store{"nfs", bad}, Store{"lost", lost}, Store{"good", lay(t, "sealed/")})
	s.limit = 50 * time.Millisecond
	release := hang(t, s, bad)
	var log lines
	var changes atomic.Int32
	m := NewMonitor(s, MonitorOptions{Log: slog.New(slog.NewTextHandler(&log, nil)), Every: 5 * time.Millisecond, Changed: func() { changes.Add(1) }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { m.Run(ctx); close(ended) }()
	m.Settled(ctx)
	require.Equal(t, []string{"good", "lost"}, m.Readable())
	require.ErrorAs(t, m.Look(ctx, "nfs"), new(ErrStoreHangs))
	require.ErrorAs(t, m.Reachable(ctx, "nfs"), new(ErrStoreHangs))

	require.NoError(t, os.Rename(lost, lost+".away"))
	require.Eventually(t, func() bool { return len(m.Readable()) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, os.Rename(lost+".away", lost))
	release()
	require.Eventually(t, func() bool { return len(m.Readable()) == 3 }, 10*time.Second, time.Millisecond)
	cancel()
	<-ended
	require.Equal(t, int32(6), changes.Load(), "three were looked at first, one was lost, two came back")
	require.Equal(t, 2, strings.Count(log.String(), "a store is in trouble"), "each trouble is told once:\n%s", log.String())
	require.Equal(t, 2, strings.Count(log.String(), "a store is back"), log.String())
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
