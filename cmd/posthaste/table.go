package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// newTable is a table as all commands print it.
func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleRounded)
	return t
}

// notes are the sentences beneath a table about its rows: a column of them would make it wider than terminals are. What is the
// same of several rows is said once.
type notes struct {
	what []string // in the order in which they came
	of   map[string][]string
}

// add notes something of a row, if there is something to be said.
func (n *notes) add(of, what string) {
	if what == "" {
		return
	}
	if n.of == nil {
		n.of = map[string][]string{}
	}
	if len(n.of[what]) == 0 {
		n.what = append(n.what, what)
	}
	n.of[what] = append(n.of[what], of)
}

func (n *notes) print(out io.Writer) {
	for _, what := range n.what {
		fmt.Fprintf(out, "%s: %s\n", strings.Join(n.of[what], ", "), what)
	}
}
