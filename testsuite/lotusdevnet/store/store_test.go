package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// sectors makes a store of sectors 0 to 2, each of 2 KiB.
func sectors(t *testing.T) (*Store, string) {
	dir := t.TempDir()
	for _, n := range []string{"0", "1", "2"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "cache", "s-t01000-"+n), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cache", "s-t01000-"+n, "p_aux"), []byte("aux"), 0o600))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "sealed"), 0o755))
		require.NoError(t, os.WriteFile(replica(dir, n), bytes.Repeat([]byte{2}, 2048), 0o600))
	}
	return New(dir, filepath.Join(t.TempDir(), "aside"), 1000), dir
}

func replica(dir, n string) string { return filepath.Join(dir, "sealed", "s-t01000-"+n) }

func TestHide(t *testing.T) {
	s, dir := sectors(t)
	require.NoError(t, s.Hide([]uint64{1}))
	require.NoFileExists(t, replica(dir, "1"))
	require.NoDirExists(t, filepath.Join(dir, "cache", "s-t01000-1"))
	require.FileExists(t, replica(dir, "0"))
	require.Equal(t, []uint64{1}, s.Spoiled())
}

func TestTruncate(t *testing.T) {
	s, dir := sectors(t)
	require.NoError(t, s.Truncate([]uint64{0, 2}))
	info, err := os.Stat(replica(dir, "2"))
	require.NoError(t, err)
	require.Equal(t, int64(1024), info.Size())
	require.FileExists(t, filepath.Join(dir, "cache", "s-t01000-2", "p_aux"))
}

func TestFlip(t *testing.T) {
	for nodes, flipped := range map[int]int{0: 64, 1: 1, 5: 5} {
		s, dir := sectors(t)
		require.NoError(t, s.Flip([]uint64{1}, nodes))
		data, err := os.ReadFile(replica(dir, "1"))
		require.NoError(t, err)
		require.Len(t, data, 2048)
		require.Equal(t, flipped, bytes.Count(data, []byte{3}))
		require.Equal(t, 2048-flipped, bytes.Count(data, []byte{2}))
		require.Equal(t, byte(3), data[0])
	}
}

func TestRestorePutsEverythingBack(t *testing.T) {
	s, dir := sectors(t)
	require.NoError(t, s.Hide([]uint64{0}))
	require.NoError(t, s.Truncate([]uint64{1}))
	require.NoError(t, s.Flip([]uint64{2}, 0))

	restored, err := s.Restore([]uint64{1})
	require.NoError(t, err)
	require.Equal(t, []uint64{1}, restored)
	restored, err = s.Restore(nil)
	require.NoError(t, err)
	require.Equal(t, []uint64{0, 2}, restored)

	require.Empty(t, s.Spoiled())
	for _, n := range []string{"0", "1", "2"} {
		data, err := os.ReadFile(replica(dir, n))
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte{2}, 2048), data)
		require.FileExists(t, filepath.Join(dir, "cache", "s-t01000-"+n, "p_aux"))
	}
}

func TestWhatCannotBeSpoiledIsSaidBeforeAnythingIsTouched(t *testing.T) {
	s, dir := sectors(t)
	require.ErrorIs(t, s.Hide([]uint64{0, 7}), ErrUnknown)
	require.FileExists(t, replica(dir, "0"))
	require.NoError(t, s.Hide([]uint64{0, 0}), "named twice")
	require.ErrorIs(t, s.Flip([]uint64{0}, 0), ErrUnknown, "spoiled already")
	restored, err := s.Restore([]uint64{1})
	require.NoError(t, err)
	require.Empty(t, restored)
}
