package devnet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/filecoin-project/go-jsonrpc/auth"
)

// tokens are the API tokens of a chain and what each may do. They are kept in its folder, so that a chain started again on
// it is still open to those who knew it.
type tokens map[string][]auth.Permission

// loadTokens reads the tokens of a folder, one file a permission, and makes the ones that are missing.
func loadTokens(dir string) (tokens, error) {
	out := tokens{}
	all := allPermissions()
	for i, perm := range all {
		file := filepath.Join(dir, "token."+string(perm))
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			random := make([]byte, 24)
			_, _ = rand.Read(random) // never fails
			raw = []byte(hex.EncodeToString(random))
			err = os.WriteFile(file, append(raw, '\n'), 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("the chain's API token: %w", err)
		}
		token := strings.TrimSpace(string(raw))
		if token == "" {
			return nil, fmt.Errorf("the chain's API token: %s is empty; remove it to have a new one made", file)
		}
		out[token] = all[:i+1]
	}
	return out, nil
}

// verify is what a token may do.
func (t tokens) verify(_ context.Context, token string) ([]auth.Permission, error) {
	perms, known := t[token]
	if !known {
		return nil, errors.New("JWT Verification failed: unknown token")
	}
	return perms, nil
}

// of is the token with exactly the rights of perm.
func (t tokens) of(perm auth.Permission) string {
	for token, perms := range t {
		if perms[len(perms)-1] == perm {
			return token
		}
	}
	return ""
}
