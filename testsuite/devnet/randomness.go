package devnet

import (
	"encoding/binary"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"golang.org/x/crypto/blake2b"
)

// drawRandomness separates domains as the Filecoin specification does (section "Randomness"): BLAKE2b-256 of the tag, the
// digest of the base, the epoch and the entropy, integers as 8 bytes big-endian.
func drawRandomness(base []byte, tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte) abi.Randomness {
	digest := blake2b.Sum256(base)
	in := binary.BigEndian.AppendUint64(nil, uint64(tag))
	in = append(in, digest[:]...)
	in = binary.BigEndian.AppendUint64(in, uint64(epoch))
	in = append(in, entropy...)
	out := blake2b.Sum256(in)
	return out[:]
}

// derive makes 32 bytes that follow from the chain's seed, a purpose and what distinguishes this use of it.
func (c Config) derive(purpose string, parts ...[]byte) [32]byte {
	in := []byte(c.Seed + "\x00" + purpose)
	for _, p := range parts {
		in = binary.BigEndian.AppendUint64(in, uint64(len(p)))
		in = append(in, p...)
	}
	return blake2b.Sum256(in)
}

func number[T ~int64 | ~uint64 | ~int](n T) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n))
}

// beacon is the random beacon's value for an epoch. It does not depend on the chain, so no reorg moves it.
func (c Config) beacon(epoch abi.ChainEpoch) []byte {
	out := c.derive("beacon", number(epoch))
	return out[:]
}
