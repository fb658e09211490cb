package lotus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/testsuite/lotus/period"
	"posthaste/testsuite/rig"
)

// Program is the chain's.
const Program = "posthaste-lotusdevnet"

// Options are what a run is made of.
type Options struct {
	Epoch   time.Duration // by the wall clock
	Sectors int           // 192: two partitions of two in nearly every deadline
	// Interleaved is how many deadlines have partitions whose sectors are not in the order of their numbers.
	Interleaved int
	// Added is how many sectors come onto the chain when posthaste is running.
	Added     int
	Deadlines int // 0: a whole proving period with what Plan adds
	Daemons   int
	Workers   int
	Cards     int // of each worker
	Nodes     int
	Policy    []string // lines of [policy]
	// Plan says what goes wrong; nil: nothing.
	Plan func(period.Shape) period.Plan
	// Say gets a line of what is done, as it is done.
	Say func(format string, args ...any)
}

// Outcome is what came of a run.
type Outcome struct {
	Plan    period.Plan       `json:"plan"`
	Done    []period.Injected `json:"faults"`
	Figures period.Figures    `json:"figures"`
	Wrong   []string          `json:"wrong"`
}

// sectorSize is that of the chain's sectors, in bytes.
const sectorSize = 2048

// periodDeadlines is how many deadlines a proving period has.
const periodDeadlines = 48

// run is a run under way.
type run struct {
	Options
	rig    *rig.Rig
	node   *chain.Node
	miner  address.Address
	clock  *clock
	window []period.Window // of the deadlines that are followed
	plan   period.Plan
	shape  period.Shape
}

// Run starts everything in a folder, does what the plan says, waits until the last deadline is over, and judges. An error means
// that it could not be run; what was not as it should be is in the outcome.
func Run(ctx context.Context, dir string, o Options) (Outcome, *rig.Rig, error) {
	began := time.Now()
	r := &run{Options: o}
	var err error
	if r.rig, err = rig.Open(ctx, dir, r.rigOptions()); err != nil {
		return Outcome{}, nil, err
	}
	if err := r.start(ctx); err != nil {
		return Outcome{}, r.rig, err
	}
	defer r.node.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.clock = newClock(r.rig)
	clockEnded := make(chan error, 1)
	go func() { clockEnded <- r.clock.run(ctx) }()
	done := r.inject(ctx)
	trial, err := r.await(ctx, clockEnded)
	if err != nil {
		cancel() // the chain's time no longer comes
	}
	trial.Faults = done()
	if err != nil {
		return Outcome{}, r.rig, err
	}
	trial.Said = r.said(ctx)
	figures, wrong := period.Judge(trial)
	figures.Seconds = time.Since(began).Seconds()
	return Outcome{Plan: r.plan, Done: trial.Faults, Figures: figures, Wrong: wrong}, r.rig, nil
}

func (r *run) rigOptions() rig.Options {
	flags := []string{"--sectors", fmt.Sprint(r.Sectors), "--epoch", r.Epoch.String()}
	if r.Interleaved > 0 {
		flags = append(flags, "--interleaved", fmt.Sprint(r.Interleaved))
	}
	if r.Nodes > 1 {
		flags = append(flags, "--nodes", fmt.Sprint(r.Nodes))
	}
	return rig.Options{Program: Program, Chain: flags, Workers: r.Workers, Cards: r.Cards, Policy: r.Policy, Idle: true, Before: func(g *rig.Rig) {
		// The first node has the chain that counts. The last one is preferred, since it is that which can be cut off.
		nodes := g.Nodes()
		last := len(nodes) - 1
		if g.Config.APIInfo = nodes[last]; last > 0 {
			g.Config.Chain = []string{"nodes = " + list(nodes[:last])}
		}
	}}
}

// list writes strings as TOML has them.
func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// start reads the deadlines that come, makes the plan, and starts posthaste.
func (r *run) start(ctx context.Context) error {
	for i := 1; i < r.Daemons; i++ {
		r.rig.AddDaemon(fmt.Sprintf("daemon%d", i+1))
	}
	for _, d := range r.rig.Daemons {
		if err := d.Start(ctx); err != nil {
			return err
		}
	}
	if err := r.rig.StartWorkers(ctx); err != nil {
		return err
	}
	var err error
	if r.node, err = chain.Dial(ctx, r.rig.Nodes()[0], chain.Options{}); err != nil {
		return fmt.Errorf("asking the chain for its deadlines: %w", err)
	}
	if r.miner, err = address.NewFromString(r.rig.Miners()[0]); err != nil {
		return fmt.Errorf("the chain's miner: %w", err)
	}
	if r.Added > 0 {
		if err := r.rig.Control(ctx, "/sectors/add", map[string]int{"count": r.Added}, nil); err != nil {
			return err
		}
	}
	if err := r.look(ctx); err != nil {
		return fmt.Errorf("asking the chain for its deadlines: %w", err)
	}
	r.plan = period.Plan{Deadlines: r.Deadlines}
	if r.Plan != nil {
		r.plan = r.Plan(r.shape)
		r.Say("%s", r.plan)
	}
	return r.follow()
}

// look reads which sectors each deadline of a period has, from the next one on.
func (r *run) look(ctx context.Context) error {
	head, err := r.node.ChainHead(ctx)
	if err != nil {
		return err
	}
	now, err := r.node.StateMinerProvingDeadline(ctx, r.miner, head.Key())
	if err != nil {
		return err
	}
	r.shape = period.Shape{Daemons: r.Daemons, Workers: r.Workers, Nodes: r.Nodes}
	for i := range int64(periodDeadlines) {
		index := (now.Index + uint64(i)) % periodDeadlines
		w := period.Window{Index: index, Open: int64(now.Open) + i*int64(now.WPoStChallengeWindow)}
		w.Close, w.Challenge = w.Open+int64(now.WPoStChallengeWindow), w.Open-int64(now.WPoStChallengeLookback)
		if w.Challenge <= int64(head.Height) {
			continue // nobody could be asked for it, and it comes again after the others
		}
		partitions, err := r.sectors(ctx, index, head.Key())
		if err != nil {
			return err
		}
		if len(partitions) > 0 {
			r.window, r.shape.Sectors = append(r.window, w), append(r.shape.Sectors, partitions)
		}
	}
	return nil
}

// sectors are a deadline's, by partition.
func (r *run) sectors(ctx context.Context, deadline uint64, key chain.TipSetKey) ([][]uint64, error) {
	partitions, err := r.node.StateMinerPartitions(ctx, r.miner, deadline, key)
	if err != nil {
		return nil, err
	}
	var out [][]uint64
	for _, p := range partitions {
		live, err := p.LiveSectors.All(sectorSize)
		if err != nil {
			return nil, fmt.Errorf("the sectors of deadline %d: %w", deadline, err)
		}
		out = append(out, live)
	}
	return out, nil
}

// follow cuts the deadlines to those that the plan follows: all that have sectors come again a period later.
func (r *run) follow() error {
	wanted, known := r.plan.Deadlines, len(r.window)
	if known == 0 {
		return errors.New("the chain's miner has no deadline with sectors")
	}
	const length = periodDeadlines * 60
	for i := known; i < wanted; i++ {
		again := r.window[i-known]
		r.window = append(r.window, period.Window{Index: again.Index, Challenge: again.Challenge + length, Open: again.Open + length, Close: again.Close + length})
	}
	r.window = r.window[:wanted]
	return nil
}

// await waits for the last deadline to be over, and gives what the chain says then.
func (r *run) await(ctx context.Context, clockEnded <-chan error) (period.Trial, error) {
	trial := period.Trial{Wanted: r.window, Size: sectorSize}
	for _, partitions := range r.shape.Sectors[:min(len(r.window), len(r.shape.Sectors))] {
		for _, sector := range slices.Concat(partitions...) {
			if sector >= uint64(r.Sectors) {
				trial.Added++
			}
		}
	}
	end := r.window[len(r.window)-1].Close
	// Its last disputes are answered within a few epochs; a chain that has not done so by then is judged as it is.
	const patience = 60
	for {
		select {
		case err := <-clockEnded:
			return trial, err
		case <-time.After(r.Epoch):
		}
		report := r.clock.report()
		closed := slices.ContainsFunc(report.Deadlines, func(d period.Deadline) bool { return d.Close == end && d.Closed })
		if closed || report.Epoch > end+patience {
			trial.Report = report
			return trial, nil
		}
	}
}

// said asks posthaste's workflows what came of the deadlines. They end some epochs after Close.
func (r *run) said(ctx context.Context) []period.Said {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var all []period.Said
	miner, err := address.IDFromAddress(r.miner)
	for _, w := range r.window {
		d := post.Deadline{Miner: abi.ActorID(miner), Index: w.Index, PeriodStart: abi.ChainEpoch(w.Open - int64(w.Index)*(w.Close-w.Open))}
		var result post.Result
		if err == nil {
			result, err = r.rig.Result(ctx, d)
		}
		if err != nil {
			r.Say("%s: %v", d.WorkflowID(), err)
			err = nil
		}
		for _, p := range result.Partitions {
			all = append(all, period.Said{Open: w.Open, Partition: p.Index, Posted: p.State == post.StatePosted, Message: p.Message, Reason: p.Reason})
		}
	}
	return all
}

// epoch is a number of epochs by the wall clock.
func (r *run) epochs(n int64) time.Duration { return time.Duration(n) * r.rig.Epoch() }
