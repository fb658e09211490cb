package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// status is what `posthaste status` shows, and its JSON.
type status struct {
	Temporal  string               `json:"temporal"`
	Namespace string               `json:"namespace"`
	Miners    []minerStatus        `json:"miners"`
	Daemons   []daemonStatus       `json:"daemons"`
	Workers   []workers.WorkerView `json:"workers"`
	Deadlines []workers.Row        `json:"deadlines"`
}

// minerStatus is a MinerWorkflow.
type minerStatus struct {
	Miner   string `json:"miner"`
	State   string `json:"state"` // Watching, Paused or Removed
	Paused  string `json:"paused,omitempty"`
	Removed string `json:"removed,omitempty"`
}

// daemonStatus is a process that drives workflows.
type daemonStatus struct {
	Identity string    `json:"identity"`
	Last     time.Time `json:"last"` // when it asked for work last
}

// newStatus is the overview.
func newStatus(a *app) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show miners, who is working, and the deadlines under way",
		Example: `  posthaste status
  posthaste status --all --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), lookLimit)
			defer cancel()
			s, err := readStatus(ctx, c, all)
			if err != nil {
				return c.explain(err)
			}
			if asJSON {
				return printJSON(a.stdout, s)
			}
			s.print(a.stdout, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&all, "all", false, "also deadlines that were posted")
	return cmd
}

func readStatus(ctx context.Context, temporal *connection, all bool) (*status, error) {
	s := &status{Temporal: temporal.Address, Namespace: temporal.Namespace, Daemons: []daemonStatus{}}
	var err error
	if s.Miners, err = readMiners(ctx, temporal); err != nil {
		return nil, err
	}
	described, err := temporal.DescribeTaskQueue(ctx, workflows.QueueChain, enums.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return nil, fmt.Errorf("describing task queue %s: %w", workflows.QueueChain, err)
	}
	for _, p := range described.GetPollers() {
		s.Daemons = append(s.Daemons, daemonStatus{Identity: p.GetIdentity(), Last: p.GetLastAccessTime().AsTime()})
	}
	if s.Workers, err = workers.ReadWorkers(ctx, temporal, temporal.Namespace); err != nil {
		return nil, err
	}
	query := "ExecutionStatus = 'Running' OR ExecutionStatus = 'Failed'"
	if all {
		query = ""
	}
	s.Deadlines, err = workers.ReadBoard(ctx, temporal, query)
	return s, err
}

// readMiners lists the miners' workflows that run.
func readMiners(ctx context.Context, temporal client.Client) ([]minerStatus, error) {
	listed, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflows.NameMinerWorkflow), PageSize: 1000,
	})
	if err != nil {
		return nil, fmt.Errorf("listing miners: %w", err)
	}
	miners := []minerStatus{}
	for _, info := range listed.GetExecutions() {
		var m minerStatus
		var state workflows.MinerState
		if payload := info.GetMemo().GetFields()[workflows.MemoMiner]; payload != nil &&
			converter.GetDefaultDataConverter().FromPayload(payload, &state) == nil {
			m.Miner, m.Paused, m.Removed = post.MinerName(state.Miner), state.Paused, state.Removed
		}
		m.State = state.State()
		miners = append(miners, m)
	}
	slices.SortFunc(miners, func(a, b minerStatus) int { return strings.Compare(a.Miner, b.Miner) })
	return miners, nil
}

// print is the overview for people.
func (s *status) print(out io.Writer, now time.Time) {
	fmt.Fprintf(out, "Temporal %s, namespace %s\n", s.Temporal, s.Namespace)
	for _, m := range s.Miners {
		line := fmt.Sprintf("Miner %s: %s", m.Miner, m.State)
		if why := cmp.Or(m.Removed, m.Paused); why != "" {
			line += " (" + why + ")"
		}
		fmt.Fprintln(out, line)
	}
	switch {
	case len(s.Miners) == 0 && len(s.Daemons) > 0:
		fmt.Fprintln(out, "No miner is watched yet: either the daemon's node does not answer (its log says what it answers, and soon `posthaste alert list`), or there are no [[miners]] in its posthaste.toml.")
	case len(s.Miners) == 0:
		fmt.Fprintln(out, "No miner is watched: is a daemon running, and are there [[miners]] in its posthaste.toml?")
	}
	for _, d := range s.Daemons {
		fmt.Fprintf(out, "Daemon %s: seen %s\n", strings.TrimPrefix(d.Identity, "daemon "), ago(d.Last, now))
	}
	if len(s.Daemons) == 0 {
		fmt.Fprintln(out, "No daemon is running: nothing is decided, sent or counted until one is.")
	}
	s.printWorkers(out, now)
	if len(s.Deadlines) == 0 {
		fmt.Fprintln(out, "No deadline is under way.")
		return
	}
	t := newTable(out)
	t.AppendHeader(table.Row{"Miner", "Deadline", "Partition", "State", "Sectors", "Skipped", "Tries", "Card", "Open", "Close", "Landed"})
	var why notes
	for _, row := range s.Deadlines {
		d := row.Board.Deadline
		state := string(row.Board.State)
		if row.Status != "Running" && row.Status != "Completed" {
			state += " (" + row.Status + ")"
		}
		if len(row.Board.Partitions) == 0 {
			t.AppendRow(table.Row{post.MinerName(d.Miner), d.Index, "", state, "", "", "", "", d.Open, d.Close, ""})
			why.add(d.String(), row.Board.Reason)
		}
		for _, p := range row.Board.Partitions {
			landed := any("")
			if p.Landed != 0 {
				landed = p.Landed
			}
			t.AppendRow(table.Row{post.MinerName(d.Miner), d.Index, p.Index, p.State, p.Sectors, p.CountSkipped(), p.Tries,
				row.Card(p), d.Open, d.Close, landed})
			where := fmt.Sprintf("%s partition %d", d, p.Index)
			if p.Waits != "" {
				why.add(where, "waiting: "+p.Waits)
			}
			why.add(where, p.Reason)
		}
	}
	t.SuppressEmptyColumns()
	t.Render()
	why.print(out)
}

// printWorkers is the short table of the workers; `posthaste worker list` and `info` have the rest.
func (s *status) printWorkers(out io.Writer, now time.Time) {
	if len(s.Workers) == 0 {
		fmt.Fprintln(out, "No worker is known: nothing is proven until one is started.")
		return
	}
	colours := colourful(out)
	t := newTable(out)
	t.AppendHeader(table.Row{"Worker", "State", "Cards", "Jobs", "Last seen"})
	for _, v := range s.Workers {
		t.AppendRow(table.Row{v.Name, stateCell(v, now, colours), cardsCell(v, colours), jobsCell(v), ago(v.Seen, now)})
	}
	t.SuppressEmptyColumns()
	t.Render()
}
