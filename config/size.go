package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
)

// units of sizes, in bytes. There are no decimal ones: "32GB" for a sector would be a mistake.
var units = map[string]int64{"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}

// parseSize reads a number of bytes such as "64GiB". Blanks and case do not matter, as in damocles.
func parseSize(text string) (int64, error) {
	text = strings.TrimSpace(text)
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		return 0, fmt.Errorf("%q has no unit; there are KiB, MiB, GiB and TiB", text)
	}
	unit, known := units[strings.ToLower(strings.TrimSpace(text[digits:]))]
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if !known || err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size such as \"64GiB\"", text)
	}
	return n * unit, nil
}

// sectorSizes are those that the network has.
var sectorSizes = []abi.SectorSize{2 << 10, 8 << 20, 512 << 20, 32 << 30, 64 << 30}

// parseSectorSize reads one of sectorSizes.
func parseSectorSize(text string) (abi.SectorSize, error) {
	n, err := parseSize(text)
	for _, size := range sectorSizes {
		if err == nil && n == int64(size) {
			return size, nil
		}
	}
	return 0, fmt.Errorf("%q is no sector size; there are 2KiB, 8MiB, 512MiB, 32GiB and 64GiB", text)
}
