package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"posthaste/testsuite/lotus"
	"posthaste/testsuite/lotus/period"
	"posthaste/testsuite/rig"
)

// turnsSectors are two partitions of two in nearly every deadline.
const turnsSectors = 192

// poster is one of the two that take turns, as the chain's report names them.
type poster string

const (
	ours   poster = "posthaste"
	theirs poster = "lotus"
)

// turn is one deadline of one of them, when it is over.
type turn struct {
	poster     poster
	partitions int
	posted     int
	epochs     int64         // from the challenge to the epoch in which the last of its partitions landed
	took       time.Duration // between the node's heads that were there
}

// turnsReport is what the chain says beside the period's report.
type turnsReport struct {
	Deadlines []turnsDeadline    `json:"deadlines"`
	RPC       map[poster]traffic `json:"rpc"`
}

// turnsDeadline is one deadline of the report.
type turnsDeadline struct {
	Poster     poster `json:"poster"`
	Challenge  int64  `json:"challenge"`
	Closed     bool   `json:"closed"`
	Partitions []struct {
		Posted      bool    `json:"posted"`
		LandedEpoch int64   `json:"landed_epoch"`
		Seconds     float64 `json:"seconds"` // from the challenge being known to the head that holds the post
	} `json:"partitions"`
}

// traffic is what a poster asked of the node.
type traffic struct {
	Calls    int64 `json:"calls"`
	Sent     int64 `json:"bytes_sent"`
	Received int64 `json:"bytes_received"`
}

// measureTurns has posthaste and Lotus's own poster prove the deadlines of one chain in turns, on one node and in one run, and
// says how long each took.
func measureTurns(ctx context.Context, dir string, deadlines int, epoch time.Duration) ([]figure, error) {
	r, err := rig.Open(ctx, dir, rig.Options{Program: lotus.Program, Chain: []string{"--turns", "--sectors", fmt.Sprint(turnsSectors), "--epoch", epoch.String()}})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var before *turnsReport
	for {
		var report turnsReport
		if err := r.ReadReport(ctx, &report); err != nil {
			return nil, err
		}
		if before == nil && len(report.Deadlines) > 0 { // what programs ask once, when they start, is no deadline's
			before = &report
		}
		turns := report.turns()
		if len(turns) >= deadlines {
			var whole period.Report
			if err := r.ReadReport(ctx, &whole); err != nil {
				return nil, err
			}
			return append(compared(turns, before.RPC, report.RPC), figure{
				name: "turns, disputes not refused", value: float64(whole.Disputes.Tried - whole.Disputes.Refused), unit: "disputes", none: true,
			}), nil
		}
		if err := r.Died(); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("waiting for deadlines to close: %d of %d have: %w", len(turns), deadlines, err)
		}
	}
}

// turns are the deadlines that are over.
func (r turnsReport) turns() []turn {
	var out []turn
	for _, d := range r.Deadlines {
		if !d.Closed {
			continue
		}
		t := turn{poster: d.Poster, partitions: len(d.Partitions)}
		for _, p := range d.Partitions {
			if p.Posted {
				t.posted++
				t.epochs = max(t.epochs, p.LandedEpoch-d.Challenge)
				t.took = max(t.took, time.Duration(p.Seconds*float64(time.Second)))
			}
		}
		out = append(out, t)
	}
	return out
}

// side is what one poster did.
type side struct {
	deadlines, missed int
	epochs, took      []time.Duration // epochs as nanoseconds: percentile takes durations
}

// compared makes figures of turns, and of what was asked before the first and after the last. Ours is to be not later than Lotus's.
func compared(turns []turn, before, after map[poster]traffic) []figure {
	sides := map[poster]*side{ours: {}, theirs: {}}
	for _, t := range turns {
		s := sides[t.poster]
		if s == nil {
			continue
		}
		s.deadlines++
		s.missed += t.partitions - t.posted
		if t.posted == t.partitions {
			s.epochs, s.took = append(s.epochs, time.Duration(t.epochs)), append(s.took, t.took)
		}
	}
	var figures []figure
	both := func(what, unit string, value func(poster) float64, goal func(*figure)) {
		for _, p := range []poster{theirs, ours} {
			f := figure{name: fmt.Sprintf("turns, %s, %s", p, what), value: value(p), unit: unit}
			if p == ours && goal != nil {
				goal(&f)
			}
			figures = append(figures, f)
		}
	}
	notLater := func(value func(poster) float64) func(*figure) {
		return func(f *figure) { f.most = value(theirs) }
	}
	both("deadlines", "deadlines", func(p poster) float64 { return float64(sides[p].deadlines) }, nil)
	both("partitions missed", "partitions", func(p poster) float64 { return float64(sides[p].missed) }, func(f *figure) { f.none = true })
	for _, at := range []struct {
		name string
		rank float64
	}{{"p50", 50}, {"worst", 100}} {
		epochs := func(p poster) float64 { return float64(percentile(sides[p].epochs, at.rank)) }
		both("challenge to landed "+at.name, "epochs", epochs, notLater(epochs))
		seconds := func(p poster) float64 { return tenths(percentile(sides[p].took, at.rank)) }
		both("challenge to landed "+at.name, "s", seconds, notLater(seconds))
	}
	each := func(total func(traffic) int64) func(poster) float64 {
		return func(p poster) float64 {
			return float64(total(after[p])-total(before[p])) / float64(max(sides[p].deadlines, 1))
		}
	}
	both("calls to the node per deadline", "calls", each(func(t traffic) int64 { return t.Calls }), nil)
	both("bytes to and from the node per deadline", "bytes", each(func(t traffic) int64 { return t.Sent + t.Received }), nil)
	return figures
}

// tenths are seconds as they are shown: what looks the same is the same.
func tenths(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }
