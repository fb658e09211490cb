package prover

import (
	"log/slog"
	"strings"
	"time"
)

const (
	grumbles     = 5 // unusable lines of a process that are logged one by one
	grumbleEvery = time.Minute
)

// grumbler logs the first few unusable lines of a process, and then once a minute how many there were. One goroutine uses it.
type grumbler struct {
	log    *slog.Logger
	logged int
	since  int       // lines that were not logged
	last   time.Time // when their number was
}

// line reports an unusable line.
func (g *grumbler) line(message string, args ...any) {
	if g.logged < grumbles {
		g.logged++
		g.last = time.Now()
		g.log.Warn(message, args...)
		return
	}
	g.since++
	if time.Since(g.last) >= grumbleEvery {
		g.flush()
	}
}

// flush logs the number of lines that nothing was said about.
func (g *grumbler) flush() {
	if g.since > 0 {
		g.log.Warn("skipped more output of a card's process that makes no sense", "lines", g.since, "in", time.Since(g.last).Round(time.Second))
		g.since, g.last = 0, time.Now()
	}
}

// said is what was last said of something, so that it is said again only when it has changed. One goroutine uses it.
type said struct{ text string }

// again says whether a text was the last one, and keeps it.
func (s *said) again(text string) bool {
	was := s.text
	s.text = text
	return text == was
}

// withoutFigures is a text for comparison: two failures that differ in a time or a process's number are the same.
func withoutFigures(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}
