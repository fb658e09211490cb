package sectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Store is a folder of sealed sectors, known by the same name on every machine.
type Store struct {
	Name string
	Path string // absolute
}

// ErrNotAttached says that this machine does not have the store. It costs a job no try: another machine may have it.
type ErrNotAttached struct{ Store string }

func (e ErrNotAttached) Error() string {
	return fmt.Sprintf("store %q is not attached here; add it to [[attached]] (or [[stores]]) in posthaste.toml, or prove on a machine that has it", e.Store)
}

// ErrStoreHangs says that a call to a store's disk has not come back.
type ErrStoreHangs struct {
	Store, Path string
	Limit       time.Duration
}

func (e ErrStoreHangs) Error() string {
	return fmt.Sprintf("store %q: %s has not answered within %s; look at its disk or mount", e.Store, e.Path, e.Limit)
}

// Problem is what is wrong with a store.
type Problem struct {
	Store Store
	Err   error
}

// statLimit is how long looking for one file may take: a healthy network mount answers in milliseconds, one whose server
// is restarting in some seconds.
const statLimit = 15 * time.Second

// disk is what is asked of a file system: tests put a hanging one in its place.
type disk struct {
	readDir  func(string) ([]fs.DirEntry, error)
	stat     func(string) (fs.FileInfo, error)
	readFile func(string) ([]byte, error)
	// hasEntries says whether there is anything in a folder, without listing all of it.
	hasEntries func(string) (bool, error)
}

// Stores are the stores that one machine has. It is safe for use by many goroutines.
type Stores struct {
	list  []*mount
	named map[string]*mount
	disk  disk
	limit time.Duration // of one look at a file
}

// NewStores checks names and paths, without touching a disk.
func NewStores(stores []Store) (*Stores, error) {
	s := &Stores{
		named: map[string]*mount{}, limit: statLimit,
		disk: disk{readDir: os.ReadDir, stat: os.Stat, readFile: os.ReadFile, hasEntries: hasEntries},
	}
	paths := map[string]string{}
	for _, store := range stores {
		switch {
		case store.Name == "":
			return nil, fmt.Errorf("the store at %q has no name", store.Path)
		case !filepath.IsAbs(store.Path):
			return nil, fmt.Errorf("store %q: its path %q is not absolute", store.Name, store.Path)
		}
		store.Path = filepath.Clean(store.Path)
		if s.named[store.Name] != nil {
			return nil, fmt.Errorf("two stores are named %q: %s and %s", store.Name, s.named[store.Name].Path, store.Path)
		}
		if other, taken := paths[store.Path]; taken {
			return nil, fmt.Errorf("stores %q and %q are both at %s", other, store.Name, store.Path)
		}
		paths[store.Path] = store.Name
		m := &mount{Store: store}
		s.list, s.named[store.Name] = append(s.list, m), m
	}
	return s, nil
}

// Names are the names of the stores, in the order of the configuration.
func (s *Stores) Names() []string {
	names := make([]string, len(s.list))
	for i, m := range s.list {
		names[i] = m.Name
	}
	return names
}

// Paths are where this machine finds a sector that store holds. The spelling of the file's name is looked up on disk; a file
// that is not there at all gets the usual one, and whoever opens it says so. ErrNotAttached: the store is not here;
// ErrStoreHangs: its disk does not answer.
func (s *Stores) Paths(store string, miner abi.ActorID, sector post.Sector) (sealedFile, cacheDir string, err error) {
	m := s.named[store]
	if m == nil {
		return "", "", ErrNotAttached{Store: store}
	}
	replicas, caches := candidates(m.Path, miner, sector)
	type answer struct{ sealedFile, cacheDir string }
	a, err := within(m, s.limit, nil, func() (answer, error) {
		return answer{s.firstThere(replicas[:]), s.firstThere(caches[:])}, nil
	})
	return a.sealedFile, a.cacheDir, err
}

// firstThere is the first of the paths that exists, else the first.
func (s *Stores) firstThere(paths []string) string {
	for _, path := range paths {
		if _, err := s.disk.stat(path); err == nil {
			return path
		}
	}
	return paths[0]
}

// Check looks at every store, side by side, and says which are missing, unmounted, empty, misnamed or hang. A worker calls
// it at start: a bad store is told by name and does not keep the others from being used.
func (s *Stores) Check(ctx context.Context) []Problem {
	errs := make([]error, len(s.list))
	var wg sync.WaitGroup
	for i, m := range s.list {
		wg.Go(func() {
			_, errs[i] = within(m, s.limit, ctx.Done(), func() (struct{}, error) { return struct{}{}, s.look(m.Store) })
		})
	}
	wg.Wait()
	var problems []Problem
	for i, err := range errs {
		if err != nil && ctx.Err() == nil {
			problems = append(problems, Problem{Store: s.list[i].Store, Err: err})
		}
	}
	return problems
}

// look says what is wrong with a store at first sight.
func (s *Stores) look(store Store) error {
	info, err := s.disk.stat(store.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("store %q: there is no %s; is it mounted?", store.Name, store.Path)
	case err != nil:
		return fmt.Errorf("store %q: %w", store.Name, err)
	case !info.IsDir():
		return fmt.Errorf("store %q: %s is a file; a store is a folder", store.Name, store.Path)
	}
	if err := s.checkName(store); err != nil {
		return err
	}
	for _, folder := range []string{sealedFolder, updateFolder} {
		if info, err := s.disk.stat(filepath.Join(store.Path, folder)); err == nil && info.IsDir() {
			return nil
		}
	}
	return fmt.Errorf("store %q: %s has neither %s/ nor %s/; is it empty or not mounted?", store.Name, store.Path, sealedFolder, updateFolder)
}

// checkName compares the name in the store's own sectorstore.json, if it has one with a name, with the configured one:
// swapped mounts would send every proof to the wrong disk.
func (s *Stores) checkName(store Store) error {
	path := filepath.Join(store.Path, metadataFile)
	data, err := s.disk.readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store %q: reading its name: %w", store.Name, err)
	}
	var meta struct{ Name string }
	if err := json.Unmarshal(data, &meta); err != nil {
		return fmt.Errorf("store %q: %s is not JSON: %w", store.Name, path, err)
	}
	if name := strings.TrimSpace(meta.Name); name != "" && name != store.Name {
		return fmt.Errorf("store %q: %s says that it is store %q; correct the name or the path in posthaste.toml", store.Name, path, name)
	}
	return nil
}
