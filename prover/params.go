package prover

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"
)

// defaultParameterFolder is where the library looks when FIL_PROOFS_PARAMETER_CACHE is not set.
const defaultParameterFolder = "/var/tmp/filecoin-proof-parameters"

// ParameterFolder is where the library looks for its parameters.
func ParameterFolder() string {
	return cmp.Or(os.Getenv("FIL_PROOFS_PARAMETER_CACHE"), defaultParameterFolder)
}

// Shape of the PoSt circuits in proofs crates 19.1 (constants.rs): challenges a sector.
const (
	windowChallenges  = 10
	winningChallenges = 66 // as 66 "sectors" of one challenge
)

// ParameterFile is the name, without its ending, of the parameters of a proof type: the library makes it of a version,
// the shape of the tree and a hash of the circuit's shape (parameter_cache.rs).
func ParameterFile(proofType abi.RegisteredPoStProof) (string, error) {
	size, err := proofType.SectorSize()
	if err != nil {
		return "", err
	}
	challenges, sectors := uint64(1), uint64(winningChallenges)
	if !isWinning(proofType) {
		challenges = windowChallenges
		if sectors, err = builtin.PoStProofWindowPoStPartitionSectors(proofType); err != nil {
			return "", err
		}
	}
	tree := "8-0-0"
	switch uint64(size) {
	case 32 * gib:
		tree = "8-8-0"
	case 64 * gib:
		tree = "8-8-2"
	}
	id := fmt.Sprintf("FallbackPoSt::PublicParams{sector_size: %d, challenge_count: %d, sector_count: %d}", size, challenges, sectors)
	return fmt.Sprintf("v28-proof-of-spacetime-fallback-merkletree-poseidon_hasher-%s-%x", tree, sha256.Sum256([]byte(id))), nil
}

// CheckParameters says, as an ErrParameters, what is visibly wrong with the parameters that a proof type needs here: a file that
// is missing or empty, or a verifying key that is not the one inside the proving parameters. To verify proofs the
// verifying key is enough.
func CheckParameters(proofType abi.RegisteredPoStProof, toProve bool) error {
	name, err := ParameterFile(proofType)
	if err != nil {
		return err
	}
	folder := ParameterFolder()
	params, vk := filepath.Join(folder, name+".params"), filepath.Join(folder, name+".vk")
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return parameterError(proofType, "folder "+folder+" does not exist")
	}
	key, err := os.ReadFile(vk)
	if err != nil {
		// The library takes a missing key from the parameters, and writes the file; so the parameters must be there.
		key, toProve = nil, true
	} else if len(key) == 0 {
		return parameterError(proofType, vk+" is empty")
	}
	head, err := checkLayout(params)
	switch {
	case err != nil && (toProve || !errors.Is(err, fs.ErrNotExist)):
		return parameterError(proofType, err.Error())
	case err == nil && key != nil && !bytes.Equal(head, key):
		return parameterError(proofType, vk+" is not the key in "+params+": one of them is damaged, or they were made apart")
	}
	return nil
}

// Layout of a file of Groth16 parameters (bellperson, uncompressed points): the verifying key (three points of G1 and three of
// G2, then counted points of G1), then five counted lists of points: h, l, a and b in G1, b in G2.
const (
	g1Size      = 96
	g2Size      = 192
	keyHeadSize = 3*g1Size + 3*g2Size
)

// checkLayout returns the verifying key at the head of a parameter file that is complete. It reads a few bytes of what may be 60 GB;
// the library would panic in the middle of a proof.
func checkLayout(name string) (key []byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	var end int64
	list := func(at, pointSize int64) {
		var count [4]byte
		if _, readErr := file.ReadAt(count[:], at); err == nil && readErr != nil {
			err = fmt.Errorf("%s is cut short: it holds %d bytes", name, info.Size())
		}
		end = at + 4 + int64(binary.BigEndian.Uint32(count[:]))*pointSize
	}
	list(keyHeadSize, g1Size)
	keySize := end
	for _, pointSize := range []int64{g1Size, g1Size, g1Size, g1Size, g2Size} {
		if err == nil {
			list(end, pointSize)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case end != info.Size():
		return nil, fmt.Errorf("%s holds %d bytes instead of %d: it is cut short or damaged", name, info.Size(), end)
	}
	key = make([]byte, keySize)
	if _, err := file.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// parameterError says what is wrong and what to do about it.
func parameterError(proofType abi.RegisteredPoStProof, what string) error {
	remedy := "put the network's parameters there (lotus fetch-params), or name their folder in FIL_PROOFS_PARAMETER_CACHE"
	if size, err := proofType.SectorSize(); err == nil && size == 2<<10 {
		remedy = "set FIL_PROOFS_PARAMETER_CACHE to the folder that `make params` prints"
	}
	return fmt.Errorf("%w of %s: %s; %s", ErrParameters, ProofType(proofType), what, remedy)
}

// isWinning tells the two kinds of PoSt apart.
func isWinning(proofType abi.RegisteredPoStProof) bool {
	switch proofType {
	case abi.RegisteredPoStProof_StackedDrgWinning2KiBV1, abi.RegisteredPoStProof_StackedDrgWinning8MiBV1,
		abi.RegisteredPoStProof_StackedDrgWinning512MiBV1, abi.RegisteredPoStProof_StackedDrgWinning32GiBV1,
		abi.RegisteredPoStProof_StackedDrgWinning64GiBV1:
		return true
	}
	return false
}
