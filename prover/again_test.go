package prover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	commcid "github.com/filecoin-project/go-fil-commcid"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/testsuite/sealing"
)

func TestMayPass(t *testing.T) {
	path := func(number syscall.Errno) error {
		return &fs.PathError{Op: "read", Path: "/mnt/a/sealed/s-t01000-1", Err: number}
	}
	library := func(text string) error {
		return errors.New("vanilla proof: " + text + " (replica /a/sealed/s-t01000-1, cache /a/cache/s-t01000-1)")
	}
	for situation, c := range map[string]struct {
		err  error
		pass bool
	}{
		"a disk's error":                          {fmt.Errorf("reading x at 0: %w", path(syscall.EIO)), true},
		"a stale handle of a network mount":       {path(syscall.ESTALE), true},
		"a mount that timed out":                  {path(syscall.ETIMEDOUT), true},
		"interrupted":                             {path(syscall.EINTR), true},
		"not just now":                            {path(syscall.EAGAIN), true},
		"the server closed the connection":        {path(syscall.ECONNRESET), true},
		"too many open files":                     {path(syscall.EMFILE), true},
		"a file that ends before its size":        {fmt.Errorf("reading x at 0: %w", io.EOF), true},
		"not readable by us":                      {path(syscall.EACCES), false},
		"no such file":                            {path(syscall.ENOENT), false},
		"a folder":                                {path(syscall.EISDIR), false},
		"links in a circle":                       {path(syscall.ELOOP), false},
		"another size":                            {errors.New("/a/sealed/s-t01000-1 holds 1024 bytes instead of 2048"), false},
		"gone, as the probe says it":              {errors.New("/a/sealed/s-t01000-1 does not exist"), false},
		"the library: a stale handle":             {library("could not read from path=\"/a\" Caused by: Stale file handle (os error 116)"), true},
		"the library: a disk's error":             {library("Input/output error (os error 5)"), true},
		"the library: not just now":               {library("Resource temporarily unavailable (os error 11)"), true},
		"the library: a mount that timed out":     {library("Connection timed out (os error 110)"), true},
		"the library: a short read":               {library("failed to fill whole buffer"), true},
		"the library: no such file":               {library("No such file or directory (os error 2)"), false},
		"the library: not readable by us":         {library("Permission denied (os error 13)"), false},
		"the library: a bit has turned":           {library("vanilla proof for sector SectorId(5) is invalid"), false},
		"the library: a path with a number in it": {library("Invalid commitment (comm_r) 116"), false},
	} {
		t.Run(situation, func(t *testing.T) { require.Equal(t, c.pass, mayPass(c.err)) })
	}
}

// The texts of the library in TestMayPass are guesses without this: what it says of files that are really bad, read with no probe before.
func TestMayPassOfWhatTheLibrarySays(t *testing.T) {
	// The kernel answers a read of the first page of a process's memory with EIO.
	const unreadable = "/proc/self/mem"
	link := func(t *testing.T, file, to string) {
		require.NoError(t, os.Remove(file))
		require.NoError(t, os.Symlink(to, file))
	}
	tree := func(r Replica) string { return filepath.Join(r.CacheDir, "sc-02-data-tree-r-last.dat") }
	for situation, c := range map[string]struct {
		damage func(t *testing.T, dir string, r Replica)
		says   string
		pass   bool
	}{
		"p_aux gives EIO": {func(t *testing.T, _ string, r Replica) { link(t, filepath.Join(r.CacheDir, "p_aux"), unreadable) }, "(os error 5)", true},
		"p_aux is gone": {func(t *testing.T, _ string, r Replica) {
			require.NoError(t, os.Remove(filepath.Join(r.CacheDir, "p_aux")))
		}, "(os error 2)", false},
		"p_aux is a link in a circle": {func(t *testing.T, _ string, r Replica) {
			link(t, filepath.Join(r.CacheDir, "p_aux"), filepath.Join(r.CacheDir, "p_aux"))
		}, "(os error 40)", false},
		"the replica is gone":            {func(t *testing.T, dir string, _ Replica) { require.NoError(t, sealing.Delete(dir, miner, 1)) }, "does not exist", false},
		"the replica's bits have turned": {func(t *testing.T, dir string, _ Replica) { require.NoError(t, sealing.FlipReplica(dir, miner, 1)) }, "is invalid", false},
		"the tree's bits have turned":    {func(t *testing.T, dir string, _ Replica) { require.NoError(t, sealing.FlipTree(dir, miner, 1)) }, "is invalid", false},
		"the tree is gone":               {func(t *testing.T, _ string, r Replica) { require.NoError(t, os.Remove(tree(r))) }, "Inconsistent tree data", false},
		"the tree ends early (the probe finds one that is cut short)": {func(t *testing.T, _ string, r Replica) { require.NoError(t, os.Truncate(tree(r), 16)) }, "failed to fill whole buffer", true},
	} {
		t.Run(situation, func(t *testing.T) {
			dir, _, task := sealed(t, 1)
			r := task.Replicas[0]
			c.damage(t, dir, r)
			challenges, err := ffi.GeneratePoStFallbackSectorChallenges(windowType, miner, abi.PoStRandomness(make([]byte, 32)), []abi.SectorNumber{1})
			require.NoError(t, err)
			commR, err := commcid.ReplicaCommitmentV1ToCID(r.CommR[:])
			require.NoError(t, err)
			_, err = ffi.GenerateSingleVanillaProof(ffi.PrivateSectorInfo{
				SectorInfo: proof.SectorInfo{SectorNumber: 1, SealedCID: commR}, CacheDirPath: r.CacheDir, PoStProofType: windowType, SealedSectorPath: r.SealedFile,
			}, challenges.Challenges[1])
			require.Error(t, err)
			t.Log(oneLine(err))
			require.Contains(t, oneLine(err), c.says)
			require.Equal(t, c.pass, mayPass(errors.New(oneLine(err))))
		})
	}
}

func TestReadAgain(t *testing.T) {
	for situation, c := range map[string]struct {
		patience time.Duration
		times    int
		since    time.Duration
		pause    time.Duration
		again    bool
	}{
		"soon after the first time":       {time.Minute, 1, 0, 2 * time.Second, true},
		"the first time took a while":     {time.Minute, 1, time.Second, time.Second, true},
		"it took longer than the pause":   {time.Minute, 2, 20 * time.Second, 0, true},
		"the last time, at the end":       {time.Minute, 4, 20 * time.Second, 40 * time.Second, true},
		"no patience left":                {time.Minute, 2, 61 * time.Second, 0, false},
		"often enough":                    {time.Minute, 5, 0, 0, false},
		"a deadline that is seconds long": {300 * time.Millisecond, 1, 0, 10 * time.Millisecond, true},
	} {
		t.Run(situation, func(t *testing.T) {
			pause, again := readAgain(c.patience, c.times, c.since)
			require.Equal(t, c.again, again)
			require.InDelta(t, c.pause, pause, float64(time.Microsecond))
		})
	}
}

func TestPatienceFor(t *testing.T) {
	require.Equal(t, time.Minute, patienceFor(time.Hour), "however much time there is")
	require.Equal(t, time.Second, patienceFor(10*time.Second))
	require.Equal(t, time.Millisecond, patienceFor(-time.Second), "0 would mean that nothing is known")
}

// flaky is a disk that answers each sector's first reads with errors.
type flaky struct {
	mu    sync.Mutex
	fails map[uint64][]error
	reads map[uint64]int
}

func (f *flaky) probe(r Replica, size uint64, challenges []uint64) error {
	f.mu.Lock()
	n := f.reads[r.SectorID]
	f.reads[r.SectorID]++
	f.mu.Unlock()
	if errs := f.fails[r.SectorID]; n < len(errs) {
		return errs[n]
	}
	return probe(r, size, challenges)
}

// One that fails and is well again is in the proof; one that goes on failing is skipped after some times; and what cannot pass is not read again.
func TestFlakyReadsAreReadAgain(t *testing.T) {
	needParameters(t)
	dir, _, task := sealed(t, 4)
	stale, broken := &fs.PathError{Op: "read", Path: "x", Err: syscall.ESTALE}, &fs.PathError{Op: "read", Path: "y", Err: syscall.EIO}
	disk := &flaky{reads: map[uint64]int{}, fails: map[uint64][]error{1: {stale}, 2: {io.ErrUnexpectedEOF, broken, stale}, 3: {broken, broken, broken, broken, broken, broken}}}
	require.NoError(t, sealing.Truncate(dir, miner, 4))
	var mu sync.Mutex
	again := map[abi.SectorNumber]int{}
	v, err := Vanilla(t.Context(), task, Reading{Patience: 100 * time.Millisecond, probe: disk.probe, OnAgain: func(sector abi.SectorNumber, why error) {
		mu.Lock()
		defer mu.Unlock()
		again[sector]++
		require.Error(t, why)
	}})
	require.NoError(t, err)
	require.Equal(t, []post.Skipped{
		{Sector: 3, Reason: "read 5 times: read y: input/output error"},
		{Sector: 4, Reason: sealing.SealedFile(dir, miner, 4) + " holds 1024 bytes instead of 2048"},
	}, v.Skipped)
	require.Equal(t, map[abi.SectorNumber]int{1: 1, 2: 3, 3: 4}, again)
	require.Equal(t, 1, disk.reads[4])
	proof, skipped, err := Snark(t.Context(), v)
	require.NoError(t, err)
	require.True(t, verifies(t, task, skipped, proof))
}

// A read that hangs, as by the handle of a server that is gone, is begun again beside; the file is there for who opens it anew.
func TestAHangingReadIsBegunAgain(t *testing.T) {
	dir, _, task := sealed(t, 2)
	hang(t, dir, 1)
	aux := filepath.Join(sealing.CacheDir(dir, miner, 1), "p_aux")
	other := filepath.Join(t.TempDir(), "elsewhere")
	_, err := sealing.Seal(t.Context(), other, miner, 1)
	require.NoError(t, err)
	v, err := Vanilla(t.Context(), task, Reading{Limit: 12 * time.Second, OnAgain: func(sector abi.SectorNumber, why error) {
		require.EqualValues(t, 1, sector)
		require.ErrorIs(t, why, errSlow)
		require.NoError(t, os.Rename(filepath.Join(sealing.CacheDir(other, miner, 1), "p_aux"), aux))
	}})
	require.NoError(t, err)
	require.Empty(t, v.Skipped)
	require.Len(t, v.Good, 2)
}

func TestCancellingBetweenTwoReads(t *testing.T) {
	_, _, task := sealed(t, 1)
	disk := &flaky{reads: map[uint64]int{}, fails: map[uint64][]error{1: {syscall.EIO, syscall.EIO}}}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Vanilla(ctx, task, Reading{Patience: time.Hour, probe: disk.probe, OnAgain: func(abi.SectorNumber, error) { cancel() }})
	require.ErrorIs(t, err, ctx.Err())
	require.Equal(t, 1, disk.reads[1])
}

// A child of ours is told by its parent how long it may read again; another program is told what damocles tells it.
func TestPatienceCrossesTheProtocol(t *testing.T) {
	_, _, task := sealed(t, 1)
	disk := &flaky{reads: map[uint64]int{}, fails: map[uint64][]error{1: {syscall.EIO, syscall.EIO, syscall.EIO, syscall.EIO, syscall.EIO}}}
	p := startProcessor(t, KindWindow, ProcessorOptions{Reading: Reading{Patience: time.Hour, probe: disk.probe}})
	require.Equal(t, "window_post processor ready", p.line(t))
	raw, err := json.Marshal(task)
	require.NoError(t, err)
	p.send(t, fmt.Sprintf(`{"id":1,"task":%s,"patience":0.01}`, raw))
	require.Equal(t, `{"id":1,"err_msg":null,"output":{"proofs":[],"faults":[1]}}`, p.line(t))
	require.Equal(t, 5, disk.reads[1])

	ours, foreign := &child{}, &child{}
	ours.lastTick.Store(1)
	soon := Task{Until: time.Now().Add(time.Hour)}
	require.EqualValues(t, 60, ours.patience(soon))
	require.Zero(t, ours.patience(Task{}), "how much time is left is not known")
	require.Zero(t, foreign.patience(soon))
}
