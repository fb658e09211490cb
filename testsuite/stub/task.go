package stub

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// task is a request's task, as far as a prover that does not prove has to read it.
type task struct {
	Miner    uint64    `json:"miner_id"`
	Replicas []replica `json:"replicas"`
	Seed     []uint16  `json:"seed"` // 32 numbers; Go would read bytes from base64
}

type replica struct {
	Sector uint64 `json:"sector_id"`
}

func (t task) sectors() []uint64 {
	numbers := make([]uint64, len(t.Replicas))
	for i, r := range t.Replicas {
		numbers[i] = r.Sector
	}
	return numbers
}

func (t task) key() string {
	seed := make([]byte, len(t.Seed))
	for i, n := range t.Seed {
		seed[i] = byte(n)
	}
	return Key(t.Miner, seed, t.sectors())
}

// Key names what has to be proven, whoever asks: 16 hex digits of a miner, a seed (32 bytes, unmasked) and a set of sectors. A
// folder of proofs has Key.proof for each.
func Key(miner uint64, seed []byte, sectors []uint64) string {
	h := sha256.New()
	put := func(v uint64) { h.Write(binary.BigEndian.AppendUint64(nil, v)) }
	put(miner)
	h.Write(seed)
	for _, sector := range slices.Sorted(slices.Values(sectors)) {
		put(sector)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
