package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// newTable is a table as all commands print it.
func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleRounded)
	return t
}

// compact leaves the lines out: for a table of many columns, which would be wider than terminals are.
func compact(t table.Writer) {
	style := t.Style()
	style.Options.DrawBorder, style.Options.SeparateColumns, style.Options.SeparateHeader = false, false, false
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	style.Format.Header = text.FormatDefault
}

// footnotes are what is said of a table's rows in full beneath it, by number: each thing once, however many rows it is said of.
type footnotes struct {
	all []string
}

// of is the number of what is said, or the thing itself when it is short.
func (f *footnotes) of(what string) string {
	if utf8.RuneCountInString(what) <= shortNote && !strings.Contains(what, "\n") {
		return what
	}
	i := slices.Index(f.all, what)
	if i < 0 {
		f.all = append(f.all, what)
		i = len(f.all) - 1
	}
	return fmt.Sprintf("[%d]", i+1)
}

// shortNote fits into a column.
const shortNote = 16

func (f *footnotes) print(out io.Writer) {
	for i, what := range f.all {
		fmt.Fprintf(out, "[%d] %s\n", i+1, what)
	}
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
