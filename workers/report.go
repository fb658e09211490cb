package workers

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"posthaste/post"
	"posthaste/workflows"
)

const (
	// settleReports is how long changes are collected before they are told: eight cards get ready one after another.
	settleReports = 500 * time.Millisecond
	// recallWithin is how long a starting worker asks for its orders before it goes on without.
	recallWithin = 10 * time.Second
	// beatenLately is how old a sign of life of another process may be: five of its heartbeats.
	beatenLately = 10 * time.Second
	// missedEvery is how often a worker looks whether its workflow is there still, and knows it: somebody may have ended it, and without one
	// it is given no jobs. AttendWorker mostly notices sooner.
	missedEvery = 30 * time.Second
)

// report is what the worker says of itself.
func (s *station) report() post.WorkerReport {
	r := s.first
	stores := s.monitor.Readable()
	for _, g := range s.groups {
		admits := s.admits(g, stores)
		r.Groups = append(r.Groups, post.Group{Admits: admits, Kind: g.kind, Queue: admits.Queue(g.kind), Slots: g.places(), Cards: g.report()})
	}
	r.LostStores = s.monitor.Lost()
	s.mu.Lock()
	r.Draining = s.draining
	s.mu.Unlock()
	return r
}

// report is what does not change about a group's cards while they work.
func (g *group) report() []post.Card {
	found := map[string]string{}
	for _, status := range g.pool.Status() {
		found[status.Name] = status.Device
	}
	cards := make([]post.Card, len(g.cards))
	for i, c := range g.cards {
		cards[i] = post.Card{
			Name: c.Name, Device: cmp.Or(found[c.Name], c.Envs["CUDA_VISIBLE_DEVICES"]), CPUs: c.CPUs, Places: max(c.Concurrent, 1), Weight: max(c.Weight, 1),
		}
	}
	return cards
}

// tell keeps the WorkerWorkflow informed until ctx ends: of fences at once and in order, of everything else when it has settled. One
// that was ended is told everything again, which starts it.
func (s *station) tell(ctx context.Context) error {
	var told post.WorkerReport
	look := time.NewTicker(missedEvery)
	defer look.Stop()
	for {
		if err := s.tellFences(ctx); err != nil {
			return err
		}
		if report := s.report(); !reflect.DeepEqual(report, told) {
			if err := s.send(ctx, workflows.SignalReport, report); err != nil {
				return err
			}
			told = report
		}
		select {
		case <-s.news:
		case <-s.doubts:
			told = post.WorkerReport{}
		case <-look.C:
			if s.forgotten(ctx) {
				told = post.WorkerReport{}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.tellFences(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(settleReports):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *station) tellFences(ctx context.Context) error {
	for {
		s.mu.Lock()
		unsent := slices.Clone(s.unsent)
		s.mu.Unlock()
		if len(unsent) == 0 {
			return nil
		}
		if err := s.send(ctx, workflows.SignalFence, unsent[0]); err != nil {
			return err
		}
		s.mu.Lock()
		s.unsent = s.unsent[1:]
		s.mu.Unlock()
	}
}

// send signals the WorkerWorkflow, which it starts if need be, and tries until Temporal has it.
func (s *station) send(ctx context.Context, signal string, arg any) error {
	id := workflows.WorkerWorkflowID(s.first.Name)
	return until(ctx, s.log, "telling Temporal of this worker", 5*time.Second, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		s.mu.Lock()
		state := post.WorkerState{Orders: post.Orders{Paused: s.orders.Paused, Fences: slices.Clone(s.orders.Fences)}}
		s.mu.Unlock()
		state.Report = s.report()
		_, err := s.temporal.SignalWithStartWorkflow(limited, id, signal, arg, client.StartWorkflowOptions{
			ID: id, TaskQueue: workflows.QueueChain, StaticSummary: "worker " + s.first.Name + " on " + s.first.Host,
			Memo: map[string]any{workflows.MemoWorker: state},
		}, workflows.NameWorkerWorkflow, state)
		if err != nil {
			return fmt.Errorf("signalling workflow %s: %w", id, err)
		}
		return nil
	})
}

// doubt takes note that the WorkerWorkflow may not know this process: see activities.WorkerOrders.
func (s *station) doubt() {
	select {
	case s.doubts <- struct{}{}:
	default:
	}
}

// forgotten says whether Temporal has no running workflow of this worker, or one that takes another process for it: a report of the process
// before may have been under way for long. If in doubt, it has not.
func (s *station) forgotten(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	described, err := s.temporal.DescribeWorkflowExecution(limited, workflows.WorkerWorkflowID(s.first.Name), "")
	if err != nil {
		return notFound(err)
	}
	return isForgotten(described.GetWorkflowExecutionInfo(), s.report())
}

func isForgotten(info *workflowpb.WorkflowExecutionInfo, self post.WorkerReport) bool {
	if info.GetCloseTime() != nil {
		return true
	}
	shown := workerStateOf(info, post.WorkerState{Report: self}).Report
	return shown.Instance != self.Instance && !self.Draining
}

// recall reads what operators wanted of this worker before it was started, and makes it hold. A worker that cannot find out in time
// goes on: a proof matters more than a pause.
func (s *station) recall(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, recallWithin)
	defer cancel()
	var described *workflowservice.DescribeWorkflowExecutionResponse
	err := until(limited, s.log, "the orders of this worker", time.Second, func(ctx context.Context) (err error) {
		described, err = s.temporal.DescribeWorkflowExecution(ctx, workflows.WorkerWorkflowID(s.first.Name), "")
		if notFound(err) {
			return nil // it is new
		}
		return err
	})
	if err != nil {
		s.log.Error("this worker's orders could not be read; it starts without", "error", err)
		return
	}
	if described.GetWorkflowExecutionInfo().GetCloseTime() != nil {
		return // forgotten
	}
	state := workerStateOf(described.GetWorkflowExecutionInfo(), post.WorkerState{})
	s.warnOfTwin(state.Report, listedWorkers(limited, s.temporal, s.namespace), time.Now())
	if len(state.Orders.Fences) > 0 || state.Orders.Paused != "" {
		s.log.Warn("orders from before the start hold", "paused", state.Orders.Paused, "fences", state.Orders.Fences)
	}
	if err := s.Apply(ctx, workflows.OrdersInput{Orders: state.Orders}); err != nil {
		s.log.Error("not all orders can be followed", "error", err)
	}
}

// warnOfTwin says that another process goes by this worker's name: both would take its orders, and report in turns.
func (s *station) warnOfTwin(last post.WorkerReport, listed map[string]listedWorker, now time.Time) {
	for other, seen := range listed {
		if isTwin(s.first, last, other, seen, now) {
			s.log.Error("another process has this worker's name; give each a name of its own (worker.name in posthaste.toml)",
				"name", s.first.Name, "other", other, "last_heard_of", seen.beat, "host", last.Host)
		}
	}
}

// isTwin says whether a process in the server's list is another one of this worker's name, and not the one before it: of that,
// something may have been heard a moment ago, but on this machine its process is gone.
func isTwin(self, last post.WorkerReport, other string, seen listedWorker, now time.Time) bool {
	of, isWorker := strings.CutPrefix(other, "worker "+self.Name+"@")
	if !isWorker || of == "" || other == self.Instance || !seen.running || now.Sub(seen.beat) > beatenLately {
		return false
	}
	return last.Host != self.Host || alive(other)
}

// alive says whether the process of an identity such as "worker a@4711" is there on this machine. If in doubt, it is not.
func alive(instance string) bool {
	var pid int
	_, text, _ := strings.Cut(instance, "@")
	if _, err := fmt.Sscan(text, &pid); err != nil || pid <= 0 || pid == os.Getpid() {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || err == syscall.EPERM
}
