// Package store spoils files of a sector store and puts them back: what disks do to a miner.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// nodeBytes is what a proof of a sector opens: a challenge asks for one node of the replica. Bit 0 of a node may be flipped
// without making it too large for a field element.
const nodeBytes = 32

// Store is one miner's sectors, in the layout of Lotus: sealed/s-t01000-7 and cache/s-t01000-7/. It is safe for concurrent
// use.
type Store struct {
	dir, aside string
	miner      uint64

	mu      sync.Mutex
	spoiled map[uint64]bool // their files lie aside as they were
}

// New returns the store in dir, of the miner with this actor ID. Files are set aside in a folder on the same file system.
func New(dir, aside string, miner uint64) *Store {
	return &Store{dir: dir, aside: aside, miner: miner, spoiled: map[uint64]bool{}}
}

// Hide takes the sectors' files away, replica and cache, as a disk that is not mounted does.
func (s *Store) Hide(sectors []uint64) error {
	return s.spoil(sectors, func(string) error { return nil }, false)
}

// Truncate cuts the sectors' replicas to half their length.
func (s *Store) Truncate(sectors []uint64) error {
	return s.spoil(sectors, func(replica string) error {
		info, err := os.Stat(replica)
		if err != nil {
			return err
		}
		return os.Truncate(replica, info.Size()/2)
	}, true)
}

// Flip flips the lowest bit of the first so many nodes of 32 bytes of each sector's replica; with 0, of every node, so that
// no challenge can miss it.
func (s *Store) Flip(sectors []uint64, nodes int) error {
	return s.spoil(sectors, func(replica string) error {
		data, err := os.ReadFile(replica)
		if err != nil {
			return err
		}
		for i := 0; i < len(data) && (nodes == 0 || i < nodes*nodeBytes); i += nodeBytes {
			data[i] ^= 1
		}
		return os.WriteFile(replica, data, 0o644)
	}, true)
}

// Restore puts the sectors' files back as they were; those that were not spoiled are left alone. Without any, it restores
// all. It returns the sectors that it restored.
func (s *Store) Restore(sectors []uint64) ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	restored := []uint64{}
	for n := range s.spoiled {
		if len(sectors) == 0 || slices.Contains(sectors, n) {
			restored = append(restored, n)
		}
	}
	slices.Sort(restored)
	for _, n := range restored {
		if err := s.putBack(n); err != nil {
			return nil, fmt.Errorf("putting back sector %d: %w", n, err)
		}
	}
	return restored, nil
}

// Spoiled lists the sectors whose files are not as they should be.
func (s *Store) Spoiled() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []uint64{}
	for n := range s.spoiled {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// ErrUnknown is of sectors that the store does not hold, or no longer whole.
var ErrUnknown = errors.New("no such sector, or it is spoiled already: restore it first")

// spoil sets the sectors' files aside, puts copies in their place if asked to, and spoils these. All sectors are looked up
// before the first is touched.
func (s *Store) spoil(sectors []uint64, spoil func(replica string) error, copies bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range sectors {
		if _, err := os.Stat(s.path(s.dir, "sealed", n)); err != nil || s.spoiled[n] {
			return fmt.Errorf("sector %d: %w", n, ErrUnknown)
		}
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(sectors))) {
		if err := s.spoilOne(n, spoil, copies); err != nil {
			return fmt.Errorf("spoiling sector %d: %w", n, err)
		}
	}
	return nil
}

func (s *Store) spoilOne(n uint64, spoil func(string) error, copies bool) error {
	replica, whole := s.path(s.dir, "sealed", n), s.path(s.aside, "sealed", n)
	if copies {
		// The cache stays: only the replica is spoiled.
		data, err := os.ReadFile(replica)
		if err != nil {
			return err
		}
		if err := move(replica, whole); err != nil {
			return err
		}
		s.spoiled[n] = true
		if err := os.WriteFile(replica, data, 0o644); err != nil {
			return err
		}
		return spoil(replica)
	}
	if err := move(replica, whole); err != nil {
		return err
	}
	s.spoiled[n] = true
	return move(s.path(s.dir, "cache", n), s.path(s.aside, "cache", n))
}

func (s *Store) putBack(n uint64) error {
	for _, part := range []string{"cache", "sealed"} {
		err := move(s.path(s.aside, part, n), s.path(s.dir, part, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	delete(s.spoiled, n)
	return nil
}

func (s *Store) path(root, part string, sector uint64) string {
	return filepath.Join(root, part, fmt.Sprintf("s-t0%d-%d", s.miner, sector))
}

func move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(from, to)
}
