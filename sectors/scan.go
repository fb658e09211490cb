package sectors

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// parts says which parts of a sector a store holds.
type parts uint8

const (
	hasSealed parts = 1 << iota
	hasCache
	hasUpdate
	hasUpdateCache
)

// wanted are the two parts that a proof needs.
func wanted(upgraded bool) (replica, cache parts) {
	if upgraded {
		return hasUpdate, hasUpdateCache
	}
	return hasSealed, hasCache
}

// whole says whether both parts that a proof needs are there.
func (p parts) whole(upgraded bool) bool {
	replica, cache := wanted(upgraded)
	return p&replica != 0 && p&cache != 0
}

// half says what is there and what not, "" if nothing is or all.
func (p parts) half(upgraded bool) string {
	replica, cache := wanted(upgraded)
	replicaFolder, cacheFolder := folders(upgraded)
	switch {
	case p.whole(upgraded):
		return ""
	case p&replica != 0:
		return fmt.Sprintf("has it in %s/ but not in %s/", replicaFolder, cacheFolder)
	case p&cache != 0:
		return fmt.Sprintf("has it in %s/ but not in %s/", cacheFolder, replicaFolder)
	case upgraded && p.whole(false):
		return fmt.Sprintf("has it only as it was before its upgrade: in %s/, not in %s/", sealedFolder, replicaFolder)
	case !upgraded && p.whole(true):
		return fmt.Sprintf("has it only upgraded, in %s/, and on the chain it is not: it has to be in %s/", updateFolder, replicaFolder)
	}
	return ""
}

// count is how many provable replicas a listing has.
func count(holds map[sectorID]parts) (n int) {
	for _, p := range holds {
		for _, upgraded := range []bool{false, true} {
			if p.whole(upgraded) {
				n++
			}
		}
	}
	return n
}

// scan lists a store's folders. It opens no sector.
func (s *Stores) scan(store Store) (map[sectorID]parts, error) {
	if err := s.look(store); err != nil {
		return nil, err
	}
	holds := map[sectorID]parts{}
	for _, folder := range []struct {
		name string
		part parts
		dirs bool // whether its entries are folders
	}{
		{sealedFolder, hasSealed, false},
		{cacheFolder, hasCache, true},
		{updateFolder, hasUpdate, false},
		{updateCacheFolder, hasUpdateCache, true},
	} {
		path := filepath.Join(store.Path, folder.name)
		entries, err := s.disk.readDir(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("store %q: listing %s: %w", store.Name, path, err)
		}
		for _, entry := range entries {
			id, ok := parseFileName(entry.Name())
			link := entry.Type()&fs.ModeSymlink != 0 // what it leads to shows when it is read
			if ok && (link || entry.IsDir() == folder.dirs) {
				holds[id] |= folder.part
			}
		}
	}
	return holds, nil
}
