package sealing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/ipfs/go-cid"
)

// SealProof is the type of every sector made here.
const SealProof = abi.RegisteredSealProof_StackedDrg2KiBV1_1

// SectorSize is the size in bytes of a sealed file made here.
const SectorSize = 2048

// Sector is one sealed sector, as the chain has to know it.
type Sector struct {
	Miner     abi.ActorID
	Number    abi.SectorNumber
	SealProof abi.RegisteredSealProof
	SealedCID cid.Cid
	CommR     [32]byte // the digest inside SealedCID

	SectorKeyCID cid.Cid // SealedCID before the sector's upgrade; undefined if it is not upgraded
}

// record is the small file beside a sector's cache that lets Seal read it back. Its presence means that sealing finished.
type record struct {
	SealProof abi.RegisteredSealProof `json:"seal_proof"`
	CommR     []byte                  `json:"comm_r"`
}

// recordName is in the sector's cache folder; the proofs library ignores what it does not know.
const recordName = "sealing.json"

// Seal seals one sector into the store at storeDir, or reads back what an earlier call sealed there. What an
// interrupted call left behind is sealed anew.
func Seal(ctx context.Context, storeDir string, miner abi.ActorID, number abi.SectorNumber) (Sector, error) {
	if err := ctx.Err(); err != nil {
		return Sector{}, err
	}
	fail := func(err error) (Sector, error) {
		return Sector{}, fmt.Errorf("sealing sector %s in %s: %w", BaseName(miner, number), storeDir, err)
	}
	commR, err := readRecord(CacheDir(storeDir, miner, number))
	if errors.Is(err, fs.ErrNotExist) {
		commR, err = sealNew(storeDir, miner, number)
	}
	if err != nil {
		return fail(err)
	}
	sealed, err := commcid.ReplicaCommitmentV1ToCID(commR)
	if err != nil {
		return fail(err)
	}
	return Sector{Miner: miner, Number: number, SealProof: SealProof, SealedCID: sealed, CommR: [32]byte(commR)}, nil
}

// SealMany seals count sectors numbered from first on.
func SealMany(ctx context.Context, storeDir string, miner abi.ActorID, first abi.SectorNumber, count int) ([]Sector, error) {
	sectors := make([]Sector, 0, count)
	for i := range count {
		sector, err := Seal(ctx, storeDir, miner, first+abi.SectorNumber(i))
		if err != nil {
			return nil, err
		}
		sectors = append(sectors, sector)
	}
	return sectors, nil
}

// BaseName is what a sector's files are called: s-t01000-7.
func BaseName(miner abi.ActorID, number abi.SectorNumber) string {
	return fmt.Sprintf("s-t0%d-%d", miner, number)
}

// SealedFile is where the replica of a sector is.
func SealedFile(storeDir string, miner abi.ActorID, number abi.SectorNumber) string {
	return filepath.Join(storeDir, "sealed", BaseName(miner, number))
}

// CacheDir is the folder of a sector's p_aux, t_aux and tree files.
func CacheDir(storeDir string, miner abi.ActorID, number abi.SectorNumber) string {
	return filepath.Join(storeDir, "cache", BaseName(miner, number))
}

// readRecord reads the CommR of a replica that was made before, from its cache folder.
func readRecord(cache string) ([]byte, error) {
	file := filepath.Join(cache, recordName)
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil || len(r.CommR) != 32 || r.SealProof != SealProof {
		return nil, fmt.Errorf("%s is not a record of a 2 KiB sector; remove it to seal the sector anew", file)
	}
	return r.CommR, nil
}

// sealNew runs both pre-commit phases and returns the CommR.
func sealNew(storeDir string, miner abi.ActorID, number abi.SectorNumber) ([]byte, error) {
	sealed, cache := SealedFile(storeDir, miner, number), CacheDir(storeDir, miner, number)
	if err := os.RemoveAll(cache); err != nil {
		return nil, err
	}
	for _, dir := range []string{cache, filepath.Dir(sealed)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	// The library wants the replica's file to exist.
	if err := os.WriteFile(sealed, nil, 0o644); err != nil {
		return nil, err
	}
	staged, piece, err := stage(storeDir, "data", miner, number)
	if staged != "" {
		defer func() { _ = os.Remove(staged) }()
	}
	if err != nil {
		return nil, err
	}
	ticket := digest("ticket", miner, number)
	phase1, err := ffi.SealPreCommitPhase1(SealProof, cache, staged, sealed, number, miner, ticket[:], []abi.PieceInfo{piece})
	if err != nil {
		return nil, fmt.Errorf("pre-commit phase 1: %w", err)
	}
	sealedCID, _, err := ffi.SealPreCommitPhase2(phase1, cache, sealed)
	if err != nil {
		return nil, fmt.Errorf("pre-commit phase 2: %w", err)
	}
	return finish(cache, sealedCID)
}

// finish clears a replica's cache, leaves the record in it, and returns the CommR.
func finish(cache string, sealed cid.Cid) ([]byte, error) {
	commR, err := commcid.CIDToReplicaCommitmentV1(sealed)
	if err != nil {
		return nil, err
	}
	// What only the sealing proof needs (the layers, the data tree) goes, as it does at a provider.
	if err := ffi.ClearCache(cache); err != nil {
		return nil, fmt.Errorf("clearing the cache: %w", err)
	}
	return commR, writeJSON(filepath.Join(cache, recordName), record{SealProof: SealProof, CommR: commR})
}

// stage writes unsealed data for a sector, one piece that fills it, to a temporary file. Other purposes give other data.
func stage(storeDir, purpose string, miner abi.ActorID, number abi.SectorNumber) (string, abi.PieceInfo, error) {
	size := abi.PaddedPieceSize(SectorSize)
	var data []byte
	for seed := digest(purpose, miner, number); len(data) < int(size.Unpadded()); seed = sha256.Sum256(seed[:]) {
		data = append(data, seed[:]...)
	}
	data = data[:size.Unpadded()]
	source, err := os.CreateTemp(storeDir, "piece-*")
	if err != nil {
		return "", abi.PieceInfo{}, err
	}
	defer func() { _ = source.Close(); _ = os.Remove(source.Name()) }()
	if _, err := bytes.NewReader(data).WriteTo(source); err != nil {
		return "", abi.PieceInfo{}, err
	}
	if _, err := source.Seek(0, 0); err != nil {
		return "", abi.PieceInfo{}, err
	}
	staged, err := os.CreateTemp(storeDir, "staged-*")
	if err != nil {
		return "", abi.PieceInfo{}, err
	}
	defer func() { _ = staged.Close() }()
	_, pieceCID, err := ffi.WriteWithoutAlignment(SealProof, source, size.Unpadded(), staged)
	if err != nil {
		return staged.Name(), abi.PieceInfo{}, fmt.Errorf("writing the piece: %w", err)
	}
	return staged.Name(), abi.PieceInfo{Size: size, PieceCID: pieceCID}, nil
}

// digest is 32 bytes that follow from a purpose and a sector, a valid field element.
func digest(purpose string, miner abi.ActorID, number abi.SectorNumber) [32]byte {
	in := []byte(purpose)
	in = binary.BigEndian.AppendUint64(in, uint64(miner))
	in = binary.BigEndian.AppendUint64(in, uint64(number))
	sum := sha256.Sum256(in)
	sum[31] &= 0x3f
	return sum
}

// writeJSON replaces a file as a whole, so that a crash leaves the old one or the new one.
func writeJSON(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".tmp", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}
