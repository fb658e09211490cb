package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"posthaste/post"
	"posthaste/workers"
)

// RunningProof is a proof that a worker is making at this moment.
type RunningProof struct {
	WorkflowID string
	RunID      string
	Deadline   post.Deadline
	Partition  uint64
	Attempt    int32
	ChildPid   int // of the card's process that is computing
}

// look is how often the rig looks whether a process computes: a 2 KiB proof takes about a second. The board is asked more seldom: that is
// work for the server, whose machine has two cores.
const look = 30 * time.Millisecond

// WaitForRunningProof returns while a card's process is computing a proof for an activity that a worker has started.
// Workflows that skip says true of are left out.
func (r *Rig) WaitForRunningProof(ctx context.Context, skip func(workflowID string) bool) (RunningProof, error) {
	for {
		// A busy server says at times that it is unavailable; the next look shows more.
		rows, unread := workers.ReadBoard(ctx, r.client, "ExecutionStatus = 'Running'")
		for _, row := range rows {
			if proof, found := r.running(row); found && (skip == nil || !skip(row.WorkflowID)) {
				return proof, nil
			}
		}
		if err := r.Died(); err != nil {
			return RunningProof{}, err
		}
		if err := pause(ctx, 5*look); err != nil {
			return RunningProof{}, fmt.Errorf("waiting for a proof to run: %w", errors.Join(err, unread))
		}
	}
}

func (r *Rig) running(row workers.Row) (RunningProof, bool) {
	for _, job := range row.Jobs {
		if !job.Started {
			continue
		}
		pid := computing(r.CardChildren())
		return RunningProof{
			WorkflowID: row.WorkflowID, RunID: row.RunID, Deadline: row.Board.Deadline, Partition: job.Partition,
			Attempt: job.Attempt, ChildPid: pid,
		}, pid != 0
	}
	return RunningProof{}, false
}

// Result waits for a deadline's workflow to end and gives its result, of a missed deadline too.
func (r *Rig) Result(ctx context.Context, d post.Deadline) (post.Result, error) {
	return ResultOf(ctx, r.client, d.WorkflowID())
}

// CardChildren are the processes of the workers' cards.
func (r *Rig) CardChildren() []int {
	var all []int
	for _, w := range r.Workers {
		all = append(all, w.Children()...)
	}
	return all
}

// Children are the processes that the program has started.
func (p *Process) Children() []int { return childrenOf(p.Pid()) }

// childrenOf lists a process's children.
func childrenOf(parent int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var children []int
	for _, path := range stats {
		fields := statOf(path)
		if len(fields) > 2 && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil {
				children = append(children, pid)
			}
		}
	}
	return children
}

// statOf are the fields of /proc/PID/stat behind the program's name, from the state on (proc(5)); none if it is gone.
func statOf(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.Fields(rest)
}

// computing is the process that used the most CPU within a few ticks of 10 ms, 0 if none did.
func computing(pids []int) int {
	before := make(map[int]int64, len(pids))
	for _, pid := range pids {
		before[pid] = ticks(pid)
	}
	time.Sleep(3 * look)
	busiest, most := 0, int64(2)
	for _, pid := range pids {
		if used := ticks(pid) - before[pid]; used > most {
			busiest, most = pid, used
		}
	}
	return busiest
}

// ticks is the CPU time that a process has used, in hundredths of a second.
func ticks(pid int) int64 {
	fields := statOf(fmt.Sprintf("/proc/%d/stat", pid))
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if errors.Join(err1, err2) != nil {
		return 0
	}
	return user + system
}

// Alive says whether a process is there and not a zombie.
func Alive(pid int) bool {
	fields := statOf(fmt.Sprintf("/proc/%d/stat", pid))
	return len(fields) > 0 && fields[0] != "Z"
}
