package period

import (
	"fmt"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Figures are what a run's end shows.
type Figures struct {
	Deadlines   int          `json:"deadlines"`
	Partitions  int          `json:"partitions"`
	Posted      int          `json:"posted"`
	Verified    int          `json:"verified"`
	Missed      int          `json:"missed"`     // of those that could be proven
	Unprovable  int          `json:"unprovable"` // partitions of which no file was good: nothing may be sent
	Disputes    Disputes     `json:"disputes"`
	Faults      map[Kind]int `json:"faults_injected"`
	Skipped     int          `json:"sectors_skipped"`
	Recovered   int          `json:"sectors_recovered"`
	FaultyNow   uint64       `json:"sectors_faulty_now"`
	Reorgs      int          `json:"reorgs_survived"`
	ReorgEpochs int64        `json:"reorg_epochs"` // that were forgotten in these
	NullRounds  int          `json:"null_rounds"`
	Methods     []Method     `json:"messages"`
	SentTwice   int          `json:"sent_twice"`
	Power       Power        `json:"power"`
	Seconds     float64      `json:"seconds"`
}

// injected counts all faults.
func (f Figures) injected() (n int) {
	for _, count := range f.Faults {
		n += count
	}
	return n
}

// Table shows them to people.
func (f Figures) Table() string {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	row := func(name string, value any) { t.AppendRow(table.Row{name, value}) }
	row("deadlines", f.Deadlines)
	row("partitions", f.Partitions)
	row("  posted", f.Posted)
	row("  proof verified by the chain", f.Verified)
	row("  missed", f.Missed)
	row("  unprovable, no message sent", f.Unprovable)
	row("disputes tried", f.Disputes.Tried)
	row("disputes refused", f.Disputes.Refused)
	row("faults injected", f.injected())
	for _, kind := range slices.Sorted(maps.Keys(f.Faults)) {
		row("  "+string(kind), f.Faults[kind])
	}
	row("reorgs survived", fmt.Sprintf("%d, of %d epochs in all", f.Reorgs, f.ReorgEpochs))
	row("null rounds", f.NullRounds)
	row("sectors skipped", f.Skipped)
	row("sectors recovered", f.Recovered)
	row("sectors faulty at the end", f.FaultyNow)
	row("power, start and end", fmt.Sprintf("%s and %s bytes", f.Power.Start, f.Power.Now))
	for _, m := range f.Methods {
		row(fmt.Sprintf("messages %s, exit code %d", m.Name, m.ExitCode), m.Count)
	}
	row("partitions sent twice", f.SentTwice)
	row("time", fmt.Sprintf("%.0f s", f.Seconds))
	return t.Render()
}
