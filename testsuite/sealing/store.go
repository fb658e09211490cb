package sealing

import (
	"fmt"
	"os"
	"path/filepath"
)

// StoreMeta is sectorstore.json, the file at the root of a store, in the form that Lotus and damocles write.
type StoreMeta struct {
	ID         string
	Weight     uint64
	MaxStorage uint64
	CanSeal    bool
	CanStore   bool
	Groups     []string
	AllowTo    []string
}

// NewStore makes an empty store named name at dir, with its sectorstore.json. One that is there stays as it is.
func NewStore(dir, name string) error {
	for _, sub := range []string{"sealed", "cache", "update", "update-cache"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("making store %s: %w", name, err)
		}
	}
	file := filepath.Join(dir, "sectorstore.json")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := writeJSON(file, StoreMeta{ID: name, Weight: 10, CanStore: true}); err != nil {
		return fmt.Errorf("making store %s: %w", name, err)
	}
	return nil
}
