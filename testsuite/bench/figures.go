package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// figure is one line of the table.
type figure struct {
	name  string
	value float64
	unit  string
	most  float64 // the goal: not above it; 0: none
	least float64 // or not below it; 0: none
	none  bool    // or: zero
}

// String is the line: name, value, unit, goal, ok or short.
func (f figure) String() string {
	goal, verdict := "-", "ok"
	plain := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	reached := true
	switch {
	case f.most > 0:
		goal, reached = "<= "+plain(f.most), f.value <= f.most
	case f.least > 0:
		goal, reached = ">= "+plain(f.least), f.value >= f.least
	case f.none:
		goal, reached = "0", f.value == 0
	}
	if !reached {
		verdict = "short"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", f.name, strconv.FormatFloat(math.Round(f.value*10)/10, 'f', -1, 64), f.unit, goal, verdict)
}

// milliseconds makes a figure of a duration; most is the goal, in milliseconds too.
func milliseconds(name string, d time.Duration, most float64) figure {
	return figure{name: name, value: float64(d) / float64(time.Millisecond), unit: "ms", most: most}
}

// percentile is the smallest of the values that p percent of them do not exceed (nearest rank).
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func median(values []time.Duration) time.Duration { return percentile(values, 50) }
