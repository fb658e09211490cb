package sectors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// whole lays a provable sector of 2 KiB, and gives its store.
func whole(t *testing.T) string {
	root := lay(t, "update/", "update-cache/")
	put(t, root, "sealed/s-t01000-1", strings.Repeat("x", 2048))
	for _, name := range []string{"p_aux", "t_aux", "sc-02-data-tree-r-last.dat"} {
		put(t, root, "cache/s-t01000-1/"+name, "x")
	}
	return root
}

func TestProvable(t *testing.T) {
	for situation, c := range map[string]struct {
		change func(t *testing.T, root string)
		size   abi.SectorSize
		sector post.Sector
		says   string // empty: it is provable
	}{
		"all is there":          {size: 2048, sector: post.Sector{Number: 1}},
		"the replica is gone":   {func(t *testing.T, root string) { remove(t, root, "sealed/s-t01000-1") }, 2048, post.Sector{Number: 1}, "s-t01000-1 does not exist"},
		"another sector's size": {nil, 8 << 20, post.Sector{Number: 1}, "holds 2048 bytes instead of 8388608"},
		"p_aux is empty":        {func(t *testing.T, root string) { put(t, root, "cache/s-t01000-1/p_aux", "") }, 2048, post.Sector{Number: 1}, "p_aux is empty"},
		"no proof reads t_aux":  {func(t *testing.T, root string) { remove(t, root, "cache/s-t01000-1/t_aux") }, 2048, post.Sector{Number: 1}, ""},
		"an upgraded one": {func(t *testing.T, root string) {
			for _, folder := range []string{"", "-cache"} { // by its own files alone
				old := map[string]string{"": "sealed", "-cache": "cache"}[folder]
				require.NoError(t, os.Rename(filepath.Join(root, old, "s-t01000-1"), filepath.Join(root, "update"+folder, "s-t01000-1")))
			}
		}, 2048, post.Sector{Number: 1, Upgraded: true}, ""},
		"not upgraded any more": {func(t *testing.T, root string) {
			put(t, root, "update/s-t01000-1", strings.Repeat("x", 2048)) // of an upgrade that the chain does not have
		}, 2048, post.Sector{Number: 1}, ""},
		"a folder, not a file":  {func(t *testing.T, root string) { put(t, root, "sealed/s-t01000-2/", "") }, 2048, post.Sector{Number: 2}, "is not a file"},
		"the tree is gone":      {func(t *testing.T, root string) { remove(t, root, "cache/s-t01000-1/sc-02-data-tree-r-last.dat") }, 2048, post.Sector{Number: 1}, "r-last.dat does not exist"},
		"it was upgraded since": {nil, 2048, post.Sector{Number: 1, Upgraded: true}, "update/s-t01000-1 does not exist"},
		"the other file spelling": {func(t *testing.T, root string) {
			require.NoError(t, os.Rename(filepath.Join(root, "sealed/s-t01000-1"), filepath.Join(root, "sealed/s-f01000-1")))
		}, 2048, post.Sector{Number: 1}, ""},
	} {
		t.Run(situation, func(t *testing.T) {
			root := whole(t)
			if c.change != nil {
				c.change(t, root)
			}
			err := mustStores(t, Store{"a", root}).Provable("a", 1000, c.sector, c.size)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
		})
	}
}

func remove(t *testing.T, root, name string) {
	require.NoError(t, os.Remove(filepath.Join(root, name)))
}

func TestTreesOfLargeSectors(t *testing.T) {
	require.Len(t, treeNames(32<<30), 8)
	require.Len(t, treeNames(64<<30), 16)
	require.Equal(t, "sc-02-data-tree-r-last-15.dat", treeNames(64 << 30)[15])
}

func TestProvableOnAHangingStore(t *testing.T) {
	root := whole(t)
	s := mustStores(t, Store{"nfs", root})
	s.limit = 50 * time.Millisecond
	hang(t, s, root)
	var hangs ErrStoreHangs
	require.ErrorAs(t, s.Readable(t.Context(), "nfs"), &hangs)
	require.ErrorAs(t, s.Provable("nfs", 1000, post.Sector{Number: 1}, 2048), &hangs)
	var away ErrNotAttached
	require.ErrorAs(t, s.Readable(t.Context(), "b"), &away)
	require.ErrorAs(t, s.Provable("b", 1000, post.Sector{Number: 1}, 2048), &away)
}
