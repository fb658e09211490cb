package main

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// newTable is a table as all commands print it.
func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleRounded)
	return t
}
