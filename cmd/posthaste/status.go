package main

import (
	"context"
	"encoding/json"
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
	Temporal  string         `json:"temporal"`
	Namespace string         `json:"namespace"`
	Miners    []minerStatus  `json:"miners"`
	Pollers   []pollerStatus `json:"pollers"`
	Deadlines []workers.Row  `json:"deadlines"`
}

// minerStatus is a MinerWorkflow.
type minerStatus struct {
	Miner  string `json:"miner"`
	State  string `json:"state"` // Watching, Paused, or how its workflow ended
	Paused string `json:"paused,omitempty"`
}

// pollerStatus is who takes work from a task queue.
type pollerStatus struct {
	Queue    string    `json:"queue"`
	Identity string    `json:"identity"`
	Last     time.Time `json:"last"`
}

// newStatus is the overview.
func newStatus(a *app) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show miners, who is working, and the deadlines under way",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := a.load()
			if err != nil {
				return err
			}
			temporal, err := workers.Dial(c.Temporal, "posthaste status", log)
			if err != nil {
				return err
			}
			defer temporal.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), 20*time.Second)
			defer cancel()
			s, err := readStatus(ctx, temporal, all)
			if err != nil {
				return fmt.Errorf("asking the Temporal server at %s (is it running? see temporal.address): %w", c.Temporal.Address, err)
			}
			s.Temporal, s.Namespace = c.Temporal.Address, c.Temporal.Namespace
			if asJSON {
				return json.NewEncoder(a.stdout).Encode(s)
			}
			s.print(a.stdout)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&all, "all", false, "also deadlines that were posted")
	return cmd
}

func readStatus(ctx context.Context, temporal client.Client, all bool) (*status, error) {
	s := &status{}
	var err error
	if s.Miners, err = readMiners(ctx, temporal); err != nil {
		return nil, err
	}
	for _, queue := range []struct {
		name string
		kind enums.TaskQueueType
	}{
		{workflows.QueueChain, enums.TASK_QUEUE_TYPE_WORKFLOW},
		{workflows.QueueSectors, enums.TASK_QUEUE_TYPE_ACTIVITY},
		{post.DefaultSettings().ProveQueue, enums.TASK_QUEUE_TYPE_ACTIVITY},
	} {
		described, err := temporal.DescribeTaskQueue(ctx, queue.name, queue.kind)
		if err != nil {
			return nil, fmt.Errorf("describing task queue %s: %w", queue.name, err)
		}
		for _, p := range described.GetPollers() {
			s.Pollers = append(s.Pollers, pollerStatus{Queue: queue.name, Identity: p.GetIdentity(), Last: p.GetLastAccessTime().AsTime()})
		}
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
	var miners []minerStatus
	for _, info := range listed.GetExecutions() {
		m := minerStatus{State: "Watching"}
		var state workflows.MinerState
		if payload := info.GetMemo().GetFields()[workflows.MemoMiner]; payload != nil &&
			converter.GetDefaultDataConverter().FromPayload(payload, &state) == nil {
			m.Miner, m.Paused = post.MinerName(state.Miner), state.Paused
		}
		if m.Paused != "" {
			m.State = "Paused"
		}
		miners = append(miners, m)
	}
	slices.SortFunc(miners, func(a, b minerStatus) int { return strings.Compare(a.Miner, b.Miner) })
	return miners, nil
}

// print is the overview for people.
func (s *status) print(out io.Writer) {
	fmt.Fprintf(out, "Temporal %s, namespace %s\n", s.Temporal, s.Namespace)
	for _, m := range s.Miners {
		line := fmt.Sprintf("Miner %s: %s", m.Miner, m.State)
		if m.Paused != "" {
			line += " (" + m.Paused + ")"
		}
		fmt.Fprintln(out, line)
	}
	if len(s.Miners) == 0 {
		fmt.Fprintln(out, "No miner is watched: is a daemon running, and are there [[miners]] in its posthaste.toml?")
	}
	t := newTable(out)
	t.AppendHeader(table.Row{"Queue", "Polled by", "Last seen"})
	for _, p := range s.Pollers {
		t.AppendRow(table.Row{p.Queue, p.Identity, time.Since(p.Last).Round(time.Second).String() + " ago"})
	}
	t.Render()
	if len(s.Deadlines) == 0 {
		fmt.Fprintln(out, "No deadline is under way.")
		return
	}
	t = newTable(out)
	t.AppendHeader(table.Row{"Miner", "Deadline", "Partition", "State", "Sectors", "Skipped", "Tries", "Card", "Open", "Close", "Landed", "Reason"})
	for _, row := range s.Deadlines {
		d := row.Board.Deadline
		state := string(row.Board.State)
		if row.Status != "Running" && row.Status != "Completed" {
			state += " (" + row.Status + ")"
		}
		if len(row.Board.Partitions) == 0 {
			t.AppendRow(table.Row{post.MinerName(d.Miner), d.Index, "", state, "", "", "", "", d.Open, d.Close, "", row.Board.Reason})
		}
		for _, p := range row.Board.Partitions {
			landed := any("")
			if p.Landed != 0 {
				landed = p.Landed
			}
			t.AppendRow(table.Row{post.MinerName(d.Miner), d.Index, p.Index, p.State, p.Sectors, p.CountSkipped(), p.Tries,
				row.Card(p), d.Open, d.Close, landed, p.Reason})
		}
	}
	t.Render()
}
