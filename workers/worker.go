package workers

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.uber.org/fx"

	"posthaste/activities"
	"posthaste/config"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/sectors"
	"posthaste/workflows"
)

// Worker is a process that proves on its cards. It needs Temporal and its attached stores; no chain, no wallet.
func Worker(c *config.Config, log *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(c, log.With("worker", c.Worker.Name)),
		fx.StopTimeout(StopWithin(c.Worker)),
		fx.Provide(newProcessMetrics, newInstance, newWorkerClient, newStation),
		fx.Invoke(runWorker, serveWorkerMetrics),
	)
}

// longestJob bounds a drain: a job ends at its deadline's Close at the latest (post.Settings.JobLifetime).
const longestJob = 25 * time.Hour

// StopWithin is how long a worker may take to stop, which is a day if it finishes what it has.
func StopWithin(w config.Worker) time.Duration {
	most := w.StopTimeout + 20*time.Second // for the cards' processes and the rest
	if w.Drain {
		most += longestJob
	}
	return most
}

// instance is the identity of this process in Temporal.
type instance string

func newInstance(c *config.Config) instance { return instance(identity("worker", c.Worker.Name)) }

func newWorkerClient(lc fx.Lifecycle, c *config.Config, self instance, m *metrics, log *slog.Logger) (client.Client, error) {
	temporal, _, err := dial(c.Temporal, string(self), workerBeats, m, log)
	if err == nil {
		closing(lc, temporal)
	}
	return temporal, err
}

// newStation puts the cards into groups and starts their processes.
func newStation(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, self instance, temporal client.Client, m *metrics, log *slog.Logger) (*station, error) {
	stores, err := sectors.NewStores(storesOf(c.Attached))
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s := &station{
		first: post.WorkerReport{
			Name: c.Worker.Name, Instance: string(self), Host: host, Version: version(), Started: time.Now().Round(time.Millisecond),
		},
		rules: c.Worker.Rules, temporal: temporal, namespace: c.Temporal.Namespace, log: log,
		handOver: make(chan struct{}), news: make(chan struct{}, 1), doubts: make(chan struct{}, 1),
		end: func() { _ = down.Shutdown(fx.ExitCode(0)) },
	}
	s.stores, s.monitor = stores, sectors.NewMonitor(stores, sectors.MonitorOptions{Log: log, Changed: s.changed})
	machine := settleCards(context.Background(), c, log)
	gate, from, err := memoryGate(c.Worker)
	if err != nil {
		return nil, err
	}
	parts := parts{
		stores: stores, proofs: activities.NewProofs(), fatal: fatal(down, log), machine: machine,
		observe: newWorkerMetrics(m, s.gauges).observe,
		limits: map[string]*prover.Limits{
			post.KindWindow:  {Tasks: c.WindowLimit, Memory: gate, MemoryFrom: from},
			post.KindWinning: {Tasks: c.WinningLimit},
		},
	}
	for _, cards := range groupCards(c, machine) {
		g, err := s.newGroup(cards, parts)
		if err != nil {
			return nil, err
		}
		s.groups = append(s.groups, g)
	}
	for _, g := range s.groups { // when all are there: they tell the station of changes
		background(lc, down, log, "the cards", g.pool.Run)
	}
	return s, nil
}

// newProcessMetrics is what this process tells Prometheus.
func newProcessMetrics() *metrics { return newMetrics(version()) }

func serveWorkerMetrics(lc fx.Lifecycle, c *config.Config, m *metrics, log *slog.Logger) {
	serveMetrics(lc, c.Metrics.Worker, m, log)
}

// parts are what the groups of a worker share.
type parts struct {
	stores  *sectors.Stores
	proofs  *activities.Proofs
	limits  map[string]*prover.Limits // by kind
	fatal   func(error)
	observe func(activities.Observation)
	machine bool // has a GPU
}

func (s *station) newGroup(cards cardGroup, parts parts) (*group, error) {
	configs := make([]prover.CardConfig, len(cards.cards))
	for i, card := range cards.cards {
		configs[i] = cardConfig(card, parts.machine)
	}
	pool, err := prover.NewPool(configs, prover.PoolOptions{
		Log: s.log, Kind: processorKind(cards.kind), Limits: parts.limits[cards.kind], OnFence: s.fencedItself, OnChange: s.changed,
	})
	if err != nil {
		return nil, err
	}
	all := s.activities(cards.kind, pool, parts)
	return &group{
		cardGroup: cards, pool: pool,
		poller: newPoller(s.temporal, pool.Size(), func(r worker.ActivityRegistry) { register(r, all) }, parts.fatal, s.log),
	}, nil
}

// activities are what a group of cards does.
func (s *station) activities(kind string, pool *prover.Pool, parts parts) map[string]any {
	if kind == post.KindWinning {
		p := &activities.WinningProver{Worker: s.first.Name, Cards: pool, Stores: parts.stores, Log: s.log, Stopping: s.handOver, Observe: parts.observe}
		return map[string]any{workflows.ActivityGenerateWinningPoSt: p.GenerateWinningPoSt}
	}
	p := &activities.Prover{
		Worker: s.first.Name, Cards: pool, Stores: parts.stores, Watch: s.monitor, Temporal: s.temporal, Log: s.log,
		Proofs: parts.proofs, Stopping: s.handOver, Observe: parts.observe,
	}
	return map[string]any{workflows.ActivityGenerateWindowPoSt: p.GenerateWindowPoSt}
}

// runWorker polls from the start of the process to its end.
func runWorker(lc fx.Lifecycle, down fx.Shutdowner, c *config.Config, log *slog.Logger, s *station) {
	background(lc, down, log, "the worker", func(ctx context.Context) error { return s.run(ctx, c, fatal(down, log)) })
}

// run has the cards take jobs until ctx ends, and then the jobs end: handed over at once, or finished first.
func (s *station) run(ctx context.Context, c *config.Config, fatal func(error)) error {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	defer s.letGo()
	beside.Go(func() { s.monitor.Run(lasting) })
	reportParameters(s.log, true)
	if err := awaitTemporal(ctx, c.Temporal, s.temporal, s.log); err != nil {
		return err
	}
	s.settle(ctx)
	s.recall(ctx)
	steered, err := s.takeOrders(ctx, fatal)
	if err != nil {
		return err
	}
	defer steered.Stop()
	beside.Go(func() { _ = s.tell(lasting) })
	polling := s.poll(lasting, c.Worker.StopTimeout)
	s.log.Info("ready for jobs", "groups", len(s.groups), "temporal", c.Temporal.Address)
	<-ctx.Done()
	if c.Worker.Drain {
		s.finish()
	}
	s.letGo()
	return polling()
}

// settle waits for the first look at the stores, so that the first queue is the right one; not for a disk that hangs.
func (s *station) settle(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s.monitor.Settled(limited)
}

// takeOrders polls the worker's own queue. It takes as long as Temporal needs to let it begin.
func (s *station) takeOrders(ctx context.Context, fatal func(error)) (worker.Worker, error) {
	orders := &activities.WorkerOrders{Worker: s, Temporal: s.temporal, Log: s.log, Stopping: s.handOver, Doubt: s.doubt}
	var w worker.Worker
	err := until(ctx, s.log, "taking orders", 5*time.Second, func(context.Context) error {
		w = worker.New(s.temporal, workflows.WorkerQueue(s.first.Name), worker.Options{
			MaxConcurrentActivityExecutionSize: 10, // one attends; an order takes a moment
			MaxConcurrentActivityTaskPollers:   2,
			DisableWorkflowWorker:              true,
			DisableRegistrationAliasing:        true,
			WorkerStopTimeout:                  5 * time.Second,
			OnFatalError:                       fatal,
		})
		check := &activities.SectorCheck{Stores: s.stores, Read: prover.Vanilla, Stopping: s.handOver}
		register(w, map[string]any{workflows.ActivityAttendWorker: orders.AttendWorker, workflows.ActivityApplyOrders: orders.ApplyOrders,
			workflows.ActivityCheckSectors: check.CheckSectors})
		return w.Start()
	})
	return w, err
}

// poll has every group poll. The function that it returns ends that, and returns when the jobs have ended or had the time for it.
func (s *station) poll(ctx context.Context, limit time.Duration) (stop func() error) {
	polling, cancel := context.WithCancel(ctx)
	var groups sync.WaitGroup
	for _, g := range s.groups {
		groups.Go(func() {
			if err := g.poller.Run(polling, limit); err != nil {
				s.log.Warn("jobs end with the process; others do them again after the heartbeat timeout", "error", err)
			}
		})
	}
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.changed()
	return func() error {
		cancel()
		groups.Wait()
		return nil
	}
}

// finish lets the running jobs finish. Another signal means that somebody cannot wait for that.
func (s *station) finish() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.changed()
	s.log.Info("stopping when the running jobs are done; a second signal hands them over", "running", s.busy())
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	waiting, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-again:
			s.log.Info("handing over what still runs", "running", s.busy())
			cancel()
		case <-waiting.Done():
		}
	}()
	_ = s.idle(waiting)
}

// version is what this binary was built from, for people who compare workers.
func version() string {
	info, known := debug.ReadBuildInfo()
	if !known {
		return "unknown"
	}
	return shortVersion(info)
}

// shortVersion is the release and the commit; of what is no release only the commit, because a list of workers is wide enough.
func shortVersion(info *debug.BuildInfo) string {
	version, commit := cmp.Or(info.Main.Version, "(devel)"), ""
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			commit = setting.Value[:12]
		}
	}
	switch at := strings.Index(version, commit); {
	case commit == "" || at >= 0 && !strings.HasPrefix(version, "v0.0.0-"):
		return version
	case at >= 0:
		return version[at:] // with "+dirty", if it is
	default:
		return version + " " + commit
	}
}

// reportParameters says at start which of the usual parameters are missing, instead of at the first proof. A daemon, which checks
// proofs before it signs a message, needs the small verifying keys only.
func reportParameters(log *slog.Logger, toProve bool) {
	var missing error
	for _, proofType := range []abi.RegisteredPoStProof{
		abi.RegisteredPoStProof_StackedDrgWindow32GiBV1_1, abi.RegisteredPoStProof_StackedDrgWindow64GiBV1_1,
		abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1,
	} {
		err := prover.CheckParameters(proofType, toProve)
		if err == nil {
			return // a provider has those of its own sector size
		}
		missing = cmp.Or(missing, err)
	}
	what := "no verifying key of any sector size is there; no proof can be checked, and no message sent, until one is"
	if toProve {
		what = "no parameters of any sector size are complete; every proof will fail until they are"
	}
	log.Error(what, "error", missing)
}
