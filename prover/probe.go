package prover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	nodeSize  = 32              // bytes of a leaf
	probeSpan = 64 * nodeSize   // leaves of a subtree that the library rebuilds from the replica per challenge (8², two rows discarded)
	pauxSize  = 64              // p_aux: CommC and CommRLast
	gib       = uint64(1) << 30 // bytes
)

// treeFiles is how many files the tree over the replica has for a sector size in bytes.
func treeFiles(size uint64) int {
	switch size {
	case 32 * gib:
		return 8
	case 64 * gib:
		return 16
	default:
		return 1
	}
}

// probe looks at all files that the vanilla proof of a sector will need, and reads the parts of the replica that are challenged.
func probe(replica Replica, sectorSize uint64, challenges []uint64) error {
	if err := probeFile(filepath.Join(replica.CacheDir, "p_aux"), pauxSize, nil); err != nil {
		return err
	}
	for i := range treeFiles(sectorSize) {
		name := "sc-02-data-tree-r-last.dat"
		if treeFiles(sectorSize) > 1 {
			name = fmt.Sprintf("sc-02-data-tree-r-last-%d.dat", i)
		}
		if err := probeFile(filepath.Join(replica.CacheDir, name), 0, []uint64{0}); err != nil {
			return err
		}
	}
	offsets := make([]uint64, len(challenges))
	for i, leaf := range challenges {
		offsets[i] = leaf * nodeSize / probeSpan * probeSpan
	}
	return probeFile(replica.SealedFile, sectorSize, offsets)
}

// probeFile checks that a file has the size (0: any but none) and reads a span at each offset.
func probeFile(name string, size uint64, offsets []uint64) error {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", name)
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch has := uint64(info.Size()); {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", name)
	case size == 0 && has == 0:
		return fmt.Errorf("%s is empty", name)
	case size != 0 && has != size:
		return fmt.Errorf("%s holds %d bytes instead of %d", name, has, size)
	}
	buffer := make([]byte, probeSpan)
	for _, offset := range offsets {
		span := buffer[:min(uint64(len(buffer)), uint64(info.Size())-offset)]
		if _, err := file.ReadAt(span, int64(offset)); err != nil {
			return fmt.Errorf("reading %s at %d: %w", name, offset, err)
		}
	}
	return nil
}

// oneLine is an error of the library on one line: Rust prints its causes below each other, and a backtrace behind them.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "Stack backtrace:")
	return strings.Join(strings.Fields(text), " ")
}
