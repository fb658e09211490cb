package chain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"
)

// Message is an unsigned message as it stands on the chain. Its JSON has the fields of Lotus's types.Message, its CBOR
// is the ten-element tuple of the Filecoin specification (section "Messages").
type Message struct {
	Version    uint64
	To         address.Address
	From       address.Address
	Nonce      uint64
	Value      abi.TokenAmount // attoFIL
	GasLimit   int64
	GasFeeCap  abi.TokenAmount // attoFIL per unit of gas, at most
	GasPremium abi.TokenAmount // attoFIL per unit of gas, to the block's miner
	Method     abi.MethodNum
	Params     []byte
}

// messageFields is how many fields the CBOR tuple of a message has.
const messageFields = 10

// maxParams bounds the parameters read from CBOR; the network's limit for a whole message is 64 KiB.
const maxParams = 1 << 20

// MarshalCBOR writes the message as the chain holds it.
func (m *Message) MarshalCBOR(w io.Writer) error {
	cw := cbg.NewCborWriter(w)
	if err := cw.WriteMajorTypeHeader(cbg.MajArray, messageFields); err != nil {
		return err
	}
	if err := cw.WriteMajorTypeHeader(cbg.MajUnsignedInt, m.Version); err != nil {
		return err
	}
	if err := m.To.MarshalCBOR(cw); err != nil {
		return err
	}
	if err := m.From.MarshalCBOR(cw); err != nil {
		return err
	}
	if err := cw.WriteMajorTypeHeader(cbg.MajUnsignedInt, m.Nonce); err != nil {
		return err
	}
	if err := m.Value.MarshalCBOR(cw); err != nil {
		return err
	}
	if err := cbg.CborInt(m.GasLimit).MarshalCBOR(cw); err != nil {
		return err
	}
	if err := m.GasFeeCap.MarshalCBOR(cw); err != nil {
		return err
	}
	if err := m.GasPremium.MarshalCBOR(cw); err != nil {
		return err
	}
	if err := cw.WriteMajorTypeHeader(cbg.MajUnsignedInt, uint64(m.Method)); err != nil {
		return err
	}
	return cbg.WriteByteArray(cw, m.Params)
}

// UnmarshalCBOR reads what MarshalCBOR writes.
func (m *Message) UnmarshalCBOR(r io.Reader) error {
	*m = Message{}
	cr := cbg.NewCborReader(r)
	if err := readTuple(cr, "message", messageFields); err != nil {
		return err
	}
	var gas cbg.CborInt
	var method uint64
	for _, field := range []struct {
		name string
		read func() error
	}{
		{"Version", func() error { return readUint(cr, &m.Version) }},
		{"To", func() error { return m.To.UnmarshalCBOR(cr) }},
		{"From", func() error { return m.From.UnmarshalCBOR(cr) }},
		{"Nonce", func() error { return readUint(cr, &m.Nonce) }},
		{"Value", func() error { return m.Value.UnmarshalCBOR(cr) }},
		{"GasLimit", func() error { return gas.UnmarshalCBOR(cr) }},
		{"GasFeeCap", func() error { return m.GasFeeCap.UnmarshalCBOR(cr) }},
		{"GasPremium", func() error { return m.GasPremium.UnmarshalCBOR(cr) }},
		{"Method", func() error { return readUint(cr, &method) }},
		{"Params", func() (err error) { m.Params, err = cbg.ReadByteArray(cr, maxParams); return err }},
	} {
		if err := field.read(); err != nil {
			return fmt.Errorf("reading a message's %s: %w", field.name, err)
		}
	}
	m.GasLimit, m.Method = int64(gas), abi.MethodNum(method)
	return nil
}

func readTuple(cr *cbg.CborReader, what string, fields uint64) error {
	major, n, err := cr.ReadHeader()
	if err != nil {
		return fmt.Errorf("reading a %s: %w", what, err)
	}
	if major != cbg.MajArray || n != fields {
		return fmt.Errorf("reading a %s: CBOR of major type %d and length %d, want a tuple of %d", what, major, n, fields)
	}
	return nil
}

func readUint(cr *cbg.CborReader, into *uint64) error {
	major, n, err := cr.ReadHeader()
	if err != nil {
		return err
	}
	if major != cbg.MajUnsignedInt {
		return fmt.Errorf("CBOR of major type %d, want an unsigned integer", major)
	}
	*into = n
	return nil
}

// Cid names the unsigned message. It is also what is signed, and, for a BLS signature, what the chain knows the message by.
func (m *Message) Cid() (cid.Cid, error) { return cidOf(m) }

// MarshalJSON adds the CID, as Lotus does.
func (m Message) MarshalJSON() ([]byte, error) {
	c, err := m.Cid()
	if err != nil {
		return nil, err
	}
	type plain Message
	return json.Marshal(struct {
		plain
		CID cid.Cid
	}{plain(m), c})
}

// SignedMessage is a message with its sender's signature: what the pool takes.
type SignedMessage struct {
	Message   Message
	Signature crypto.Signature
}

// MarshalCBOR writes the pair of message and signature.
func (s *SignedMessage) MarshalCBOR(w io.Writer) error {
	cw := cbg.NewCborWriter(w)
	if err := cw.WriteMajorTypeHeader(cbg.MajArray, 2); err != nil {
		return err
	}
	if err := s.Message.MarshalCBOR(cw); err != nil {
		return err
	}
	return s.Signature.MarshalCBOR(cw)
}

// UnmarshalCBOR reads what MarshalCBOR writes.
func (s *SignedMessage) UnmarshalCBOR(r io.Reader) error {
	*s = SignedMessage{}
	cr := cbg.NewCborReader(r)
	if err := readTuple(cr, "signed message", 2); err != nil {
		return err
	}
	if err := s.Message.UnmarshalCBOR(cr); err != nil {
		return err
	}
	if err := s.Signature.UnmarshalCBOR(cr); err != nil {
		return fmt.Errorf("reading a message's signature: %w", err)
	}
	return nil
}

// Cid is the name under which the chain finds the message: of the message alone where the signature is BLS (blocks
// aggregate those signatures), of the pair otherwise.
func (s *SignedMessage) Cid() (cid.Cid, error) {
	if s.Signature.Type == crypto.SigTypeBLS {
		return s.Message.Cid()
	}
	return cidOf(s)
}

// MarshalJSON adds the CID, as Lotus does.
func (s SignedMessage) MarshalJSON() ([]byte, error) {
	c, err := s.Cid()
	if err != nil {
		return nil, err
	}
	type plain SignedMessage
	return json.Marshal(struct {
		plain
		CID cid.Cid
	}{plain(s), c})
}

func cidOf(v interface{ MarshalCBOR(io.Writer) error }) (cid.Cid, error) {
	var buf bytes.Buffer
	if err := v.MarshalCBOR(&buf); err != nil {
		return cid.Undef, fmt.Errorf("encoding a message: %w", err)
	}
	return abi.CidBuilder.Sum(buf.Bytes())
}
