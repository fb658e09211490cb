package sealing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, NewStore(dir, "devnet-f01000"))
	start := time.Now()
	sectors, err := SealMany(t.Context(), dir, 1000, 0, 3)
	require.NoError(t, err)
	t.Logf("3 sectors sealed in %v", time.Since(start))

	seen := map[[32]byte]bool{}
	for _, sector := range sectors {
		require.False(t, seen[sector.CommR], "two sectors with the same replica")
		seen[sector.CommR] = true
		info, err := os.Stat(SealedFile(dir, 1000, sector.Number))
		require.NoError(t, err)
		require.EqualValues(t, SectorSize, info.Size())
		for _, name := range []string{"p_aux", "t_aux", "sc-02-data-tree-r-last.dat"} {
			require.FileExists(t, filepath.Join(CacheDir(dir, 1000, sector.Number), name))
		}
	}

	t.Run("the same sector elsewhere has the same replica", func(t *testing.T) {
		again, err := Seal(t.Context(), t.TempDir(), 1000, 1)
		require.NoError(t, err)
		require.Equal(t, sectors[1], again)
	})
	t.Run("a sector that is there is read back, not sealed again", func(t *testing.T) {
		before, err := os.Stat(SealedFile(dir, 1000, 1))
		require.NoError(t, err)
		again, err := Seal(t.Context(), dir, 1000, 1)
		require.NoError(t, err)
		require.Equal(t, sectors[1], again)
		after, err := os.Stat(SealedFile(dir, 1000, 1))
		require.NoError(t, err)
		require.Equal(t, before.ModTime(), after.ModTime())
	})
	t.Run("what an interrupted call left is sealed anew", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(CacheDir(dir, 1000, 2), recordName)))
		require.NoError(t, Truncate(dir, 1000, 2))
		again, err := Seal(t.Context(), dir, 1000, 2)
		require.NoError(t, err)
		require.Equal(t, sectors[2], again)
	})
	t.Run("nothing temporary stays in the store", func(t *testing.T) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		require.Equal(t, []string{"cache", "sealed", "sectorstore.json", "update", "update-cache"}, names)
	})
}

func TestNewStore(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, NewStore(dir, "one"))
	require.NoError(t, NewStore(dir, "two"), "a store that is there stays")
	data, err := os.ReadFile(filepath.Join(dir, "sectorstore.json"))
	require.NoError(t, err)
	var meta StoreMeta
	require.NoError(t, json.Unmarshal(data, &meta))
	require.Equal(t, "one", meta.ID)
	require.True(t, meta.CanStore)
	require.False(t, meta.CanSeal)
}

func TestDamageIsReal(t *testing.T) {
	dir := t.TempDir()
	_, err := Seal(t.Context(), dir, 1000, 1)
	require.NoError(t, err)
	file := SealedFile(dir, 1000, 1)
	good, err := os.ReadFile(file)
	require.NoError(t, err)

	require.NoError(t, FlipReplica(dir, 1000, 1))
	bad, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEqual(t, good, bad)
	require.NoError(t, FlipReplica(dir, 1000, 1))
	mended, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, good, mended)

	require.NoError(t, FlipTree(dir, 1000, 1))
	require.ErrorContains(t, FlipBit(file, SectorSize), "there is none at 2048")
	require.NoError(t, FlipBit(file, SectorSize-1))
	require.NoError(t, Delete(dir, 1000, 1))
	require.NoFileExists(t, file)
}

func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	before, err := Seal(t.Context(), dir, 1000, 1)
	require.NoError(t, err)
	was, err := os.ReadFile(SealedFile(dir, 1000, 1))
	require.NoError(t, err)
	upgraded, err := Upgrade(t.Context(), dir, 1000, 1)
	require.NoError(t, err)
	require.NotEqual(t, before.CommR, upgraded.CommR)
	require.Equal(t, before.SealedCID, upgraded.SectorKeyCID)
	require.False(t, before.SectorKeyCID.Defined(), "as it was sealed it is not upgraded")

	now, err := os.ReadFile(UpdateFile(dir, 1000, 1))
	require.NoError(t, err)
	require.Len(t, now, SectorSize)
	require.NotEqual(t, was, now)
	still, err := os.ReadFile(SealedFile(dir, 1000, 1))
	require.NoError(t, err)
	require.Equal(t, was, still, "what was sealed stays")
	entries, err := os.ReadDir(UpdateCacheDir(dir, 1000, 1))
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	require.Equal(t, []string{"p_aux", "sc-02-data-tree-r-last.dat", "sealing.json", "t_aux"}, names, "what only the update's proof needs is gone")

	again, err := Upgrade(t.Context(), dir, 1000, 1)
	require.NoError(t, err)
	require.Equal(t, upgraded, again, "it is read back")
	elsewhere, err := Upgrade(t.Context(), t.TempDir(), 1000, 1)
	require.NoError(t, err)
	require.Equal(t, upgraded, elsewhere, "the same sector is upgraded to the same replica")
	require.NoError(t, os.Remove(filepath.Join(UpdateCacheDir(dir, 1000, 1), recordName)))
	anew, err := Upgrade(t.Context(), dir, 1000, 1)
	require.NoError(t, err)
	require.Equal(t, upgraded, anew, "what an interrupted call left is made anew")
}
