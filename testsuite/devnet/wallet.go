package devnet

import (
	"errors"
	"fmt"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/crypto"

	"posthaste/chain"
)

// wallet holds the BLS keys of all owners, workers and control addresses.
type wallet map[address.Address]ffi.PrivateKey

// newKey adds the key that follows from the chain's seed and a name, and returns its f3 address.
func (w wallet) newKey(cfg Config, name string) (address.Address, error) {
	key := ffi.PrivateKeyGenerateWithSeed(cfg.derive("key", []byte(name)))
	public := ffi.PrivateKeyPublicKey(key)
	if public == nil {
		return address.Undef, fmt.Errorf("making the key of %s: no public key", name)
	}
	a, err := address.NewBLSAddress(public[:])
	if err != nil {
		return address.Undef, fmt.Errorf("making the key of %s: %w", name, err)
	}
	w[a] = key
	return a, nil
}

// sign signs a message's CID, as Lotus does.
func (w wallet) sign(key address.Address, m chain.Message) (*chain.SignedMessage, error) {
	private, has := w[key]
	if !has {
		return nil, fmt.Errorf("failed to sign message: key for %s not found in wallet: key info not found", key)
	}
	c, err := m.Cid()
	if err != nil {
		return nil, err
	}
	signature := ffi.PrivateKeySign(private, c.Bytes())
	if signature == nil {
		return nil, errors.New("failed to sign message")
	}
	return &chain.SignedMessage{Message: m, Signature: crypto.Signature{Type: crypto.SigTypeBLS, Data: signature[:]}}, nil
}

// verifySignature checks that the sender signed the message.
func verifySignature(m *chain.SignedMessage) error {
	if m.Message.From.Protocol() == address.ID {
		return errors.New("must resolve ID addresses before using them to verify a signature")
	}
	if m.Signature.Type != crypto.SigTypeBLS || m.Message.From.Protocol() != address.BLS {
		return fmt.Errorf("invalid signature type %d for sender %s: this chain has BLS keys only", m.Signature.Type, m.Message.From)
	}
	var (
		signature ffi.Signature
		public    ffi.PublicKey
	)
	if len(m.Signature.Data) != len(signature) || len(m.Message.From.Payload()) != len(public) {
		return errors.New("bls signature failed to verify: wrong length")
	}
	copy(signature[:], m.Signature.Data)
	copy(public[:], m.Message.From.Payload())
	c, err := m.Message.Cid()
	if err != nil {
		return err
	}
	if !ffi.HashVerify(&signature, []ffi.Message{c.Bytes()}, []ffi.PublicKey{public}) {
		return errors.New("bls signature failed to verify")
	}
	return nil
}
