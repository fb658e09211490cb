package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/spf13/cobra"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/post"
	"posthaste/workers"
)

// demoOptions are the flags of `demo`.
type demoOptions struct {
	dir       string
	chain     string
	chainArgs []string
	deadlines int
	workers   int
	cards     int // of each worker
	timeout   time.Duration
	stay      bool
	asJSON    bool
	breaks    string // the fault's name, as it was given
	fault     *fault // nil: nothing is broken
}

func newDemo(a *app) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Prove real deadlines on a test chain of this machine's own, and see how it is done",
		Long: `Start Temporal with its Web UI, a test chain with really sealed 2 KiB sectors, a daemon and a worker with two cards, each a
process of its own, and follow the deadlines. With --workers 2 two workers share the work; the end shows which card proved
what. It exits 0 only if every partition was posted and verified by the chain, none was missed and none sent twice.

With --break something real goes wrong, on longer deadlines, and it says where one sees that and what mends it: to practise
what docs/operations.md says. sector: sealed files are away or damaged. card: a card loses its GPU. node: the Filecoin node
does not answer for a while. temporal: Temporal's server is killed, and started again.`,
		Example: `  posthaste demo
  posthaste demo --workers 2 --deadlines 4
  posthaste demo --break card --stay`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.deadlines < 1 {
				return fmt.Errorf("--deadlines %d: at least 1", o.deadlines)
			}
			if o.workers < 1 || o.cards < 1 || o.workers*o.cards > mostDemoCards {
				return fmt.Errorf("--workers %d --cards %d: at least 1 of each, and at most %d cards in all", o.workers, o.cards, mostDemoCards)
			}
			if err := o.useFault(cmd.Flags().Changed("deadlines")); err != nil {
				return err
			}
			log, err := a.logger(config.Log{Level: slog.LevelWarn, Format: "text"})
			if err != nil {
				return err
			}
			return a.demo(cmd.Context(), o, log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "`folder` for everything of this run (default: a new one among the temporary files, removed when all went well)")
	f.StringVar(&o.chain, "chain", "", "the chain `program` (default: posthaste-devnet beside this one)")
	f.StringArrayVar(&o.chainArgs, "chain-arg", nil, "one more `argument` for the chain program; may be repeated")
	f.IntVar(&o.deadlines, "deadlines", 8, "stop after this `number` of deadlines")
	f.IntVar(&o.workers, "workers", 1, "`number` of worker processes")
	f.IntVar(&o.cards, "cards", 2, "`number` of cards of each worker")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "give up after this `time`")
	f.BoolVar(&o.stay, "stay", false, "keep everything running afterwards, until Ctrl-C")
	f.BoolVar(&o.asJSON, "json", false, "print the result as one JSON object on stdout")
	f.StringVar(&o.breaks, "break", "", "break this `part` on the way: "+strings.Join(faultNames(), ", "))
	if err := cmd.RegisterFlagCompletionFunc("break", cobra.FixedCompletions(faultNames(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is two lines above
	}
	return cmd
}

// mostDemoCards bounds the processes of a demo: each takes about 100 MB, for nothing when the machine has fewer cores.
const mostDemoCards = 64

// demonstration is a running demo.
type demonstration struct {
	demoOptions
	stderr  io.Writer
	log     *slog.Logger
	chain   chainReady
	server  temporalReady
	client  client.Client
	died    <-chan error
	started abi.ChainEpoch // the chain's head when posthaste was started
	rows    []workers.Row  // the board as it was read last

	readLast   error // why the board could not be read, if it could not
	supervisor *supervisor
	breakage   breakage
}

func (a *app) demo(ctx context.Context, o demoOptions, log *slog.Logger) (err error) {
	temporary, kept := o.dir == "", ""
	if temporary {
		kept = " (removed if all goes well; --dir keeps it)"
	}
	if o.dir, err = demoDir(o.dir); err != nil {
		return err
	}
	began := time.Now()
	s := newSupervisor(ctx, o.dir, log)
	defer func() {
		s.stop()
		if temporary && err == nil {
			_ = os.RemoveAll(o.dir)
		}
	}()
	fmt.Fprintf(a.stderr, "everything of this run is in %s%s\n", o.dir, kept)
	d := &demonstration{demoOptions: o, stderr: a.stderr, log: log, died: s.died, supervisor: s}
	if err := d.startAll(ctx, s); err != nil {
		return err
	}
	defer d.client.Close()

	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	report, err := d.follow(limited)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = fmt.Errorf("the demo was not through after %s; the logs are in %s: %w", o.timeout, o.dir, err)
		}
		return err
	}
	deadlines := report.followed(d.started, o.deadlines)
	result := judge(report, deadlines, time.Since(began))
	proven := provenBy(d.rows, deadlines)
	result.Workers, result.Proofs = o.workers, proven.count(d.cardNames())
	if o.fault != nil {
		result.Broken, result.Hit = o.fault.name, d.breakage.mended(deadlines)
	}
	if err := a.tell(result, deadlines, proven, o.asJSON); err != nil {
		return err
	}
	if o.stay {
		if err := d.keepRunning(ctx); err != nil {
			return err
		}
	}
	if err := result.err(o.deadlines); err != nil {
		why := whyMissed(d.rows, deadlines)
		why.print(a.stderr)
		if result.Missed > 0 && o.fault == nil && o.chain == "" && len(o.chainArgs) == 0 {
			fmt.Fprintln(a.stderr, busyHint)
		}
		return fmt.Errorf("%w; the logs are in %s", err, o.dir)
	}
	return nil
}

// settle is how long after the last Close the deadlines' workflows may take to see it, beside the epochs they wait for.
const settle = 30 * time.Second

// follow shows the board until the chain says that all deadlines are over and their workflows have seen it.
func (d *demonstration) follow(ctx context.Context) (chainReport, error) {
	ticker := time.NewTicker(time.Second) // visibility allows about ten lists a second
	defer ticker.Stop()
	screen := newScreen(d.stderr)
	var overAt time.Time
	for {
		report, err := readReport(ctx, d.chain.Control)
		if err != nil {
			return report, d.whyNoReport(err)
		}
		deadlines := report.followed(d.started, d.deadlines)
		over := closed(deadlines)
		rows, err := workers.ReadBoard(ctx, d.client, "")
		if err != nil {
			d.unread(err)
		} else {
			d.rows, d.readLast = rows, nil
			if err := d.watchFault(ctx, screen, rows); err != nil {
				return report, err
			}
			screen.show(d.ours(boardRows(rows)), report.Epoch, fmt.Sprintf("epoch %d, %d of %d deadlines over; Web UI: %s", report.Epoch, over, d.deadlines, d.server.UI))
		}
		if over >= d.deadlines {
			if overAt.IsZero() {
				overAt = time.Now()
			}
			late := time.Since(overAt) > settle+20*d.epoch()
			if late || allSettled(rows, deadlines) {
				return report, nil
			}
		}
		select {
		case <-ticker.C:
		case err := <-d.died:
			return report, err
		case <-ctx.Done():
			return report, fmt.Errorf("following the deadlines: %w", ctx.Err())
		}
	}
}

// unread says once that the board cannot be read.
func (d *demonstration) unread(err error) {
	if d.readLast == nil {
		d.log.Warn("the board cannot be read; it is tried again every second", "err", err)
	}
	d.readLast = err
}

// whyNoReport prefers to say that a program ended, and what it logged, to what follows from it.
func (d *demonstration) whyNoReport(err error) error {
	select {
	case died := <-d.died:
		return died
	case <-time.After(time.Second): // the end of a process is known a moment later than its connections break
		return err
	}
}

// ours drops the deadlines that were open before posthaste was started, as the result does.
func (d *demonstration) ours(rows []boardRow) []boardRow {
	return slices.DeleteFunc(rows, func(r boardRow) bool { return r.deadline.Close != 0 && r.deadline.Open <= d.started })
}

// allSettled says whether the workflows of these deadlines have come to a result.
func allSettled(rows []workers.Row, deadlines []reportDeadline) bool {
	final := map[string]bool{}
	for _, r := range rows {
		final[r.WorkflowID] = r.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING.String()
	}
	for _, d := range deadlines {
		if !final[d.workflowID()] {
			return false
		}
	}
	return true
}

// busyHint is what most probably was the reason, if the demo's short deadlines were missed.
const busyHint = "Its deadlines are 24 s long: on a machine that is busy with other things, `posthaste demo --chain-arg --epoch=2s` makes them twice as long."

// tell prints the table for people and the result for programs.
func (a *app) tell(result demoResult, deadlines []reportDeadline, proven proven, asJSON bool) error {
	fmt.Fprintf(a.stderr, "\n%s\n", resultTable(deadlines, proven))
	fmt.Fprintf(a.stderr, "proofs by card: %s\n", proofsText(result.Proofs))
	fmt.Fprintf(a.stderr, "%d deadlines, %d partitions: %d posted, %d verified by the chain, %d missed, %d sent twice, in %.0f s\n",
		result.Deadlines, result.Partitions, result.Posted, result.Verified, result.Missed, result.SentTwice, result.Seconds)
	if result.Broken != "" {
		fmt.Fprintln(a.stderr, mendedText(result.Broken, result.Hit))
	}
	if result.DisputesTried > 0 {
		fmt.Fprintf(a.stderr, "%d disputes of them, %d refused by the actor\n", result.DisputesTried, result.DisputesRefused)
	}
	if result.Power != nil {
		fmt.Fprintf(a.stderr, "the miner's power: %s bytes at the start, %s now; %s faulty\n", result.Power.Start, result.Power.Now, post.Count(result.FaultsNow, "sector"))
	}
	if !asJSON {
		return nil
	}
	if err := json.NewEncoder(a.stdout).Encode(result); err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return nil
}

// keepRunning waits for Ctrl-C.
func (d *demonstration) keepRunning(ctx context.Context) error {
	fmt.Fprintf(d.stderr, "everything keeps running; look around at %s and stop it with Ctrl-C\n", d.server.UI)
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.died:
		return err
	}
}
