package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"posthaste/activities"
	"posthaste/config"
	"posthaste/post"
	"posthaste/testsuite/rig"
	"posthaste/workers"
	"posthaste/workflows"
)

// Options say how a load is made.
type Options struct {
	Epoch time.Duration // 0 means 1 s
	Trust bool          // proofs are not verified here, only at the workers
	Send  bool          // posts go through messages and the real sender; else they are on the chain as soon as they are built
	Log   *slog.Logger  // of the daemon that is played; nil: none
}

// Load is a daemon without a chain, and what it has seen.
type Load struct {
	rig    *rig.Rig
	client client.Client // the daemon's own
	chain  *chain
	proofs string
	record string
	next   map[abi.ActorID]uint64 // deadlines issued so far
	stop   []func()
}

// Work is one deadline to be issued.
type Work struct {
	Miner      *Miner
	Partitions int                  // 0: as many as the miner has sets
	Epochs     abi.ChainEpoch       // until Close; 0 means 3600
	Ahead      abi.ChainEpoch       // until Open; 0: it is open, and a proof goes onto the chain at once
	Set        func(*post.Settings) // changes the default settings; may be nil
}

// Start plays the daemon on a bare rig until Stop.
func Start(ctx context.Context, r *rig.Rig, o Options) (*Load, error) {
	if o.Epoch == 0 {
		o.Epoch = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Load{
		rig: r, proofs: filepath.Join(r.Dir, "proofs"), record: filepath.Join(r.Dir, "record.jsonl"), next: map[abi.ActorID]uint64{},
		chain: &chain{began: time.Now(), epoch: o.Epoch, trust: o.Trust, deadlines: map[post.Deadline][]post.Sectors{}, watched: map[abi.ActorID]post.Deadline{}},
	}
	if o.Send {
		l.chain.pool = &pool{head: l.chain.head, held: map[string]bool{}}
	}
	if err := os.MkdirAll(l.proofs, 0o755); err != nil {
		return nil, err
	}
	var err error
	if l.client, err = workers.Dial(config.Temporal{Address: r.Address(), Namespace: "default"}, "load", o.Log); err != nil {
		return nil, err
	}
	l.stop = append(l.stop, l.client.Close)
	if err := registerAttributes(ctx, l.client); err != nil {
		l.Stop()
		return nil, err
	}
	if err := l.serve(o.Log); err != nil {
		l.Stop()
		return nil, err
	}
	_, err = l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.FleetWorkflowID, TaskQueue: workflows.QueueChain}, workflows.NameFleetWorkflow)
	if err != nil {
		l.Stop()
		return nil, fmt.Errorf("starting the balancing of the fleet: %w", err)
	}
	return l, nil
}

// serve polls the daemon's queues.
func (l *Load) serve(log *slog.Logger) error {
	options := worker.Options{MaxConcurrentActivityExecutionSize: 2000, DisableRegistrationAliasing: true}
	main := worker.New(l.client, workflows.QueueChain, options)
	workers.RegisterWorkflows(main)
	options.DisableWorkflowWorker = true
	lookups := worker.New(l.client, workflows.QueueSectors, options)
	first, second := l.chain.activities()
	register(main, first)
	fleet := &activities.Fleet{Temporal: l.client, Namespace: "default", Log: log}
	register(main, map[string]any{
		workflows.ActivityRouteJob:     fleet.RouteJob,
		workflows.ActivityBalanceFleet: (&activities.Balance{Fleet: fleet, Temporal: l.client, Log: log}).BalanceFleet,
	})
	watch := &activities.Watch{Node: watchedChain{chain: l.chain}, Heads: l.chain, Temporal: l.client, Log: log}
	register(main, map[string]any{
		workflows.ActivityWatchDeadlines: l.chain.watching(watch),
		workflows.ActivityRequestMessage: watch.RequestMessage,
	})
	register(lookups, second)
	for _, w := range []worker.Worker{main, lookups} {
		if err := w.Start(); err != nil {
			return fmt.Errorf("polling: %w", err)
		}
		l.stop = append(l.stop, w.Stop)
	}
	return nil
}

func register(r worker.ActivityRegistry, all map[string]any) {
	for name, f := range all {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// registerAttributes makes the server know the search attributes, as daemons do.
func registerAttributes(ctx context.Context, c client.Client) error {
	kinds := map[string]enums.IndexedValueType{}
	for _, name := range []string{workflows.AttributeMiner, workflows.AttributeDeadline, workflows.AttributeState} {
		kinds[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	_, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: "default", SearchAttributes: kinds})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("registering search attributes: %w", err)
	}
	return nil
}

// Stop ends the daemon; what it has issued goes on as far as it can without one.
func (l *Load) Stop() {
	for _, stop := range slices.Backward(l.stop) {
		stop()
	}
	l.stop = nil
}

// Proofs are the flags of a stub that tell it where the proofs are, and where to write down what it is asked.
func (l *Load) Proofs() []string { return []string{"--proof", l.proofs, "--record", l.record} }

// Record is the file that the stubs write to: see stub.Events.
func (l *Load) Record() string { return l.record }

// Client is the daemon's.
func (l *Load) Client() client.Client { return l.client }

// Issue starts the workflow of a new deadline, whose challenge is known.
func (l *Load) Issue(ctx context.Context, w Work) (post.Deadline, error) {
	d := l.deadline(w, l.chain.head())
	return d, l.start(ctx, w, d)
}

// startsAtOnce is how many workflows IssueAll starts side by side, as the watchers of so many miners do.
const startsAtOnce = 32

// IssueAll starts the workflows of many deadlines whose challenges are known at the same epoch, all at once.
func (l *Load) IssueAll(ctx context.Context, works []Work) ([]post.Deadline, error) {
	head := l.chain.head()
	deadlines, errs := make([]post.Deadline, len(works)), make([]error, len(works))
	for i, w := range works {
		deadlines[i] = l.deadline(w, head)
	}
	var group sync.WaitGroup
	places := make(chan struct{}, startsAtOnce)
	for i, w := range works {
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			errs[i] = l.start(ctx, w, deadlines[i])
		})
	}
	group.Wait()
	return deadlines, errors.Join(errs...)
}

// deadline makes up a miner's next deadline.
func (l *Load) deadline(w Work, head abi.ChainEpoch) post.Deadline {
	d := post.Deadline{Miner: w.Miner.ID, Index: l.next[w.Miner.ID], PeriodStart: firstEpoch, Challenge: head - 20, Open: head - 1, Close: head + 3600}
	if w.Epochs > 0 {
		d.Close = head + w.Epochs
	}
	if w.Ahead > 0 {
		d.Open = head + w.Ahead
	}
	l.next[w.Miner.ID]++
	if w.Partitions == 0 {
		w.Partitions = len(w.Miner.Sets)
	}
	sets := make([]post.Sectors, w.Partitions)
	for i := range sets {
		sets[i] = w.Miner.Sets[i%len(w.Miner.Sets)]
	}
	l.chain.mu.Lock()
	defer l.chain.mu.Unlock()
	l.chain.deadlines[d] = sets
	return d
}

// settings of a deadline's workflow.
func (l *Load) settings(w Work) post.Settings {
	settings := post.DefaultSettings()
	settings.EpochDuration, settings.SubmitConfidence, settings.Confidence = l.chain.epoch, 0, 1
	if w.Set != nil {
		w.Set(&settings)
	}
	return settings
}

// start starts a deadline's workflow as WatchDeadlines does.
func (l *Load) start(ctx context.Context, w Work, d post.Deadline) error {
	_, err := l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: d.WorkflowID(), TaskQueue: workflows.QueueChain,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeMiner).ValueSet(post.MinerName(d.Miner)),
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeDeadline).ValueSet(strconv.FormatUint(d.Index, 10)),
			temporal.NewSearchAttributeKeyKeyword(workflows.AttributeState).ValueSet(string(post.StateWaiting)),
		),
	}, workflows.NameDeadlineWorkflow, workflows.DeadlineInput{Deadline: d, Head: d.Challenge + 20, Settings: l.settings(w)})
	if err != nil {
		return fmt.Errorf("issuing deadline %s: %w", d, err)
	}
	return nil
}

// Proven is what has been proven so far.
func (l *Load) Proven() []Proven {
	l.chain.mu.Lock()
	defer l.chain.mu.Unlock()
	return slices.Clone(l.chain.proven)
}

// WaitProven waits until so many proofs have reached their workflows.
func (l *Load) WaitProven(ctx context.Context, n int) error {
	for {
		have := len(l.Proven())
		if have >= n {
			return nil
		}
		if err := l.rig.Died(); err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for proofs: %d of %d are there: %w", have, n, ctx.Err())
		}
	}
}
