package prover

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLowestRow(t *testing.T) {
	for name, c := range map[string]struct {
		leaves, size, want uint64
		text               string
	}{
		"2 KiB":                          {leaves: 64, size: 32, want: 1},
		"a tree of 32 GiB or 64 GiB":     {leaves: 1 << 27, size: 9586976, want: 1 << 18},
		"with one row less left out":     {leaves: 1 << 27, size: (9586976/32 + 1<<21) * 32, want: 1 << 21},
		"cut short":                      {leaves: 1 << 27, size: 9586976 - 32, text: "holds 9586944 bytes, which is no whole tree"},
		"larger than a tree over so few": {leaves: 64, size: 585 * 32, text: "no whole tree"},
		"empty":                          {leaves: 64, size: 0, text: "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tree")
			require.NoError(t, os.WriteFile(file, nil, 0o644))
			require.NoError(t, os.Truncate(file, int64(c.size)))
			got, err := lowestRow(file, c.leaves)
			if c.text != "" {
				require.ErrorContains(t, err, c.text)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestSiblings(t *testing.T) {
	require.Empty(t, siblings(1, 64, []uint64{0, 63}), "a file of nothing but the root")
	// 4,096 leaves, of which a row of 64 nodes is kept, then 8, then the root.
	require.Equal(t, []span{{0, 256}, {64 * 32, 256}}, siblings(64, 4096, []uint64{0}))
	require.Equal(t, []span{{56 * 32, 256}, {64 * 32, 256}}, siblings(64, 4096, []uint64{4095}))
	require.Equal(t, []span{{8 * 32, 256}, {64 * 32, 256}}, siblings(64, 4096, []uint64{8 * 64}))
}

// A sector of 32 GiB as far as its sizes go; sparse files hold nothing.
func TestProbeOfABigSector(t *testing.T) {
	dir := t.TempDir()
	replica := Replica{SectorID: 1, CacheDir: dir, SealedFile: filepath.Join(dir, "sealed")}
	sparse := func(name string, size int64) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
		require.NoError(t, os.Truncate(filepath.Join(dir, name), size))
	}
	sparse("p_aux", 64)
	for _, i := range []string{"0", "1", "2", "3", "4", "5", "6", "7"} {
		sparse("sc-02-data-tree-r-last-"+i+".dat", 9586976)
	}
	sparse("sealed", int64(32*gib))
	challenges := []uint64{0, 1<<27 - 1, 1 << 27, 1<<30 - 1}
	require.NoError(t, probe(replica, 32*gib, challenges))

	sparse("sealed", int64(32*gib)-1)
	require.ErrorContains(t, probe(replica, 32*gib, challenges), "sealed holds 34359738367 bytes instead of 34359738368")
	sparse("sealed", int64(32*gib))
	require.NoError(t, os.Remove(filepath.Join(dir, "sc-02-data-tree-r-last-7.dat")))
	require.ErrorContains(t, probe(replica, 32*gib, challenges), "sc-02-data-tree-r-last-7.dat does not exist")
}
