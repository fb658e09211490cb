package sealing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
)

// updateProof is the type of every upgrade made here.
const updateProof = abi.RegisteredUpdateProof_StackedDrg2KiBV1

// Upgrade puts data into a sealed sector, as a snap deal does: the replica with the data goes to update/, its cache to update-cache/, and the
// sector that comes back has another CommR, and in SectorKeyCID the one before. What was sealed stays where it is, and has to be there. Only the proof that
// a chain wants of an upgrade needs parameters, and none is made here. As Seal does, it reads back what it made before.
func Upgrade(ctx context.Context, storeDir string, miner abi.ActorID, number abi.SectorNumber) (Sector, error) {
	before, err := Seal(ctx, storeDir, miner, number)
	if err != nil {
		return Sector{}, err
	}
	fail := func(err error) (Sector, error) {
		return Sector{}, fmt.Errorf("upgrading sector %s in %s: %w", BaseName(miner, number), storeDir, err)
	}
	commR, err := readRecord(UpdateCacheDir(storeDir, miner, number))
	if errors.Is(err, fs.ErrNotExist) {
		commR, err = encode(storeDir, miner, number)
	}
	if err != nil {
		return fail(err)
	}
	upgraded := before
	upgraded.CommR, upgraded.SectorKeyCID = [32]byte(commR), before.SealedCID
	if upgraded.SealedCID, err = commcid.ReplicaCommitmentV1ToCID(commR); err != nil {
		return fail(err)
	}
	return upgraded, nil
}

// UpdateFile is where the replica of an upgraded sector is.
func UpdateFile(storeDir string, miner abi.ActorID, number abi.SectorNumber) string {
	return filepath.Join(storeDir, "update", BaseName(miner, number))
}

// UpdateCacheDir is the folder of an upgraded sector's p_aux, t_aux and tree files.
func UpdateCacheDir(storeDir string, miner abi.ActorID, number abi.SectorNumber) string {
	return filepath.Join(storeDir, "update-cache", BaseName(miner, number))
}

// encode makes the replica and the cache of an upgraded sector and returns its CommR.
func encode(storeDir string, miner abi.ActorID, number abi.SectorNumber) ([]byte, error) {
	replica, cache := UpdateFile(storeDir, miner, number), UpdateCacheDir(storeDir, miner, number)
	if err := os.RemoveAll(cache); err != nil {
		return nil, err
	}
	for _, dir := range []string{cache, filepath.Dir(replica)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	// The library maps the replica's file, so it has to be there with its size.
	if err := os.WriteFile(replica, make([]byte, SectorSize), 0o644); err != nil {
		return nil, err
	}
	staged, piece, err := stage(storeDir, "upgrade", miner, number)
	if staged != "" {
		defer func() { _ = os.Remove(staged) }()
	}
	if err != nil {
		return nil, err
	}
	sealedCID, _, err := ffi.SectorUpdate.EncodeInto(updateProof, replica, cache,
		SealedFile(storeDir, miner, number), CacheDir(storeDir, miner, number), staged, []abi.PieceInfo{piece})
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return finish(cache, sealedCID)
}
