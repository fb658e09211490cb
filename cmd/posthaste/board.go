package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"posthaste/post"
	"posthaste/workers"
)

// boardRow is a deadline as the live board shows it.
type boardRow struct {
	deadline post.Deadline
	started  bool // it has loaded its partitions
	state    post.State
	sectors  int
	done     int      // partitions with a final state
	of       int      // partitions with something to prove
	doing    []string // what the cards do for it: "w1/card0 snark", and who proved what is proven
}

// boardRows are the deadlines in the order in which they open.
func boardRows(rows []workers.Row) []boardRow {
	out := make([]boardRow, len(rows))
	for i, row := range rows {
		out[i] = newBoardRow(row)
	}
	slices.SortStableFunc(out, func(a, b boardRow) int {
		return cmp.Or(cmp.Compare(a.deadline.PeriodStart, b.deadline.PeriodStart), cmp.Compare(a.deadline.Index, b.deadline.Index),
			cmp.Compare(a.deadline.Miner, b.deadline.Miner))
	})
	return out
}

// newBoardRow sums up a deadline's partitions.
func newBoardRow(row workers.Row) boardRow {
	b := boardRow{deadline: row.Board.Deadline, started: len(row.Board.Partitions) > 0, state: row.Board.State}
	for _, p := range row.Board.Partitions {
		b.sectors += p.Sectors
		if p.State == post.StateNothing {
			continue
		}
		b.of++
		if p.State.Final() {
			b.done++
		}
		if card := row.Card(p); card != "" && !slices.Contains(b.doing, card) {
			b.doing = append(b.doing, card)
		}
	}
	return b
}

// left is how many epochs a deadline has.
func (r boardRow) left(head abi.ChainEpoch) string {
	switch {
	case r.deadline.Close == 0 || r.state.Final():
		return "-"
	case head < r.deadline.Open:
		return fmt.Sprintf("opens in %d", r.deadline.Open-head)
	default:
		return fmt.Sprintf("%d", max(r.deadline.Close-head, 0))
	}
}

// time is what a line says of the epochs left.
func (r boardRow) time(head abi.ChainEpoch) string {
	left := r.left(head)
	switch {
	case left == "-":
		return ""
	case head < r.deadline.Open:
		return "; " + left
	default:
		return "; epochs left: " + left
	}
}

// line is a row on one line, without what changes all the time, so that a log gets a line per change.
func (r boardRow) line() string {
	return strings.TrimRight(fmt.Sprintf("%s deadline %d: %s, %d sectors, %d of %d partitions done  %s",
		post.MinerName(r.deadline.Miner), r.deadline.Index, r.state, r.sectors, r.done, r.of, strings.Join(r.doing, ", ")), " ")
}

// coloured is a state as a terminal shows it: green is done, red needs somebody. NO_COLOR is honoured.
func coloured(s post.State) string {
	if os.Getenv("NO_COLOR") != "" {
		return string(s)
	}
	switch s {
	case post.StatePosted:
		return text.FgGreen.Sprint(s)
	case post.StateFailed, post.StateMissed:
		return text.FgHiRed.Sprint(s)
	case post.StateProving:
		return text.FgCyan.Sprint(s)
	case post.StateSubmitting, post.StateLanded:
		return text.FgYellow.Sprint(s)
	}
	return string(s)
}

// boardTable is the board for a terminal of so many columns; 0: any.
func boardTable(rows []boardRow, head abi.ChainEpoch, width int) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.Style().Size.WidthMax = width
	t.AppendHeader(table.Row{"Miner", "Deadline", "Sectors", "State", "Partitions", "Epochs left", "Cards"})
	for _, r := range rows {
		sectors, partitions := "-", "-"
		if r.started {
			sectors, partitions = fmt.Sprint(r.sectors), fmt.Sprintf("%d/%d", r.done, r.of)
		}
		t.AppendRow(table.Row{post.MinerName(r.deadline.Miner), r.deadline.Index, sectors, coloured(r.state), partitions, r.left(head), strings.Join(r.doing, ", ")})
	}
	return t.Render()
}
