package post

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// open judges a deadline whose workflow runs.
func (j *judge) open(d OpenDeadline) {
	id := d.Deadline.JobIDs().String()
	if missed := d.In(StateMissed); len(missed) > 0 {
		j.missed(d.Result, missed, j.At)
	}
	j.outOfTries(d)
	j.skipped(d.Result, true, j.At)
	if j.Epoch == 0 || j.Epoch >= d.Deadline.Close {
		return // the rest is about time
	}
	if unbegun, gone := d.Unbegun(), d.TimeGone(j.Epoch); len(unbegun) > 0 && gone >= j.limits.ProofLate {
		a := of(d.Deadline).with(
			j.wake(d, unbegun), waits(d, unbegun),
			"no card has begun %s, and %.0f %% of the time for proving is gone (until epoch %d, now %d)", partitions(unbegun), 100*gone, d.ProveBy(), j.Epoch)
		a.Hold = j.limits.Hold // a job that changes hands has no card for some seconds
		j.add(AlertProofLate, id, Critical, a)
	}
	if gone := d.TimeGone(j.Epoch); d.Unloaded() && gone >= j.limits.ProofLate {
		a := of(d.Deadline).with(
			fmt.Sprintf("`temporal workflow describe --workflow-id %s` shows what it waits for; mend the node (`lotus sync status`), or give the daemons another one", d.WorkflowID), d.Reason,
			"it has not been read from the chain, and %.0f %% of the time for proving is gone (until epoch %d, now %d)", 100*gone, d.ProveBy(), j.Epoch)
		a.Hold = j.limits.Hold
		j.add(AlertProofLate, id, Critical, a)
	}
	if d.Forecast > 0 && d.Forecast > d.Left {
		a := of(d.Deadline).with(
			"give it more cards: `posthaste worker run` on another machine, `posthaste worker resume NAME` where one is paused; `posthaste worker list` shows them",
			"By how long proofs of this sector size took lately, and what waits before them.",
			"its proofs will take %s more, and there is time for %s", rounded(d.Forecast), rounded(max(d.Left, 0)))
		a.Hold = j.limits.Hold
		j.add(AlertForecastBeyondClose, id, Critical, a)
	}
	if sending, since := d.Sending(j.Epoch); len(sending) > 0 && since > j.limits.MessageEpochs {
		j.add(AlertMessageNotLanding, id, Critical, of(d.Deadline).with(
			"look at the sender's balance and pool: `lotus mpool pending --local`, `lotus wallet list`; fill its wallet, or mend the node; the message is sent on by itself",
			reasons(d.Result, sending),
			"the post of %s was asked for %s ago and has not landed (Close in %s)", partitions(sending), epochs(since), epochs(d.Deadline.Close-j.Epoch)))
	}
}

// outOfTries judges jobs that have failed too often. One that goes on after that, because retry_until_close, is still told.
func (j *judge) outOfTries(d OpenDeadline) {
	var failed []uint64
	for _, p := range d.Partitions {
		again := p.State == StateProving && d.Settings.MaxTry > 0 && p.Tries > d.Settings.MaxTry
		if p.State == StateFailed || again {
			failed = append(failed, p.Index)
		}
	}
	if len(failed) == 0 {
		return
	}
	id := d.Deadline.JobIDs()
	if len(failed) == 1 {
		id = d.Deadline.JobID(failed[0])
	}
	j.add(AlertJobFailed, d.Deadline.JobIDs().String(), Critical, of(d.Deadline).with(
		fmt.Sprintf("`posthaste wdpost show %s` says why; when that is mended: `posthaste wdpost reset %s`", id, id),
		reasons(d.Result, failed), "%s failed after the last try (Close is epoch %d)", partitions(failed), d.Deadline.Close))
}

// skipped judges sectors that a deadline's posts leave out. from is since when it is kept.
func (j *judge) skipped(r Result, running bool, from time.Time) {
	n := r.CountSkipped()
	if n == 0 {
		return
	}
	id := r.Deadline.JobIDs()
	mend := fmt.Sprintf("`posthaste wdpost show %s` names them and says why; put them back, then `posthaste proving recover --miner %s` declares them recovered", id, MinerName(r.Deadline.Miner))
	if running {
		mend = fmt.Sprintf("`posthaste wdpost show %s` names them and says why; put them back, then `posthaste wdpost reset %s` while they are being proven; later they are declared recovered by themselves", id, id)
	}
	var where []uint64
	var why []string
	for _, p := range r.Partitions {
		if p.CountSkipped() == 0 {
			continue
		}
		where = append(where, p.Index)
		for _, s := range p.Skipped {
			why = append(why, fmt.Sprintf("sector %d: %s", s.Sector, s.Reason))
		}
	}
	verb := map[bool]string{true: "is", false: "are"}[n == 1]
	a := of(r.Deadline).with(mend, strings.Join(why, "; "), "%s %s left out of the post of %s", Count(n, "sector"), verb, partitions(where))
	a.Until = from.Add(j.limits.Keep)
	j.add(AlertSectorsSkipped, id.String(), Warning, a)
}

// missed judges partitions that were not on the chain at Close.
func (j *judge) missed(r Result, which []uint64, from time.Time) {
	what := "the deadline was"
	if len(which) > 0 {
		what = map[bool]string{true: partitions(which) + " was", false: partitions(which) + " were"}[len(which) == 1]
	}
	details := reasons(r, which)
	if r.Reason != "" {
		details = strings.TrimPrefix(details+"; "+r.Reason, "; ")
	}
	id := r.Deadline.JobIDs().String()
	a := of(r.Deadline).with(
		fmt.Sprintf("`posthaste wdpost show %s` says why; mend that. The sectors are declared recovered by themselves, or at once by `posthaste proving recover --miner %s`", id, MinerName(r.Deadline.Miner)),
		details, "%s missed: not on the chain when it closed at epoch %d", what, r.Deadline.Close)
	a.Until = from.Add(j.limits.Keep)
	j.add(AlertPartitionMissed, id, Critical, a)
}

// latest gives, of the runs of each deadline's workflow, the one that ended last.
func latest(closed []ClosedDeadline) []ClosedDeadline {
	var last []ClosedDeadline
	at := map[string]int{} // of each workflow's run in last
	for _, d := range closed {
		i, known := at[d.WorkflowID]
		switch {
		case !known:
			at[d.WorkflowID] = len(last)
			last = append(last, d)
		case d.ClosedAt.After(last[i].ClosedAt):
			last[i] = d
		}
	}
	return last
}

// completed is Temporal's status of a deadline that was not missed.
const completed = "Completed"

// closed judges a deadline whose workflow has ended. One that runs again is judged by that.
func (j *judge) closed(d ClosedDeadline) {
	if j.running[d.WorkflowID] || j.At.Sub(d.ClosedAt) >= j.limits.Keep {
		return
	}
	if which, missed := d.Missed(j.Epoch); missed {
		if !d.saysMissed() {
			d.Reason = strings.TrimPrefix(d.Reason+"; its workflow was "+strings.ToLower(d.Status), "; ")
		}
		j.missed(d.Result, which, d.ClosedAt)
	}
	j.skipped(d.Result, false, d.ClosedAt)
}

// Missed says whether a deadline whose workflow has ended was missed, as seen at an epoch, and which partitions; none: they were never known.
// One that somebody ended, and that was not issued again before Close, is missed but for what has landed.
func (d ClosedDeadline) Missed(epoch abi.ChainEpoch) (which []uint64, missed bool) {
	if d.saysMissed() {
		return d.In(StateMissed), true
	}
	if d.Status == completed || d.Deadline.Close == 0 || epoch < d.Deadline.Close {
		return nil, false
	}
	which = d.unfinished()
	return which, len(which) > 0 || len(d.Partitions) == 0
}

// saysMissed is whether its own workflow gave it up.
func (d ClosedDeadline) saysMissed() bool {
	return d.State == StateMissed || len(d.In(StateMissed)) > 0
}

// unfinished are the partitions that have not landed.
func (r Result) unfinished() []uint64 {
	var left []uint64
	for _, p := range r.Partitions {
		if p.State != StateLanded && p.State != StatePosted && p.State != StateNothing {
			left = append(left, p.Index)
		}
	}
	return left
}

// reasons says why some partitions are as they are, the same reason once.
func reasons(r Result, which []uint64) string {
	var said []string
	for _, p := range r.Partitions {
		if p.Reason != "" && slices.Contains(which, p.Index) && !slices.Contains(said, p.Reason) {
			said = append(said, p.Reason)
		}
	}
	return strings.Join(said, "; ")
}

// waits says what partitions wait for, the same once.
func waits(d OpenDeadline, which []uint64) string {
	var said []string
	for _, p := range d.Partitions {
		what := p.Waits
		if what == "" && p.Queue != "" {
			what = "waits for a card on " + p.Queue
		}
		if what == "" {
			what = p.Reason
		}
		if what != "" && slices.Contains(which, p.Index) && !slices.Contains(said, what) {
			said = append(said, what)
		}
	}
	return strings.Join(said, "; ")
}

// rounded is a duration as people read it.
func rounded(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}
