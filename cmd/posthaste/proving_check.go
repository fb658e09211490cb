package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	workflowpb "go.temporal.io/api/workflow/v1"

	"posthaste/post"
	"posthaste/workers"
	"posthaste/workflows"
)

// checking is what `proving check` is asked.
type checking struct {
	whatToProve
	partition uint64
	strict    bool
	worker    string
	asJSON    bool
}

// checkLimit is how long all of a miner's partitions may take: a few hundred, of some minutes each when strict.
const checkLimit = 24 * time.Hour

// newProvingCheck looks whether sectors can be proven.
func newProvingCheck(a *app) *cobra.Command {
	var ask checking
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look whether the sectors of a miner can be proven",
		Long: "Look whether the sectors of a miner can be proven, before a deadline finds out.\n\n" +
			"Of every live sector that the chain has, faulty ones too, it looks for the files that a proof needs: the replica with its size, p_aux and\n" +
			"the trees. --strict also reads each as a proof does and makes its vanilla proof, which finds most of what has gone bad inside; it reads some\n" +
			"100 KB a sector. A daemon looks into its [[stores]]; with --worker, that worker into what is attached to it.\n\n" +
			"It fails if a sector cannot be proven that the chain does not hold faulty already, or that is declared recovered. It needs a running daemon.",
		Example: "  posthaste proving check --miner f01000 --deadline 7\n" +
			"  posthaste proving check --miner f01000 --strict --worker gpu1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd, ask) },
	}
	ask.flags(cmd, a, "a deadline's `index`, from 0; all without it")
	cmd.Flags().Uint64Var(&ask.partition, "partition", 0, "a partition of that deadline, by its `index`; all without it")
	cmd.Flags().BoolVar(&ask.strict, "strict", false, "make a vanilla proof of every sector")
	cmd.Flags().StringVar(&ask.worker, "worker", "", "the `name` of the worker that looks; a daemon without it")
	cmd.Flags().BoolVar(&ask.asJSON, "json", false, "print one JSON object, and no progress")
	completeFlag(cmd, "worker", a.completeWorkers())
	return cmd
}

func (a *app) check(cmd *cobra.Command, ask checking) error {
	miner, err := ask.id()
	if err != nil {
		return err
	}
	in := workflows.CheckInput{Miner: miner, Strict: ask.strict, Worker: ask.worker}
	switch {
	case cmd.Flags().Changed("deadline"):
		in.Deadline = &ask.deadline
	case cmd.Flags().Changed("partition"):
		return fmt.Errorf("--partition is of one deadline: name that with --deadline")
	}
	if cmd.Flags().Changed("partition") {
		in.Partition = &ask.partition
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if ask.worker != "" {
		if err := c.awake(cmd, ask.worker); err != nil {
			return err
		}
	}
	errand := workers.Errand{
		ID:      fmt.Sprintf("check-%s-%s", post.MinerName(miner), randomName()),
		Summary: "looks whether the sectors of " + post.MinerName(miner) + " can be proven",
		Type:    workflows.NameCheckWorkflow, Input: in, Limit: checkLimit, Memo: workflows.MemoCheck,
	}
	if !ask.asJSON {
		shown := newProgress(a.stderr)
		errand.Show = func(info *workflowpb.WorkflowExecutionInfo, pending []*workflowpb.PendingActivityInfo) {
			shown.show(checkProgress(info, pending))
		}
	}
	var result post.Checkup
	if err := errand.Run(cmd.Context(), c, &result); err != nil {
		return fmt.Errorf("checking sectors of %s: %w", post.MinerName(miner), c.explainAway(err))
	}
	if ask.asJSON {
		if err := printJSON(a.stdout, result); err != nil {
			return err
		}
	} else {
		printCheckup(a.stdout, result)
	}
	return checkVerdict(result)
}

// awake refuses a worker that is not there: nobody would look for a minute.
func (c *connection) awake(cmd *cobra.Command, name string) error {
	views, err := c.workers(cmd.Context())
	if err != nil {
		return err
	}
	v, err := findWorker(views, name)
	if err == nil && !v.Alive {
		err = fmt.Errorf("worker %s is gone: it can look at nothing", name)
	}
	return err
}

// checkVerdict is the error of a checkup that found what the chain does not know.
func checkVerdict(c post.Checkup) error {
	news, unchecked := 0, 0
	for _, p := range c.Partitions {
		news += p.News
		if p.Unchecked != "" {
			unchecked++
		}
	}
	var said []string
	if news > 0 {
		said = append(said, fmt.Sprintf("%s cannot be proven that the chain counts on", post.Count(news, "sector")))
	}
	if unchecked > 0 {
		said = append(said, fmt.Sprintf("%s could not be looked at", post.Count(unchecked, "partition")))
	}
	if len(said) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(said, "; "))
}

// checkProgress is how far a check is.
func checkProgress(info *workflowpb.WorkflowExecutionInfo, pending []*workflowpb.PendingActivityInfo) []progressLine {
	var so post.Checkup
	if !workers.MemoOf(info, workflows.MemoCheck, &so) || so.Of == 0 {
		return triedAgain(pending)
	}
	bad := 0
	for _, p := range so.Partitions {
		bad += p.Bad
	}
	line := progressLine{where: post.MinerName(so.Miner), what: fmt.Sprintf("%d of %s looked at, %s cannot be proven", len(so.Partitions), post.Count(so.Of, "partition"), post.Count(bad, "sector"))}
	for _, a := range pending {
		var beat post.CheckProgress
		if a.GetActivityType().GetName() == workflows.ActivityCheckSectors && workers.BeatOf(a, &beat) {
			line.seconds = fmt.Sprintf("(deadline %d partition %d: %d of %d, %d bad)", beat.Deadline, beat.Partition, beat.Done, beat.Of, beat.Bad)
		}
	}
	return append([]progressLine{line}, triedAgain(pending)...)
}

// printCheckup is a checkup for people: whatever is not as it should be, and the sums.
func printCheckup(out io.Writer, c post.Checkup) {
	colours := colourful(out)
	var good, bad, sectors int
	t := newTable(out)
	t.AppendHeader(table.Row{"Deadline", "Partition", "Sectors", "Good", "Bad", "Bad, not known", "Faulty", "Recovering", "Mended"})
	for _, p := range c.Partitions {
		good, bad, sectors = good+p.Good, bad+p.Bad, sectors+p.Sectors
		news := ""
		if p.News > 0 {
			news = paint(fmt.Sprint(p.News), text.FgHiRed, colours)
		}
		t.AppendRow(table.Row{p.Deadline, p.Partition, p.Sectors, p.Good, p.Bad, news, some(p.Faulty), some(p.Recovering), p.Mended})
	}
	t.SuppressEmptyColumns()
	if len(c.Partitions) > 0 {
		t.Render()
	}
	for _, p := range c.Partitions {
		printFindings(out, p)
	}
	if c.Cut {
		fmt.Fprintln(out, "There is too much to name it all: check one deadline at a time.")
	}
	how, where := "their files were looked at", "a daemon"
	if c.Strict {
		how = "a vanilla proof of each was made"
	}
	if c.Worker != "" {
		where = "worker " + c.Worker
	}
	fmt.Fprintf(out, "%s of %s in %s: %d can be proven, %d cannot (%s, by %s, as of epoch %d).\n",
		post.Count(sectors, "sector"), post.MinerName(c.Miner), post.Count(len(c.Partitions), "partition"), good, bad, how, where, c.Head)
}

// some is a number where there is something to count.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// printFindings says what is wrong with a partition, and what to do.
func printFindings(out io.Writer, p post.CheckedPartition) {
	where := fmt.Sprintf("deadline %d partition %d", p.Deadline, p.Partition)
	if p.Unchecked != "" {
		fmt.Fprintf(out, "%s: could not be looked at: %s\n", where, p.Unchecked)
	}
	for _, f := range p.Findings {
		known := ""
		switch f.Chain {
		case post.ChainFaulty:
			known = " (the chain holds it faulty)"
		case post.ChainRecovering:
			known = " (declared recovered: the next post must cover it)"
		}
		store := ""
		if f.Store != "" {
			store = fmt.Sprintf(" in store %q", f.Store)
		}
		what := "sector"
		if len(f.Sectors) > 1 {
			what = "sectors"
		}
		fmt.Fprintf(out, "%s: %s %s%s%s: %s\n", where, what, post.FormatNumbers(f.Sectors), store, known, f.Reason)
	}
	if p.Undecided != "" {
		fmt.Fprintf(out, "%s: %s\n", where, p.Undecided)
	}
	if p.Mended != "" {
		fmt.Fprintf(out, "%s: sectors %s are faulty on the chain and would be provable; `posthaste proving recover` declares them recovered\n", where, p.Mended)
	}
}
