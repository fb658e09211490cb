package lotus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/chain"
	"posthaste/testsuite/lotus/period"
)

// methodPost is the miner actor's SubmitWindowedPoSt.
const methodPost = abi.MethodNum(5)

// noticed is how long a daemon may be dead until what it had under way is begun by another (workflows.lostDaemon): a third of an epoch on
// mainnet, and 50 epochs of 200 ms.
const noticed = 10 * time.Second

// inject does all faults of the plan, each when its time comes. The function it returns waits for the last and gives what was done.
func (r *run) inject(ctx context.Context) func() []period.Injected {
	done := make([]period.Injected, len(r.plan.Faults))
	var under sync.WaitGroup
	for i, fault := range r.plan.Faults {
		done[i] = period.Injected{Fault: fault, Window: r.window[fault.Deadline]}
		under.Go(func() {
			if err := r.do(ctx, &done[i]); err != nil {
				done[i].Failed = err.Error()
			}
			r.Say("%s", done[i].Line())
		})
	}
	return func() []period.Injected {
		under.Wait()
		return done
	}
}

// do waits for a fault's time, begins it, and ends it.
func (r *run) do(ctx context.Context, f *period.Injected) error {
	epoch, waits := f.When(f.Window)
	head, err := r.clock.at(ctx, epoch)
	if err != nil {
		return err
	}
	f.Began = head
	switch {
	case f.OfFiles():
		return r.files(ctx, f)
	case f.OfReorg():
		return r.reorg(ctx, f, waits)
	case len(f.Heights(f.Window)) > 0:
		return r.nullRounds(ctx, f)
	}
	if err := r.disturb(ctx, f); err != nil {
		return err
	}
	f.Ended = r.clock.report().Epoch
	return nil
}

// files makes sectors bad until their deadline is over.
func (r *run) files(ctx context.Context, f *period.Injected) error {
	path := map[period.Kind]string{
		period.SectorHidden: "hide", period.PartitionHidden: "hide", period.SectorTruncated: "truncate", period.SectorFlipped: "flip",
	}[f.Kind]
	sectors := map[string][]uint64{"sectors": f.Sectors}
	if err := r.rig.Control(ctx, "/sectors/"+path, sectors, nil); err != nil {
		return err
	}
	if f.Began = r.clock.report().Epoch; f.Began >= f.Challenge {
		return fmt.Errorf("it was done at epoch %d, and the challenge was at %d", f.Began, f.Challenge)
	}
	if _, err := r.clock.at(ctx, f.Close+1); err != nil {
		return err
	}
	if err := r.rig.Control(ctx, "/sectors/restore", sectors, nil); err != nil {
		return err
	}
	f.Ended = r.clock.report().Epoch
	return nil
}

// reorg has the chain forget what a fault is to cross, and mine it anew.
func (r *run) reorg(ctx context.Context, f *period.Injected, waits period.Wait) error {
	crossed := f.Challenge
	switch {
	case waits == period.WaitLanded:
		landed, err := r.landed(ctx, f.Window)
		if err != nil {
			return err
		}
		crossed = landed
	case f.Kind == period.ReorgOpen:
		crossed = f.Open
	}
	head := r.clock.report().Epoch
	f.Began = head
	order := struct {
		Epochs int64 `json:"epochs"`
		Drop   bool  `json:"drop_messages"`
	}{head - crossed + f.Epochs, f.Kind == period.ReorgDropped}
	f.Reorg = &period.Reorg{}
	if err := r.rig.Control(ctx, "/reorg", order, f.Reorg); err != nil {
		return err
	}
	f.Ended = f.Reorg.To
	return nil
}

// landed waits for a post of a deadline and gives the epoch of the latest.
func (r *run) landed(ctx context.Context, w period.Window) (epoch int64, err error) {
	_, err = r.clock.until(ctx, "a post landed", w.Close, func(report period.Report) bool {
		epoch = 0
		for _, d := range report.Deadlines {
			for _, p := range d.Partitions {
				if d.Open == w.Open && p.Posted {
					epoch = max(epoch, p.LandedEpoch)
				}
			}
		}
		return epoch > 0
	})
	return epoch, err
}

// allLanded waits until all of a deadline's partitions are posted: no card has a proof of it to make any more.
func (r *run) allLanded(ctx context.Context, w period.Window) error {
	_, err := r.clock.until(ctx, "all posts landed", w.Close, func(report period.Report) bool {
		for _, d := range report.Deadlines {
			if d.Open == w.Open {
				return !slices.ContainsFunc(d.Partitions, func(p period.Partition) bool { return !p.Posted })
			}
		}
		return false
	})
	return err
}

// nullRounds announces epochs without a block, and waits until they are over.
func (r *run) nullRounds(ctx context.Context, f *period.Injected) error {
	heights := f.Heights(f.Window)
	if err := r.rig.Control(ctx, "/null-rounds", map[string][]int64{"epochs": heights}, nil); err != nil {
		return err
	}
	head, err := r.clock.at(ctx, heights[len(heights)-1]+1)
	f.Ended = head
	return err
}

// disturb does what is neither of files nor of the chain's own course.
func (r *run) disturb(ctx context.Context, f *period.Injected) error {
	switch f.Kind {
	case period.RPCPaused:
		if err := r.rig.PauseRPC(ctx, r.epochs(f.Epochs)); err != nil {
			return err
		}
		return r.pass(ctx, f.Epochs)
	case period.NodeStopped:
		node := map[string]int{"node": f.Which}
		return r.during(ctx, f.Epochs, "/stop-rpc", node, "/start-rpc", node)
	case period.NodeBehind, period.NodeForked:
		cut := map[string]any{"node": f.Which, "behind": f.Kind == period.NodeBehind}
		return r.during(ctx, f.Epochs, "/cut", cut, "/join", map[string]int{"node": f.Which, "keep": 0})
	case period.NothingTaken:
		return r.during(ctx, f.Epochs, "/stop-including", nil, "/resume-including", nil)
	case period.BaseFeeUp:
		return r.during(ctx, f.Epochs, "/base-fee", map[string]float64{"times": 10}, "/premium", map[string]float64{"nano": 0})
	case period.PoolDropped:
		return r.dropPool(ctx, f)
	case period.DaemonKilled:
		if r.epochs(60) < 2*noticed { // what it had under way would be lost for longer than the deadline is open
			if err := r.allLanded(ctx, f.Window); err != nil {
				return err
			}
		}
		return r.rig.Daemons[f.Which].Restart(ctx)
	case period.WorkerKilled:
		if err := r.allLanded(ctx, f.Window); err != nil {
			return err
		}
		return r.rig.Workers[f.Which].Restart(ctx)
	case period.WorkerLost:
		return r.loseWorker(ctx, f)
	case period.TemporalKilled:
		return r.rig.Temporal.Restart(ctx)
	case period.CardKilled:
		return r.killCard(ctx, f)
	}
	return fmt.Errorf("nobody knows how to do %q", f.Kind)
}

// during begins something, and ends it some epochs later; whatever comes between, it is ended.
func (r *run) during(ctx context.Context, epochs int64, begin string, how any, end string, ending any) error {
	if err := r.rig.Control(ctx, begin, how, nil); err != nil {
		return err
	}
	err := r.pass(ctx, epochs)
	return errors.Join(err, r.rig.Control(context.WithoutCancel(ctx), end, ending, nil))
}

// pass waits for some epochs.
func (r *run) pass(ctx context.Context, epochs int64) error {
	_, err := r.clock.at(ctx, r.clock.report().Epoch+epochs)
	return err
}

// dropPool empties the node's pool when a post is in it.
func (r *run) dropPool(ctx context.Context, f *period.Injected) error {
	if err := r.rig.Control(ctx, "/stop-including", nil, nil); err != nil {
		return err
	}
	err := r.pooled(ctx, f.Close)
	if err == nil {
		f.Began = r.clock.report().Epoch
		err = r.rig.Control(ctx, "/drop-mempool", nil, nil)
	}
	return errors.Join(err, r.rig.Control(context.WithoutCancel(ctx), "/resume-including", nil, nil))
}

// pooled waits for a post in the pool.
func (r *run) pooled(ctx context.Context, limit int64) error {
	for r.clock.report().Epoch < limit {
		messages, err := r.node.MpoolPending(ctx, chain.TipSetKey{})
		if err != nil {
			return fmt.Errorf("looking into the pool: %w", err)
		}
		for _, m := range messages {
			if m.Message.To == r.miner && m.Message.Method == methodPost {
				return nil
			}
		}
		if err := pause(ctx, r.epochs(1)/4); err != nil {
			return err
		}
	}
	return errors.New("no post came into the pool")
}

// killCard kills the process of a card in the middle of a proof of the deadline.
func (r *run) killCard(ctx context.Context, f *period.Injected) error {
	child, err := r.running(ctx, f)
	if err != nil {
		return err
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing a card's process: %w", err)
	}
	return nil
}

// loseWorker kills the worker that makes a proof of the deadline, and starts it again.
func (r *run) loseWorker(ctx context.Context, f *period.Injected) error {
	child, err := r.running(ctx, f)
	if err != nil {
		return err
	}
	for i, w := range r.rig.Workers {
		if slices.Contains(w.Children(), child) {
			f.Which = i
			return w.Restart(ctx)
		}
	}
	return fmt.Errorf("no worker has process %d", child)
}

// running waits for a proof of the deadline and gives the process that makes it.
func (r *run) running(ctx context.Context, f *period.Injected) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.epochs(f.Open-f.Challenge+30))
	defer cancel()
	proof, err := r.rig.WaitForRunningProof(ctx, nil)
	f.Began = r.clock.report().Epoch
	return proof.ChildPid, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
