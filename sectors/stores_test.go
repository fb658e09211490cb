package sectors

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// lay makes files (and folders, for names ending in /) below a new folder.
func lay(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		put(t, root, name, "")
	}
	return root
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if name[len(name)-1] == '/' {
		require.NoError(t, os.MkdirAll(path, 0o755))
		return
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func mustStores(t *testing.T, stores ...Store) *Stores {
	t.Helper()
	s, err := NewStores(stores)
	require.NoError(t, err)
	return s
}

func TestNewStoresRefuses(t *testing.T) {
	for situation, c := range map[string]struct {
		stores []Store
		want   string
	}{
		"a store without a name":    {[]Store{{Path: "/a"}}, `the store at "/a" has no name`},
		"a relative path":           {[]Store{{"a", "disks/a"}}, `store "a": its path "disks/a" is not absolute`},
		"two of one name":           {[]Store{{"a", "/a"}, {"a", "/b"}}, `two stores are named "a": /a and /b`},
		"two names for one folder":  {[]Store{{"a", "/a"}, {"b", "/a/"}}, `stores "a" and "b" are both at /a`},
		"one folder, spelled apart": {[]Store{{"a", "/a"}, {"b", "/x/../a"}}, `stores "a" and "b" are both at /a`},
	} {
		t.Run(situation, func(t *testing.T) {
			_, err := NewStores(c.stores)
			require.EqualError(t, err, c.want)
		})
	}
}

func TestPaths(t *testing.T) {
	root := lay(t, "sealed/s-t01000-1", "cache/s-t01000-1/", "sealed/s-f01000-2", "cache/s-f01000-2/", "update/s-t01000-3", "update-cache/s-t01000-3/")
	s := mustStores(t, Store{"disk", root})
	for situation, c := range map[string]struct {
		sector        post.Sector
		sealed, cache string
	}{
		"an ordinary sector":         {post.Sector{Number: 1}, "sealed/s-t01000-1", "cache/s-t01000-1"},
		"mainnet's spelling":         {post.Sector{Number: 2}, "sealed/s-f01000-2", "cache/s-f01000-2"},
		"an upgraded sector":         {post.Sector{Number: 3, Upgraded: true}, "update/s-t01000-3", "update-cache/s-t01000-3"},
		"not there: the usual names": {post.Sector{Number: 9}, "sealed/s-t01000-9", "cache/s-t01000-9"},
	} {
		t.Run(situation, func(t *testing.T) {
			sealed, cache, err := s.Paths("disk", 1000, c.sector)
			require.NoError(t, err)
			require.Equal(t, filepath.Join(root, c.sealed), sealed)
			require.Equal(t, filepath.Join(root, c.cache), cache)
		})
	}
	_, _, err := s.Paths("elsewhere", 1000, post.Sector{Number: 1})
	var notAttached ErrNotAttached
	require.ErrorAs(t, err, &notAttached)
	require.Equal(t, "elsewhere", notAttached.Store)
}

// hang makes every look at paths below root wait until the test ends or release is called.
func hang(t *testing.T, s *Stores, root string) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	released := false
	release = func() {
		if !released {
			released = true
			close(gate)
		}
	}
	t.Cleanup(release)
	below := func(path string) bool { return len(path) >= len(root) && path[:len(root)] == root }
	real := s.disk
	s.disk.stat = func(path string) (fs.FileInfo, error) {
		if below(path) {
			<-gate
		}
		return real.stat(path)
	}
	s.disk.readDir = func(path string) ([]fs.DirEntry, error) {
		if below(path) {
			<-gate
		}
		return real.readDir(path)
	}
	return release
}

func TestPathsOfAHangingStoreFailsOnceSlowlyThenAtOnce(t *testing.T) {
	root := lay(t, "sealed/s-t01000-1", "cache/s-t01000-1/")
	s := mustStores(t, Store{"nfs", root})
	s.limit = 50 * time.Millisecond
	release := hang(t, s, root)

	var hangs ErrStoreHangs
	_, _, err := s.Paths("nfs", 1000, post.Sector{Number: 1})
	require.ErrorAs(t, err, &hangs)
	began := time.Now()
	for range 1000 {
		_, _, err = s.Paths("nfs", 1000, post.Sector{Number: 1})
		require.ErrorAs(t, err, &hangs)
	}
	require.Less(t, time.Since(began), time.Second, "a thousand calls must not wait for the limit each")

	release()
	require.Eventually(t, func() bool {
		_, _, err := s.Paths("nfs", 1000, post.Sector{Number: 1})
		return err == nil
	}, 5*time.Second, 5*time.Millisecond, "when the mount answers again, so does the store")
}

func TestCheck(t *testing.T) {
	for situation, c := range map[string]struct {
		make func(t *testing.T) string // makes the store's folder
		want string                    // "" for nothing; ROOT stands for the folder
	}{
		"a healthy store": {func(t *testing.T) string { return lay(t, "sealed/") }, ""},
		"only upgraded":   {func(t *testing.T) string { return lay(t, "update/") }, ""},
		"a mount point that is not there": {
			func(t *testing.T) string { return filepath.Join(t.TempDir(), "gone") }, `store "disk": there is no ROOT; is it mounted?`,
		},
		"an empty mount point": {
			func(t *testing.T) string { return t.TempDir() }, `store "disk": ROOT has neither sealed/ nor update/; is it empty or not mounted?`,
		},
		"a file": {
			func(t *testing.T) string { return filepath.Join(lay(t, "f"), "f") }, `store "disk": ROOT is a file; a store is a folder`,
		},
		"a name of its own that agrees": {func(t *testing.T) string {
			root := lay(t, "sealed/")
			put(t, root, "sectorstore.json", `{"ID":"x","Name":"disk","Weight":1}`)
			return root
		}, ""},
		"a name of its own that is none (as Lotus writes it)": {func(t *testing.T) string {
			root := lay(t, "sealed/")
			put(t, root, "sectorstore.json", `{"ID":"8f2f","Weight":10,"CanSeal":false,"CanStore":true}`)
			return root
		}, ""},
		"swapped mounts": {func(t *testing.T) string {
			root := lay(t, "sealed/")
			put(t, root, "sectorstore.json", `{"Name":"other"}`)
			return root
		}, `store "disk": ROOT/sectorstore.json says that it is store "other"; correct the name or the path in posthaste.toml`},
		"a damaged sectorstore.json": {func(t *testing.T) string {
			root := lay(t, "sealed/")
			put(t, root, "sectorstore.json", `{"Name":`)
			return root
		}, `store "disk": ROOT/sectorstore.json is not JSON: unexpected end of JSON input`},
	} {
		t.Run(situation, func(t *testing.T) {
			root := c.make(t)
			problems := mustStores(t, Store{"disk", root}, Store{"good", lay(t, "sealed/")}).Check(t.Context())
			if c.want == "" {
				require.Empty(t, problems)
				return
			}
			require.Len(t, problems, 1, "the other store is good")
			require.Equal(t, "disk", problems[0].Store.Name)
			require.EqualError(t, problems[0].Err, replaceRoot(c.want, root))
		})
	}
}

func TestCheckNamesAHangingStoreAndOnlyThat(t *testing.T) {
	bad := lay(t, "sealed/")
	s := mustStores(t, Store{"nfs", bad}, Store{"good", lay(t, "sealed/")})
	s.limit = 50 * time.Millisecond
	hang(t, s, bad)
	problems := s.Check(t.Context())
	require.Len(t, problems, 1)
	require.Equal(t, "nfs", problems[0].Store.Name)
	require.True(t, errors.As(problems[0].Err, new(ErrStoreHangs)))
}
