package sectors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Readable looks at a store and says why it cannot be read, or nil. A disk that hangs is told after some 15 s, and is not waited for again
// as long as it does.
func (s *Stores) Readable(ctx context.Context, store string) error {
	m := s.named[store]
	if m == nil {
		return ErrNotAttached{Store: store}
	}
	_, err := within(m, s.limit, ctx.Done(), func() (struct{}, error) { return struct{}{}, s.look(m.Store) })
	if errors.Is(err, errStopped) {
		return fmt.Errorf("store %q: %w", store, context.Cause(ctx))
	}
	return err
}

// Provable looks whether the files are there that a proof of a sector needs: its replica, with the size of the sector (in bytes), p_aux, and the
// trees over the replica. (No proof reads t_aux, and some builds of the proofs library leave none behind.) It reads nothing of them, so it finds no bit
// that has turned. The error is about the sector, or ErrNotAttached, or ErrStoreHangs.
func (s *Stores) Provable(store string, miner abi.ActorID, sector post.Sector, size abi.SectorSize) error {
	m := s.named[store]
	if m == nil {
		return ErrNotAttached{Store: store}
	}
	_, err := within(m, s.limit, nil, func() (struct{}, error) { return struct{}{}, s.provable(m.Store, miner, sector, size) })
	return err
}

func (s *Stores) provable(store Store, miner abi.ActorID, sector post.Sector, size abi.SectorSize) error {
	replicas, caches := candidates(store.Path, miner, sector)
	replica, cache := s.firstThere(replicas[:]), s.firstThere(caches[:])
	if err := s.file(replica, int64(size)); err != nil {
		return err
	}
	for _, name := range append([]string{"p_aux"}, treeNames(size)...) {
		if err := s.file(filepath.Join(cache, name), 0); err != nil {
			return err
		}
	}
	return nil
}

// file says what is wrong with a file at first sight. size is what it must have, in bytes; 0: any but none.
func (s *Stores) file(path string, size int64) error {
	info, err := s.disk.stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case size != 0 && info.Size() != size:
		return fmt.Errorf("%s holds %d bytes instead of %d", path, info.Size(), size)
	case info.Size() == 0:
		return fmt.Errorf("%s is empty", path)
	}
	return nil
}

// treeNames are the files of the tree over a replica, in its cache folder.
func treeNames(size abi.SectorSize) []string {
	const gib = 1 << 30
	files := map[abi.SectorSize]int{32 * gib: 8, 64 * gib: 16}[size]
	if files == 0 {
		return []string{"sc-02-data-tree-r-last.dat"}
	}
	names := make([]string, files)
	for i := range names {
		names[i] = fmt.Sprintf("sc-02-data-tree-r-last-%d.dat", i)
	}
	return names
}
