package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/fx"

	"posthaste/activities"
	"posthaste/chain"
	"posthaste/config"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/sectors"
	"posthaste/workflows"
)

// Daemon is a process that drives workflows, reads the chain and looks sectors up. It is stateless: run two or ten.
func Daemon(c *config.Config, log *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(c, log),
		fx.Provide(newProcessMetrics, newNode, newDaemonStores, newIndex, newDaemonClient, newDaemonActivities),
		fx.Invoke(runDaemon, serveDaemonMetrics),
	)
}

// newNode is the daemon's node, or its several: one view of the chain, followed for the whole process.
func newNode(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, log *slog.Logger) (*chain.Nodes, error) {
	ctx, cancel := context.WithCancel(context.Background())
	var infos []string
	for _, info := range c.Chain.Nodes {
		infos = append(infos, info.Reveal())
	}
	nodes, err := chain.DialAll(ctx, infos, chain.Options{EpochDuration: c.Chain.EpochDuration}, log)
	if err != nil {
		cancel()
		return nil, err
	}
	lc.Append(fx.Hook{OnStop: func(context.Context) error { nodes.Close(); cancel(); return nil }})
	background(lc, down, log, "following the chain", nodes.Run)
	return nodes, nil
}

func newDaemonStores(c *config.Config) (*sectors.Stores, error) {
	return sectors.NewStores(storesOf(c.Stores))
}

// newIndex lists the daemon's stores, and again from time to time.
func newIndex(lc fx.Lifecycle, down fx.Shutdowner, stores *sectors.Stores, log *slog.Logger) *sectors.Index {
	index := sectors.NewIndex(stores, sectors.IndexOptions{Log: log})
	background(lc, down, log, "listing stores", func(ctx context.Context) error {
		reportStores(ctx, stores, log)
		index.Run(ctx)
		return nil
	})
	return index
}

func storesOf(configured []config.Store) []sectors.Store {
	out := make([]sectors.Store, len(configured))
	for i, s := range configured {
		out[i] = sectors.Store{Name: s.Name, Path: s.Path}
	}
	return out
}

// reportStores says which stores are in trouble; the others work all the same.
func reportStores(ctx context.Context, stores *sectors.Stores, log *slog.Logger) {
	for _, problem := range stores.Check(ctx) {
		log.Error("a store is in trouble; its sectors cannot be proven until it is back", "store", problem.Store.Name, "path", problem.Store.Path, "error", problem.Err)
	}
}

func newDaemonClient(lc fx.Lifecycle, c *config.Config, m *metrics, log *slog.Logger) (client.Client, *serverClock, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	temporal, clock, err := dial(c.Temporal, identity("daemon", host), otherBeats, m, log)
	if err == nil {
		closing(lc, temporal)
	}
	return temporal, clock, err
}

// daemonActivities are what a daemon registers.
type daemonActivities struct {
	chain    *activities.Chain
	messages *activities.Messages
	watch    *activities.Watch
	sectors  *activities.Sectors
	finder   *activities.Finder
	check    *activities.SectorCheck
	fleet    *activities.Fleet
	balance  *activities.Balance
	alerts   *activities.Alerts
	survey   *activities.Survey
	recover  *activities.Recoveries
}

func newDaemonActivities(c *config.Config, node *chain.Nodes, stores *sectors.Stores, index *sectors.Index, temporal client.Client, clock *serverClock, m *metrics, log *slog.Logger) (daemonActivities, error) {
	fleet := &activities.Fleet{Temporal: temporal, Namespace: c.Temporal.Namespace, Log: log, Ahead: clock.Ahead}
	balance := &activities.Balance{Fleet: fleet, Temporal: temporal, Log: log, Observe: watchBalance(newDaemonMetrics(m))}
	alerts, err := newAlerts(c, node, index, balance, temporal, log)
	if err != nil {
		return daemonActivities{}, err
	}
	alerts.Observe = newBoardMetrics(m, nil).observe
	newNodeMetrics(m, node.Outlook)
	reader := &activities.Chain{Node: node, Heads: node}
	return daemonActivities{
		chain:    reader,
		recover:  &activities.Recoveries{Node: node, Chain: reader, Temporal: temporal},
		messages: &activities.Messages{Node: node, Heads: node},
		watch:    &activities.Watch{Node: node, Heads: node, Temporal: temporal, Log: log},
		sectors:  &activities.Sectors{Index: index, Verify: prover.Verify},
		finder:   &activities.Finder{Node: node},
		check:    &activities.SectorCheck{Stores: stores, Read: prover.Vanilla},
		fleet:    fleet,
		survey:   &activities.Survey{Node: node, Fleet: fleet},
		balance:  balance,
		alerts:   alerts,
	}, nil
}

// watchBalance puts what balancing sees into the metrics.
func watchBalance(m *daemonMetrics) func(activities.Balanced) {
	return func(b activities.Balanced) {
		seen := look{waiting: b.Waiting, running: b.Running, moved: b.Moved, incomplete: b.Problem != ""}
		for _, n := range b.Stuck {
			seen.nobody += n
		}
		m.observe(seen)
	}
}

func serveDaemonMetrics(lc fx.Lifecycle, c *config.Config, m *metrics, log *slog.Logger) {
	serveMetrics(lc, c.Metrics.Daemon, m, log)
}

// runDaemon polls the daemon's queues and keeps the miners' workflows there.
func runDaemon(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, log *slog.Logger, temporal client.Client, node *chain.Nodes, a daemonActivities) {
	background(lc, down, log, "the daemon", func(ctx context.Context) error {
		reportParameters(log, false)
		if err := awaitTemporal(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		if err := registerAttributes(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		log.Info("driving workflows", "temporal", c.Temporal.Address, "namespace", c.Temporal.Namespace, "node", node.Endpoint())
		return poll(ctx, daemonWorkers(temporal, down, log, c.Versioning, a)...)
	})
	for _, one := range []single{
		{workflows.FleetWorkflowID, workflows.NameFleetWorkflow, "moves jobs that wait to where they start sooner", nil},
		{workflows.AlertWorkflowID, workflows.NameAlertWorkflow, "tells people of what needs them", []any{post.AlertBook{}}},
	} {
		background(lc, down, log, "ensuring workflow "+one.id, func(ctx context.Context) error {
			if err := awaitTemporal(ctx, c.Temporal, temporal, log); err != nil {
				return err
			}
			return one.ensure(ctx, temporal, log)
		})
	}
	background(lc, down, log, "watching the node", func(ctx context.Context) error {
		return watchNode(ctx, node.Outlook, c.Alerts.Limits, nodeEvery, log)
	})
	background(lc, down, log, "settling this daemon's version", func(ctx context.Context) error {
		if err := awaitTemporal(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		if err := settleVersion(ctx, c.Versioning, temporal, log); err != nil || !c.Versioning.On {
			return err
		}
		return watchVersions(ctx, BuildID(c.Versioning), c.Temporal.Namespace, temporal, log)
	})
	background(lc, down, log, "checking the nodes' tokens", func(ctx context.Context) error { return checkTokens(ctx, node, log) })
	background(lc, down, log, "looking for the senders' keys", func(ctx context.Context) error {
		return checkSenders(ctx, c.Miners, node, temporal, log)
	})
	background(lc, down, log, "ensuring miners", func(ctx context.Context) error {
		if err := awaitTemporal(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		// A workflow that carries an attribute which the server does not know is refused.
		if err := registerAttributes(ctx, c.Temporal, temporal, log); err != nil {
			return err
		}
		return ensureMiners(ctx, c.Miners, node, temporal, log)
	})
}

// daemonWorkers poll the workflows' and the chain's queue, and that of lookups.
func daemonWorkers(temporal client.Client, down fx.Shutdowner, log *slog.Logger, v config.Versioning, a daemonActivities) []worker.Worker {
	options := worker.Options{
		// Waiting for an epoch and watching a miner hold a slot for long and cost nothing: room for hundreds of deadlines.
		MaxConcurrentActivityExecutionSize: 2000,
		// An alias of a registered name would be a second name in histories.
		DisableRegistrationAliasing: true,
		// A daemon that stops lets its activities return; what does not is done again by another.
		WorkerStopTimeout: 5 * time.Second,
		OnFatalError:      fatal(down, log),
		Interceptors:      []interceptor.WorkerInterceptor{&attending{}},
		DeploymentOptions: deploymentOptions(v),
	}
	main := worker.New(temporal, workflows.QueueChain, options)
	RegisterWorkflows(main)
	register(main, map[string]any{
		workflows.ActivityWatchDeadlines:      a.watch.WatchDeadlines,
		workflows.ActivityRequestMessage:      a.watch.RequestMessage,
		workflows.ActivityAwaitEpoch:          a.chain.AwaitEpoch,
		workflows.ActivityLoadDeadline:        a.chain.LoadDeadline,
		workflows.ActivityLoadPartition:       a.chain.LoadPartition,
		workflows.ActivityReadPartition:       a.chain.ReadPartition,
		workflows.ActivityFindDeadline:        a.finder.FindDeadline,
		workflows.ActivityChallengeRandomness: a.chain.ChallengeRandomness,
		workflows.ActivityBuildPost:           a.chain.BuildPost,
		workflows.ActivityConfirmMessage:      a.chain.ConfirmMessage,
		workflows.ActivityCheckDeadline:       a.chain.CheckDeadline,
		workflows.ActivityPrepareMessage:      a.messages.PrepareMessage,
		workflows.ActivitySignMessage:         a.messages.SignMessage,
		workflows.ActivityQuoteMessage:        a.messages.QuoteMessage,
		workflows.ActivityIssueMessages:       a.messages.IssueMessages,
		workflows.ActivityPushMessage:         a.messages.PushMessage,
		workflows.ActivityFollowMessages:      a.messages.FollowMessages,
		workflows.ActivityRepriceMessage:      a.messages.RepriceMessage,
		workflows.ActivityRouteJob:            a.fleet.RouteJob,
		workflows.ActivityBalanceFleet:        a.balance.BalanceFleet,
		workflows.ActivityWatchAlerts:         a.alerts.WatchAlerts,
		workflows.ActivitySurveyMiner:         a.survey.SurveyMiner,
		workflows.ActivityReadFaults:          a.recover.ReadFaults,
		workflows.ActivityReadSectors:         a.recover.ReadSectors,
		workflows.ActivityBuildRecovery:       a.recover.BuildRecovery,
	})
	lookups := options
	lookups.DisableWorkflowWorker = true
	lookups.MaxConcurrentActivityExecutionSize = 32
	second := worker.New(temporal, workflows.QueueSectors, lookups)
	register(second, map[string]any{
		workflows.ActivityLookupSectors: a.sectors.LookupSectors,
		workflows.ActivityVerifyProof:   a.sectors.VerifyProof,
		workflows.ActivityCheckSectors:  a.check.CheckSectors,
	})
	return []worker.Worker{main, second}
}

// RegisterWorkflows registers the workflows under their names, for daemons and for replay.
func RegisterWorkflows(r worker.WorkflowRegistry) {
	for name, w := range map[string]any{
		workflows.NameMinerWorkflow:    workflows.MinerWorkflow,
		workflows.NameDeadlineWorkflow: workflows.DeadlineWorkflow,
		workflows.NameSenderWorkflow:   workflows.SenderWorkflow,
		workflows.NameWorkerWorkflow:   workflows.WorkerWorkflow,
		workflows.NameFleetWorkflow:    workflows.FleetWorkflow,
		workflows.NameAlertWorkflow:    workflows.AlertWorkflow,
		workflows.NameSurveyWorkflow:   workflows.SurveyWorkflow,
		workflows.NameComputeWorkflow:  workflows.ComputeWorkflow,
		workflows.NameCheckWorkflow:    workflows.CheckWorkflow,
		workflows.NameRecoveryWorkflow: workflows.RecoveryWorkflow,
	} {
		r.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: name, VersioningBehavior: behaviorOf(name)})
	}
}

func register(r worker.ActivityRegistry, all map[string]any) {
	for name, f := range all {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// fatal ends the process when the SDK gives up on a worker.
func fatal(down fx.Shutdowner, log *slog.Logger) func(error) {
	return func(err error) {
		log.Error("polling Temporal failed for good", "error", err)
		_ = down.Shutdown(fx.ExitCode(1))
	}
}

// ensureEvery is how often a daemon makes sure that its miners' workflows exist: an operator may have terminated one.
const ensureEvery = time.Minute

// ensureMiners starts each configured miner's workflow, or tells the running one its configuration.
func ensureMiners(ctx context.Context, miners []config.Miner, node *chain.Nodes, temporal client.Client, log *slog.Logger) error {
	var epoch time.Duration
	err := until(ctx, log, "the node at "+node.Endpoint(), 5*time.Second, func(ctx context.Context) (err error) {
		epoch, err = node.EpochDuration(ctx)
		return err
	})
	if err != nil {
		return err
	}
	ticker := time.NewTicker(ensureEvery)
	defer ticker.Stop()
	others := &otherMiners{configured: miners, temporal: temporal, log: log}
	for {
		for _, m := range miners {
			if !m.Enabled {
				continue
			}
			m.Settings.EpochDuration = epoch
			err := until(ctx, log, "the workflow of "+post.MinerName(m.ID), 10*time.Second, func(ctx context.Context) error {
				return EnsureMiner(ctx, temporal, workflows.WatchInput{Miner: m.ID, Settings: m.Settings})
			})
			if err != nil {
				return err
			}
		}
		others.tell(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// single is a workflow of which there is one, whoever looks after it.
type single struct {
	id, name, summary string
	args              []any // of a new one
}

// ensure makes sure that it exists, and that an operator who has ended it gets it back.
func (s single) ensure(ctx context.Context, temporal client.Client, log *slog.Logger) error {
	ticker := time.NewTicker(ensureEvery)
	defer ticker.Stop()
	for {
		err := until(ctx, log, "workflow "+s.id, 10*time.Second, func(ctx context.Context) error {
			limited, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			_, err := temporal.ExecuteWorkflow(limited, client.StartWorkflowOptions{
				ID: s.id, TaskQueue: workflows.QueueChain, StaticSummary: s.summary,
				WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			}, s.name, s.args...)
			if err != nil {
				return fmt.Errorf("starting workflow %s: %w", s.id, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// MinerWorkflowID names the one workflow of a miner.
func MinerWorkflowID(in workflows.WatchInput) string { return workflows.MinerWorkflowID(in.Miner) }

// EnsureMiner makes sure that a miner's workflow runs and knows its configuration.
func EnsureMiner(ctx context.Context, t client.Client, in workflows.WatchInput) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	id := MinerWorkflowID(in)
	_, err := t.SignalWithStartWorkflow(limited, id, workflows.SignalConfigure, in, minerOptions(in.Miner), workflows.NameMinerWorkflow, workflows.MinerState{WatchInput: in})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("starting or configuring workflow %s: %w", id, err)
	}
	return err
}
