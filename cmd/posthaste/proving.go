package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/spf13/cobra"
	workflowpb "go.temporal.io/api/workflow/v1"

	"posthaste/post"
	"posthaste/workflows"
)

// newProving holds the commands that try out what a fleet can prove.
func newProving(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proving",
		Short: "Try out what can be proven, and declare faulty sectors recovered",
	}
	cmd.AddCommand(newProvingCompute(a), newProvingCheck(a), newProvingRecover(a))
	return cmd
}

// whatToProve are the flags that name a miner, a deadline and partitions.
type whatToProve struct {
	miner    string
	deadline uint64
}

func (w *whatToProve) flags(cmd *cobra.Command, a *app, deadline string) {
	w.minerFlag(cmd, a)
	cmd.Flags().Uint64Var(&w.deadline, "deadline", 0, deadline)
}

func (w *whatToProve) minerFlag(cmd *cobra.Command, a *app) {
	cmd.Flags().StringVar(&w.miner, "miner", "", "the miner `actor`, such as f01000")
	_ = cmd.MarkFlagRequired("miner") // it is there, one line above
	completeFlag(cmd, "miner", a.completeMiners())
}

func (w *whatToProve) id() (abi.ActorID, error) {
	id, err := post.ParseMiner(w.miner)
	if err != nil {
		return 0, fmt.Errorf("--miner: %w", err)
	}
	return id, nil
}

// randomName is a few letters that make a workflow's ID its own.
func randomName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// progress shows some lines that change, and where: redrawn in place on a terminal, elsewhere each when it is another than before.
type progress struct {
	screen *screen
	said   map[string]string
}

func newProgress(out io.Writer) *progress {
	return &progress{screen: newScreen(out), said: map[string]string{}}
}

// progressLine is what goes on in one place. What changes all the time is shown on a terminal only.
type progressLine struct{ where, what, seconds string }

// triedAgain are the activities that have failed and are tried again: what holds a person up who waits.
func triedAgain(pending []*workflowpb.PendingActivityInfo) (lines []progressLine) {
	for _, a := range pending {
		name, last := a.GetActivityType().GetName(), a.GetLastFailure().GetMessage()
		if last == "" || name == workflows.ActivityGenerateWindowPoSt { // a proof's is told with its partition
			continue
		}
		lines = append(lines, progressLine{where: name, what: "failed, is tried again: " + last, seconds: fmt.Sprintf("(try %d)", a.GetAttempt())})
	}
	return lines
}

func (p *progress) show(lines []progressLine) {
	s := p.screen
	if !s.terminal {
		for _, l := range lines {
			if p.said[l.where] != l.what {
				p.said[l.where] = l.what
				fmt.Fprintf(s.out, "%s: %s\n", l.where, l.what)
			}
		}
		return
	}
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
	}
	width := s.width()
	for _, l := range lines {
		text := strings.TrimRight(fmt.Sprintf("%s: %s %s", l.where, l.what, l.seconds), " ")
		if runes := []rune(text); width > 1 && len(runes) >= width {
			text = string(runes[:width-1]) // a line that wraps would be two
		}
		fmt.Fprintln(s.out, text)
	}
	s.drawn = len(lines)
}
