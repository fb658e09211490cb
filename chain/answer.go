package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Limits of an answer's size, in bytes. A node, or what stands before it, may send anything; no answer may take the daemon's memory.
const (
	// answerSmall is for what is a few values: a tipset of 20 blocks, far more than there ever are, has about 100 KB.
	answerSmall = 1 << 20
	// answerMessage is for what carries a message: its parameters are at most maxParams, a third longer as base64.
	answerMessage = 4 << 20
	// answerList is for sectors and partitions: all 2,349 sectors of a full partition are about 2 MB from Lotus, and the 3,000 partitions
	// that a deadline may have, with every other sector faulty, about 60 MB.
	answerList = 64 << 20
)

// Limits of what stands in an answer.
const (
	maxDigits = 128 // of a number: 2^256 has 78
	maxCID    = 256 // characters; those of Filecoin have 62
)

// tooLarge is an answer that goes on beyond its limit.
type tooLarge struct{ limit int64 }

func (e tooLarge) Error() string {
	return fmt.Sprintf("the answer is longer than %d bytes, more than such an answer can be", e.limit)
}

type (
	limitKey struct{}
	onceKey  struct{}
)

// once has a call sent once only.
func once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// withLimit bounds the answer of the call that is made with the context.
func withLimit(ctx context.Context, limit int64) context.Context {
	return context.WithValue(ctx, limitKey{}, limit)
}

// transport bounds what a node may answer, and gives back the connection of an answer that go-jsonrpc does not read: it leaves the body of
// those with an HTTP error open.
type transport struct{ next http.RoundTripper }

// RoundTrip sends one request.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Value(onceKey{}) == nil {
		// A connection that was kept and that the node has closed shows only when it is used: then net/http may try another. No call
		// changes anything, and the header's empty value is not sent.
		again := *r
		again.Header = r.Header.Clone()
		again.Header["Idempotency-Key"] = []string{}
		r = &again
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode > http.StatusBadRequest && response.StatusCode != http.StatusInternalServerError {
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
		_ = response.Body.Close()
		response.Body = http.NoBody
		return response, nil
	}
	limit, ok := r.Context().Value(limitKey{}).(int64)
	if !ok {
		limit = answerSmall
	}
	if response.ContentLength > limit {
		_ = response.Body.Close()
		return nil, tooLarge{limit}
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: limit, limit: limit}
	return response, nil
}

// boundedBody is a body that fails beyond a limit.
type boundedBody struct {
	io.ReadCloser
	left, limit int64
}

// Read reads up to the limit.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// The very end may lie exactly at the limit.
		var one [1]byte
		if n, err := b.ReadCloser.Read(one[:]); n == 0 && err != nil {
			return 0, err
		}
		return 0, tooLarge{b.limit}
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// sane refuses JSON that is small but expensive: a number of a million digits, or a CID of as many characters, takes minutes to decode.
func sane(raw []byte) error {
	afterSlash := false // the string to come is a CID
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			text, escaped, end := scanString(raw, i+1)
			if i = end; isKey(raw, i+1) {
				if escaped {
					return errors.New("a key is written with escapes")
				}
				afterSlash = string(text) == "/"
				continue
			}
			if len(text) > maxDigits && onlyDigits(text) {
				return fmt.Errorf("a number has %d digits", len(text))
			}
			if afterSlash && len(text) > maxCID {
				return fmt.Errorf("a CID has %d characters", len(text))
			}
			afterSlash = false
		case c == '-' || c >= '0' && c <= '9':
			start := i
			for i+1 < len(raw) && bytes.IndexByte([]byte("0123456789+-.eE"), raw[i+1]) >= 0 {
				i++
			}
			if i-start > maxDigits {
				return fmt.Errorf("a number has %d digits", i-start+1)
			}
		}
	}
	return nil
}

// scanString gives the string that begins at start, whether it has escapes, and where its closing quote stands.
func scanString(raw []byte, start int) (text []byte, escaped bool, end int) {
	for end = start; end < len(raw) && raw[end] != '"'; end++ {
		if raw[end] == '\\' {
			escaped = true
			end++
		}
	}
	end = min(end, len(raw))
	return raw[start:end], escaped, end
}

// isKey says whether a colon comes next.
func isKey(raw []byte, at int) bool {
	for ; at < len(raw); at++ {
		switch raw[at] {
		case ' ', '\t', '\n', '\r':
		default:
			return raw[at] == ':'
		}
	}
	return false
}

// onlyDigits says whether a string can be nothing but a number: escapes may stand for digits.
func onlyDigits(text []byte) bool {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9' || c == '-' || c == '+':
		case c == '\\' && i+5 < len(text) && text[i+1] == 'u':
			i += 5
		default:
			return false
		}
	}
	return true
}

// isNull says whether an answer is null.
func isNull(raw json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(raw), []byte("null")) }

// decodeInto decodes an answer that must be there.
func decodeInto(raw json.RawMessage, into any) error {
	switch {
	case len(raw) == 0:
		return errors.New("the answer is empty")
	case isNull(raw):
		return errors.New("the answer is null")
	}
	if err := sane(raw); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// decodeList decodes a list element by element, so that a list of a million nothings is refused before it is made. Null is an empty
// list, as Go writes it.
func decodeList[T any](raw json.RawMessage, most int, decode func(json.RawMessage) (T, error)) ([]T, error) {
	if isNull(raw) {
		return nil, nil
	}
	if len(raw) == 0 {
		return nil, errors.New("the answer is empty")
	}
	if err := sane(raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if token, err := d.Token(); err != nil || token != json.Delim('[') {
		return nil, errors.New("the answer is not a list")
	}
	var list []T
	for d.More() {
		if len(list) == most {
			return nil, fmt.Errorf("the list has more than %d entries", most)
		}
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return nil, err
		}
		one, err := decode(element)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(list), err)
		}
		list = append(list, one)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the list does not end: %w", err)
	}
	return list, nil
}
