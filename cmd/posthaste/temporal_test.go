package main

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// What the program that does the work is called with.
func TestSchemaPassesFlagsOn(t *testing.T) {
	for situation, c := range map[string]struct{ args, want []string }{
		"the least": {
			[]string{"--postgres", "db:5432"},
			[]string{"--postgres=db:5432"},
		},
		"what concerns this program stays here": {
			[]string{"--config", "x.toml", "--log-level", "debug", "--postgres", "/var/run/postgresql", "--check", "--json"},
			[]string{"--check=true", "--json=true", "--postgres=/var/run/postgresql"},
		},
		"TLS": {
			[]string{"--postgres", "db", "--postgres-tls", "verify-full", "--postgres-ca", "/etc/ca.pem"},
			[]string{"--postgres=db", "--postgres-ca=/etc/ca.pem", "--postgres-tls=verify-full"},
		},
	} {
		t.Run(situation, func(t *testing.T) {
			root := newRoot(&app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}})
			schema, _, err := root.Find([]string{"temporal", "schema"})
			require.NoError(t, err)
			var got []string
			schema.RunE = func(cmd *cobra.Command, _ []string) error { got = givenFlags(cmd); return nil }
			root.SetArgs(append([]string{"temporal", "schema"}, c.args...))
			require.NoError(t, root.ExecuteContext(t.Context()))
			require.Equal(t, c.want, got)
		})
	}
	_, _, err := run(t, "temporal", "schema")
	require.EqualError(t, err, `required flag(s) "postgres" not set`)
	_, _, err = run(t, "temporal", "schema", "--postgres-password", "secret", "--postgres", "db")
	require.EqualError(t, err, "unknown flag: --postgres-password", "command lines can be read by others")
}
