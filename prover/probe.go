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
	nodeSize = 32              // bytes of a leaf or any other node of a tree
	arity    = 8               // children of a node
	pauxSize = 64              // p_aux: CommC and CommRLast
	gib      = uint64(1) << 30 // bytes
)

// treeFiles is how many files the tree over the replica has for a sector size in bytes, each over its share of the replica.
func treeFiles(size uint64) uint64 {
	switch size {
	case 32 * gib:
		return 8
	case 64 * gib:
		return 16
	default:
		return 1
	}
}

// span is a part of a file.
type span struct{ offset, length uint64 }

// probe looks at all files that the vanilla proof of a sector will need, and reads what the challenges (leaf numbers) will make
// the library read: in the trees, the siblings along each path; in the replica, the leaves below the lowest row that is kept.
func probe(replica Replica, sectorSize uint64, challenges []uint64) error {
	if err := probeFile(filepath.Join(replica.CacheDir, "p_aux"), pauxSize, nil); err != nil {
		return err
	}
	files := treeFiles(sectorSize)
	leaves := sectorSize / nodeSize / files // of each tree
	var inReplica []span
	for i := range files {
		name := "sc-02-data-tree-r-last.dat"
		if files > 1 {
			name = fmt.Sprintf("sc-02-data-tree-r-last-%d.dat", i)
		}
		var here []uint64
		for _, leaf := range challenges {
			if leaf/leaves == i {
				here = append(here, leaf%leaves)
			}
		}
		file := filepath.Join(replica.CacheDir, name)
		lowest, err := lowestRow(file, leaves)
		if err != nil {
			return err
		}
		if err := probeFile(file, 0, siblings(lowest, leaves, here)); err != nil {
			return err
		}
		segment := leaves / lowest * nodeSize
		for _, leaf := range here {
			inReplica = append(inReplica, span{(i*leaves + leaf) * nodeSize / segment * segment, segment})
		}
	}
	return probeFile(replica.SealedFile, sectorSize, inReplica)
}

// lowestRow is how many nodes the lowest row in a tree's file has. The file holds all rows from there up to the root; how many
// below are left out, to be built again from the replica, is a setting of who sealed the sector (two and the leaves by default).
func lowestRow(name string, leaves uint64) (uint64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, statError(name, err)
	}
	size := uint64(info.Size())
	if size == 0 {
		return 0, fmt.Errorf("%s is empty", name)
	}
	for row, nodes := uint64(1), uint64(1); row <= leaves; row, nodes = row*arity, nodes+row*arity {
		if size == nodes*nodeSize {
			return row, nil
		}
	}
	return 0, fmt.Errorf("%s holds %d bytes, which is no whole tree", name, size)
}

// siblings are the parts of a tree's file that the paths from some leaves go through.
func siblings(lowest, leaves uint64, from []uint64) []span {
	var spans []span
	for _, leaf := range from {
		at, start := leaf/(leaves/lowest), uint64(0)
		for row := lowest; row >= arity; row /= arity {
			spans = append(spans, span{(start + at/arity*arity) * nodeSize, arity * nodeSize})
			start, at = start+row, at/arity
		}
	}
	return spans
}

// probeFile checks that a file has the size (0: any) and reads some parts of it.
func probeFile(name string, size uint64, parts []span) error {
	file, err := os.Open(name)
	if err != nil {
		return statError(name, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", name)
	case size != 0 && uint64(info.Size()) != size:
		return fmt.Errorf("%s holds %d bytes instead of %d", name, info.Size(), size)
	}
	var buffer []byte
	for _, part := range parts {
		if uint64(len(buffer)) < part.length {
			buffer = make([]byte, part.length)
		}
		if _, err := file.ReadAt(buffer[:part.length], int64(part.offset)); err != nil {
			return fmt.Errorf("reading %s at %d: %w", name, part.offset, err)
		}
	}
	return nil
}

// statError is short for the commonest case.
func statError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", name)
	}
	return err
}

// oneLine is an error of the library on one line: Rust prints its causes below each other, and a backtrace behind them.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "Stack backtrace:")
	return strings.Join(strings.Fields(text), " ")
}
