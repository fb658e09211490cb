package integration_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/rig"
)

// postgres is a PostgreSQL server of the test's own, or the test is skipped.
func postgres(t *testing.T) *rig.Postgres {
	t.Helper()
	p, err := rig.NewPostgres(t)
	if errors.Is(err, rig.ErrNoPostgres) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return p
}

// schemaOn runs `posthaste temporal schema` and gives its exit code and what it printed.
func schemaOn(ctx context.Context, t *testing.T, p *rig.Postgres, more ...string) (int, string) {
	t.Helper()
	args := append(append([]string{"temporal", "schema"}, p.Flags()...), more...)
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "bin", "posthaste"), args...)
	cmd.Env = append(cmd.Environ(), p.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// A database is brought up for Temporal, once and again, and told what it is.
func TestSchemaOnPostgres(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	p := postgres(t)
	says := func(code int, want []string, more ...string) {
		t.Helper()
		got, out := schemaOn(ctx, t, p, more...)
		assert.Equal(t, code, got, out)
		for _, part := range want {
			assert.Contains(t, out, part)
		}
	}
	query := func(database, statement string) string {
		t.Helper()
		out, err := p.Query(ctx, database, statement)
		require.NoError(t, err)
		return out
	}
	says(1, []string{"temporal: not there, would become schema 1.", "not up to date"}, "--check")
	assert.Equal(t, "0", query("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'temporal%'"), "a check changes nothing")
	says(0, []string{"temporal: not there, now schema 1.", "temporal_visibility: not there, now schema 1."})
	says(0, []string{"up to date"}, "--check")

	query("temporal", "INSERT INTO namespaces VALUES (0, 'x', 'kept', 0, 'x', 'x', false)")
	says(0, []string{"up to date"})
	query("temporal", "UPDATE schema_version SET curr_version = '1.18'") // as an older server left it
	says(1, []string{"temporal: schema 1.18, would become schema 1.19"}, "--check")
	says(0, []string{"temporal: schema 1.18, now schema 1.19"})
	assert.Equal(t, "kept", query("temporal", "SELECT name FROM namespaces"), "a live database keeps what it holds")

	query("temporal", "UPDATE schema_version SET curr_version = '1.99'")
	says(1, []string{"schema 1.99, newer than", "left as it is"})
	query("postgres", "CREATE DATABASE shop")
	query("shop", "CREATE TABLE orders (id int)")
	says(1, []string{"tables that are not Temporal's (orders"}, "--postgres-database", "shop")
	query("postgres", "CREATE ROLE guest LOGIN PASSWORD 'not-a-secret'")
	says(1, []string{"guest may not create databases", `OWNER "guest"`}, "--postgres-user", "guest", "--postgres-database", "mine")
	says(1, []string{"does not let user stranger in"}, "--postgres-user", "stranger")
}

// Two who bring the same databases up at once: one does it, the other finds it done.
func TestSchemaTwiceAtOnce(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	p := postgres(t)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			code, out := schemaOn(ctx, t, p)
			assert.Zero(t, code, out)
		})
	}
	both.Wait()
	code, out := schemaOn(ctx, t, p, "--check")
	assert.Zero(t, code, out)
}

// One temporal-dev serves from a database; the next gets it when the first is gone.
func TestOneServerADatabase(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	database := postgres(t)
	code, out := schemaOn(ctx, t, database)
	require.Zero(t, code, out)
	first := rig.New(t, rig.Options{Bare: true, Postgres: database})
	_, err := rig.Open(ctx, t.TempDir(), rig.Options{Bare: true, Postgres: database})
	require.ErrorContains(t, err, "another temporal-dev serves from it, from 127.0.0.1 since")
	first.Temporal.Kill()
	second := rig.New(t, rig.Options{Bare: true, Postgres: database})
	require.NoError(t, second.Died())
}

// Two daemons, two workers, Temporal on PostgreSQL: whatever is killed meanwhile, every deadline is posted, once.
func TestScaleOut(t *testing.T) {
	t.Parallel()
	ctx := within(t, 5*time.Minute)
	database := postgres(t)
	code, out := schemaOn(ctx, t, database)
	require.Zero(t, code, out)
	r := rig.New(t, rig.Options{Chain: slowChain(), Workers: 2, Cards: 1, Postgres: database})
	second := r.AddDaemon("daemon2")
	require.NoError(t, second.Start(ctx))

	hit := map[string]bool{}
	var last post.Deadline
	strike := func(what string, blow func()) {
		t.Helper()
		proof, err := r.WaitForRunningProof(ctx, func(id string) bool { return hit[id] })
		require.NoError(t, err)
		blow()
		hit[proof.WorkflowID], last = true, proof.Deadline
		t.Logf("%s in the middle of %s partition %d", what, proof.WorkflowID, proof.Partition)
	}
	strike("the first daemon is killed", r.Daemon.Kill)
	strike("the second daemon is killed, the first is back", func() {
		require.NoError(t, r.Daemon.Start(ctx))
		second.Kill()
	})
	strike("PostgreSQL is killed and comes back, as the second daemon does", func() {
		database.Kill()
		require.NoError(t, database.Start(ctx))
		require.NoError(t, second.Start(ctx))
	})
	strike("Temporal is killed and comes back", func() { require.NoError(t, r.Temporal.Restart(ctx)) })
	waitAwaiting(ctx, t, r, last)
	r.Daemon.Kill() // somewhere between the proof and the receipt

	deadlines := allPosted(ctx, t, r, deadlinesUntil(ctx, t, r, last))
	cards := map[string]bool{}
	for _, d := range deadlines {
		result := resultOf(ctx, t, r, d)
		assert.Equal(t, post.StatePosted, result.State, result.Reasons())
		for _, p := range result.Partitions {
			cards[p.Card] = true
			assert.Equal(t, 1, p.Tries, "a lost daemon or server costs no try")
		}
	}
	assert.Len(t, cards, 2, "both workers prove")
	assert.Greater(t, len(deadlines), 3)
}
