package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"posthaste/post"
	"posthaste/workers"
)

// watchAtLeast is how often --watch may look at most: each look costs the server about as much as a hundred Describes.
const watchAtLeast = 2 * time.Second

// newWdpostList shows jobs.
func newWdpostList(a *app) *cobra.Command {
	var all, detail, asJSON, watch bool
	var every time.Duration
	var filter jobFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the jobs that are not over, and those that failed",
		Long: "Show the jobs that are not over, and those that failed or were missed in the last 24 hours.\n\n" +
			"It asks Temporal and nobody else: no daemon has to run, and no posthaste.toml is needed (TEMPORAL_ADDRESS says where the server is).\n\n" +
			"ReadyToRun has not begun; Running is on a card; Succeed and Faults(n) (without n of its sectors) are proven, and what is in brackets\n" +
			"says how far they are to the chain; Failed is out of tries, and is tried again until Close unless configured otherwise; Missed was not\n" +
			"on the chain at Close. Left is epochs until Close.",
		Example: `  posthaste wdpost list
  posthaste wdpost list --miner f01000 --state Failed --detail
  posthaste wdpost list --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filter.query(cmd)
			if err != nil {
				return err
			}
			q.All = all
			if every < watchAtLeast {
				return fmt.Errorf("--interval %s: at least %s, for the server's sake", every, watchAtLeast)
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			show := jobsPrinter{out: a.stdout, detail: detail, asJSON: asJSON, q: q}
			if watch {
				return a.watchJobs(cmd.Context(), c, q, every, show)
			}
			list, err := c.jobs(cmd.Context(), q)
			if err != nil {
				return err
			}
			return show.print(list, time.Now())
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what is posted, as long as Temporal keeps it")
	cmd.Flags().BoolVar(&detail, "detail", false, "also the times, the queue, the card, the message and where it landed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list, a job an object; with --watch one list a line")
	cmd.Flags().BoolVar(&watch, "watch", false, "show them again and again, until Ctrl-C")
	cmd.Flags().DurationVar(&every, "interval", 10*time.Second, "how often --watch looks")
	filter.flags(cmd, a)
	return cmd
}

// watchJobs shows jobs again and again. A server that does not answer once it has begun is told, and asked again.
func (a *app) watchJobs(ctx context.Context, c *connection, q workers.JobQuery, every time.Duration, show jobsPrinter) error {
	reader := workers.NewJobReader(c)
	s := newScreen(a.stdout)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		limited, cancel := context.WithTimeout(ctx, lookLimit)
		list, err := reader.Read(limited, q)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return c.explain(err)
		case err != nil:
			fmt.Fprintf(a.stderr, "posthaste: %v; trying again\n", c.explain(err))
		default:
			if err := s.refresh(show, list, time.Now()); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh shows a list in the place of the one before on a terminal, and beneath it elsewhere.
func (s *screen) refresh(show jobsPrinter, list workers.JobList, now time.Time) error {
	if show.asJSON {
		return show.print(list, now)
	}
	var b strings.Builder
	show.out, show.colours = &b, colourful(s.out)
	fmt.Fprintln(&b, now.Local().Format(time.DateTime))
	if err := show.print(list, now); err != nil {
		return err
	}
	if !s.terminal {
		_, err := fmt.Fprintln(s.out, b.String())
		return err
	}
	columns, rows := s.size()
	_, err := fmt.Fprint(s.out, "\x1b[H\x1b[2J"+fitting(b.String(), columns, rows))
	return err
}

// fitting cuts a text to a screen, so that its beginning stays in sight. A size of 0 is not known, and nothing is cut.
func fitting(s string, columns, rows int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if columns > 0 {
		for i, line := range lines {
			lines[i] = text.Trim(line, columns)
		}
	}
	if rows > 2 && len(lines) > rows-1 {
		left := len(lines) - (rows - 2)
		lines = append(lines[:rows-2], fmt.Sprintf("… and %s more; narrow it with --miner, --deadline or --state", post.Count(left, "line")))
	}
	return strings.Join(lines, "\n") + "\n"
}

// jobsPrinter prints lists of jobs.
type jobsPrinter struct {
	out     io.Writer
	detail  bool
	asJSON  bool
	colours bool
	q       workers.JobQuery
}

func (p jobsPrinter) print(list workers.JobList, now time.Time) error {
	jobs := byUrgency(list.Jobs)
	if p.asJSON {
		return printJSON(p.out, jobs)
	}
	p.colours = p.colours || colourful(p.out)
	if len(jobs) == 0 {
		fmt.Fprintln(p.out, p.nothing(list))
		return nil
	}
	t := newTable(p.out)
	compact(t)
	var errs footnotes
	if p.detail {
		p.detailed(t, jobs, now, &errs)
	} else {
		p.brief(t, jobs, now, &errs)
	}
	t.SuppressEmptyColumns()
	t.Render()
	errs.print(p.out)
	fmt.Fprintln(p.out, summary(list, now))
	return nil
}

// nothing says why the list is empty, for somebody who expected jobs.
func (p jobsPrinter) nothing(list workers.JobList) string {
	switch {
	case p.q.Miner != nil && list.Miners[*p.q.Miner].WorkflowID == "" && len(list.Miners) > 0:
		return fmt.Sprintf("No job of %s: this miner is not watched. `posthaste status` shows those that are.", post.MinerName(*p.q.Miner))
	case p.q.Miner != nil || p.q.Deadline != nil || p.q.State != "":
		return "No such job."
	case p.q.All:
		return "No job is known."
	}
	return "No job is under way, and none has failed in the last 24 hours. --all shows those that are posted."
}

func (p jobsPrinter) brief(t table.Writer, jobs []workers.Job, now time.Time, errs *footnotes) {
	t.AppendHeader(table.Row{"JobID", "MinerID", "DDL", "Partitions", "Sectors", "Worker", "State", "Try", "CreateAt", "Elapsed", "Heartbeat", "Left", "Error"})
	for _, j := range jobs {
		t.AppendRow(table.Row{j.ID, j.Miner, j.Deadline.Index, partitionText(j), sectorsText(j), j.Worker, p.state(j), tryText(j), timeText(j.Created, now), elapsedText(j),
			ago(j.Heartbeat, now), leftText(j), errs.of(errorText(j))})
	}
	t.SetColumnConfigs(rightAligned("DDL", "Partitions", "Sectors", "Left"))
}

func (p jobsPrinter) detailed(t table.Writer, jobs []workers.Job, now time.Time, errs *footnotes) {
	t.AppendHeader(table.Row{"JobID", "Sectors", "Card", "State", "Phase", "Try", "CreateAt", "StartedAt", "HeartbeatAt", "FinishedAt", "UpdatedAt", "Elapsed", "Left", "Queue", "Message",
		"Landed", "Error"})
	for _, j := range jobs {
		landed := any("")
		if j.Landed != 0 {
			landed = j.Landed
		}
		t.AppendRow(table.Row{j.ID, sectorsText(j), cmp.Or(j.Card, j.Worker), p.state(j), phaseText(j), tryText(j), stamp(j.Created), stamp(j.Started), stamp(j.Heartbeat), stamp(j.Finished),
			stamp(j.Updated), elapsedText(j), leftText(j), j.Queue, j.Message, landed, errs.of(errorText(j))})
	}
	t.SetColumnConfigs(rightAligned("Sectors", "Left", "Landed"))
}

func rightAligned(names ...string) (configs []table.ColumnConfig) {
	for _, name := range names {
		configs = append(configs, table.ColumnConfig{Name: name, Align: text.AlignRight})
	}
	return configs
}

// byUrgency puts what can still get onto the chain first, the earliest Close first, and then what is over, the latest first.
func byUrgency(jobs []workers.Job) []workers.Job {
	jobs = slices.Clone(jobs)
	over := func(j workers.Job) int {
		if j.Stage.Final() || !j.Open() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(jobs, func(a, b workers.Job) int {
		byClose := cmp.Compare(a.Deadline.Close, b.Deadline.Close)
		if over(a) == 1 {
			byClose = -byClose
		}
		return cmp.Or(cmp.Compare(over(a), over(b)), byClose, cmp.Compare(a.WorkflowID, b.WorkflowID), cmp.Compare(a.ID.Partition, b.ID.Partition))
	})
	if jobs == nil {
		jobs = []workers.Job{} // an empty list, and not null, for programs
	}
	return jobs
}

// state is the state with the stage where that says more.
func (p jobsPrinter) state(j workers.Job) string {
	cell := paint(j.State, jobColours[strings.TrimRight(j.State, "(0123456789)")], p.colours)
	switch {
	case string(j.Stage) == j.State, j.Stage == post.StateProving, j.Stage == post.StateWaiting && j.Status == "Running":
		return cell
	}
	return cell + " (" + string(j.Stage) + ")"
}

// jobColours of states on a terminal: red needs somebody.
var jobColours = map[string]text.Color{
	workers.JobRunning: text.FgCyan, workers.JobSucceed: text.FgGreen, workers.JobFaults: text.FgYellow, workers.JobFailed: text.FgHiRed, workers.JobMissed: text.FgHiRed,
}

func partitionText(j workers.Job) string {
	if j.ID.Whole {
		return ""
	}
	return strconv.FormatUint(j.ID.Partition, 10)
}

func sectorsText(j workers.Job) string {
	if j.ID.Whole {
		return ""
	}
	return strconv.Itoa(j.Sectors)
}

// tryText is the try, with a word when none is left.
func tryText(j workers.Job) string {
	if j.ID.Whole {
		return ""
	}
	s := strconv.Itoa(j.Try)
	if j.OutOfTries() {
		s += "(Max)"
	}
	return s
}

// elapsedText is how long a card has worked on it, or did.
func elapsedText(j workers.Job) string {
	if j.Elapsed == 0 {
		return "-"
	}
	s := time.Duration(j.Elapsed * float64(time.Second)).Round(time.Second).String()
	if j.State != workers.JobRunning {
		s += "(done)"
	}
	return s
}

// leftText is the epochs until Close; "-" is not known.
func leftText(j workers.Job) string {
	switch {
	case j.EpochsLeft == nil:
		return "-"
	case *j.EpochsLeft <= 0:
		return "closed"
	}
	return strconv.FormatInt(*j.EpochsLeft, 10)
}

// phaseText is what a card does now.
func phaseText(j workers.Job) string {
	if j.Of > 0 && j.Phase == post.PhaseVanilla {
		return fmt.Sprintf("%s %d/%d", j.Phase, j.Done, j.Of)
	}
	return string(j.Phase)
}

// timeText is a time in a narrow column.
func timeText(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(t, now)
}

// stamp is a time as damocles's lists have it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("01-02 15:04:05")
}

// errorText is what is wrong, or what is waited for.
func errorText(j workers.Job) string {
	if j.Waits != "" {
		return "waiting: " + j.Waits
	}
	return j.Error
}

// summary counts the jobs by state.
func summary(list workers.JobList, now time.Time) string {
	counts := map[string]int{}
	for _, j := range list.Jobs {
		state, _, _ := strings.Cut(j.State, "(")
		counts[state]++
	}
	var parts []string
	for _, state := range workers.JobStates {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	head := "the chain's head is not known: no daemon has watched a miner yet"
	if list.Head.Known() {
		head = fmt.Sprintf("the chain is at epoch %d", list.Head.When(now))
		if silent := now.Sub(list.Head.At); silent > silentWatch {
			head += fmt.Sprintf(", as reckoned from what a daemon saw %s", ago(list.Head.At, now))
		}
	}
	return fmt.Sprintf("%s: %s; %s", post.Count(len(list.Jobs), "job"), strings.Join(parts, ", "), head)
}

// silentWatch is after how long without a word from the miners' watching somebody should know that the daemons are silent.
const silentWatch = time.Minute
