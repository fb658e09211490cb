package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/mattn/go-isatty"
	"golang.org/x/sys/unix"
)

// screen shows the board: redrawn in place on a terminal, a line per change elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	drawn    int // lines on the terminal that the next drawing replaces
	said     map[string]string
}

// shownRows is how many deadlines a terminal shows: the newest.
const shownRows = 16

func newScreen(out io.Writer) *screen {
	f, ok := out.(*os.File)
	return &screen{out: out, terminal: ok && isatty.IsTerminal(f.Fd()), said: map[string]string{}}
}

// show draws the board as it is now.
func (s *screen) show(rows []boardRow, head abi.ChainEpoch, heading string) {
	if !s.terminal {
		for _, r := range rows {
			id, line := r.deadline.WorkflowID(), r.line()
			if s.said[id] != line {
				s.said[id] = line
				fmt.Fprintf(s.out, "epoch %d: %s%s\n", head, line, r.time(head))
			}
		}
		return
	}
	text := heading + "\n" + boardTable(rows[max(0, len(rows)-shownRows):], head, s.width()) + "\n"
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn) // up, and clear to the end
	}
	fmt.Fprint(s.out, text)
	s.drawn = strings.Count(text, "\n")
}

// say prints something above the board, which is drawn anew below it.
func (s *screen) say(print func()) {
	print()
	s.drawn = 0
}

// width is the terminal's, in characters: a line that wraps would be two, and the next drawing would start too low. 0: unknown.
func (s *screen) width() int {
	columns, _ := s.size()
	return columns
}

// size is the terminal's, in characters; 0: unknown.
func (s *screen) size() (columns, rows int) {
	f, ok := s.out.(*os.File)
	if !ok {
		return 0, 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(size.Col), int(size.Row)
}
