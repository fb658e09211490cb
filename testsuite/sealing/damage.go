package sealing

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/filecoin-project/go-state-types/abi"
)

// Delete removes a sector's replica, as if its disk were gone. Its cache stays.
func Delete(storeDir string, miner abi.ActorID, number abi.SectorNumber) error {
	return os.Remove(SealedFile(storeDir, miner, number))
}

// Truncate cuts a sector's replica to half its size.
func Truncate(storeDir string, miner abi.ActorID, number abi.SectorNumber) error {
	return os.Truncate(SealedFile(storeDir, miner, number), SectorSize/2)
}

// FlipReplica turns over one bit in every 32-byte node of a sector's replica, so that whichever nodes are challenged, a
// wrong one is read. Doing it twice mends the sector.
func FlipReplica(storeDir string, miner abi.ActorID, number abi.SectorNumber) error {
	return flip(SealedFile(storeDir, miner, number), 32)
}

// FlipTree does the same to the file of the tree over the replica (sc-02-data-tree-r-last.dat).
func FlipTree(storeDir string, miner abi.ActorID, number abi.SectorNumber) error {
	pattern := filepath.Join(CacheDir(storeDir, miner, number), "sc-02-data-tree-r-last*.dat")
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no file matches %s; seal the sector first", pattern)
	}
	for _, file := range files {
		if err := flip(file, 32); err != nil {
			return err
		}
	}
	return nil
}

// FlipBit turns over a single bit of a file.
func FlipBit(file string, offset int64) error {
	return change(file, func(data []byte) error {
		if offset < 0 || offset >= int64(len(data)) {
			return fmt.Errorf("%s has %d bytes; there is none at %d", file, len(data), offset)
		}
		data[offset] ^= 1
		return nil
	})
}

// flip turns over the lowest bit of every stride-th byte.
func flip(file string, stride int) error {
	return change(file, func(data []byte) error {
		for i := 0; i < len(data); i += stride {
			data[i] ^= 1
		}
		return nil
	})
}

func change(file string, edit func([]byte) error) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := edit(data); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
