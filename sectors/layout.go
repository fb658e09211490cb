package sectors

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// The folders of a store.
const (
	sealedFolder      = "sealed"       // a file per sector: its replica
	cacheFolder       = "cache"        // a folder per sector: p_aux, t_aux, sc-02-data-tree-r-last*.dat
	updateFolder      = "update"       // as sealedFolder, of upgraded sectors
	updateCacheFolder = "update-cache" // as cacheFolder, of upgraded sectors
)

// metadataFile is where a store says its own name (damocles writes it, Lotus too, without a name).
const metadataFile = "sectorstore.json"

// prefixes are the two spellings of a file's name, the usual one first: every implementation writes t0, mainnet's too.
var prefixes = [...]string{"s-t0", "s-f0"}

// sectorID is a sector of any miner.
type sectorID struct {
	miner  abi.ActorID
	number abi.SectorNumber
}

// fileNames are the names that a sector's file or folder may have, the usual one first.
func fileNames(id sectorID) (names [len(prefixes)]string) {
	for i, prefix := range prefixes {
		names[i] = fmt.Sprintf("%s%d-%d", prefix, id.miner, id.number)
	}
	return names
}

// parseFileName reads s-t01000-7 or s-f01000-7; anything else in the folder is not a sector.
func parseFileName(name string) (sectorID, bool) {
	for _, prefix := range prefixes {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		miner, number, ok := strings.Cut(rest, "-")
		m, okMiner := parseNumber(miner)
		n, okNumber := parseNumber(number)
		return sectorID{abi.ActorID(m), abi.SectorNumber(n)}, ok && okMiner && okNumber
	}
	return sectorID{}, false
}

// parseNumber reads a decimal number of at most 18 digits, and nothing that would be written otherwise (a sign, a leading 0).
func parseNumber(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 18 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// folders are the two folders of a store that hold a sector's replica and its cache.
func folders(upgraded bool) (replica, cache string) {
	if upgraded {
		return updateFolder, updateCacheFolder
	}
	return sealedFolder, cacheFolder
}

// candidates are the paths that a sector's replica and cache may have below root, in pairs of the same spelling.
func candidates(root string, miner abi.ActorID, sector post.Sector) (replicas, caches [len(prefixes)]string) {
	replica, cache := folders(sector.Upgraded)
	for i, name := range fileNames(sectorID{miner, sector.Number}) {
		replicas[i] = filepath.Join(root, replica, name)
		caches[i] = filepath.Join(root, cache, name)
	}
	return replicas, caches
}
