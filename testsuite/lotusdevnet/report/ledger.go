package report

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Key names one miner's deadline in one proving period.
type Key struct {
	Miner       string
	PeriodStart int64
	Index       uint64
}

// Window is a deadline as it opens.
type Window struct {
	Key
	Poster                 string // who it is left to
	Challenge, Open, Close int64
	Live                   map[uint64]uint64 // partition → live sectors; partitions without any are left out
}

// Post is a SubmitWindowedPoSt message that was executed.
type Post struct {
	Miner       string
	Deadline    uint64
	CommitEpoch int64 // ChainCommitEpoch of its parameters: tells the proving period that it meant
	Landed      int64 // epoch of the tipset that holds it
	Sender      string
	Nonce       uint64
	Message     string // CID
	OK          bool   // exit code 0
	Skipped     map[uint64][]uint64
	Partitions  []uint64
}

// Dispute is the trial of one proof that the actor keeps for disputes.
type Dispute struct {
	Message    string // CID of the dispute; empty if it could not be sent, which is an answer that verifies nothing
	Partitions []uint64
	// ForValidity says that a call of the same message, before it was sent, was refused because the post is valid, and
	// not for another reason (a wrong index would be refused with the same exit code).
	ForValidity bool

	answer *answer
}

// answer is what the chain said to a dispute.
type answer struct {
	landed  int64
	refused bool
}

type entry struct {
	window   Window
	posts    []Post
	disputes []Dispute
	faulty   map[uint64]uint64
	settled  bool
	executed int64 // the height up to which the chain had been executed when it was settled
}

// Ledger collects what happens on the chain. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	epoch    int64
	entries  []*entry
	orphans  []Post // of deadlines that are not listed: they count as messages only
	power    Power
	faults   uint64
	baseFee  string
	nulls    []int64
	seen     map[int64]time.Time // when the head first reached an epoch
	newest   int64
	reorgs   []Reorg
	executed []Executed
	answers  map[string]answer // of dispute messages, also of those whose receipts come before the dispute is recorded
}

// NewLedger returns an empty account.
func NewLedger() *Ledger { return &Ledger{answers: map[string]answer{}, seen: map[int64]time.Time{}} }

// Opened records a deadline; a second time, or without live sectors, it does nothing.
func (l *Ledger) Opened(w Window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(w.Live) == 0 || l.find(w.Key) != nil {
		return
	}
	l.entries = append(l.entries, &entry{window: w})
}

// Knows tells whether the deadline is recorded.
func (l *Ledger) Knows(k Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(k) != nil
}

// Executed is any message to a miner that was executed.
type Executed struct {
	Landed     int64 // epoch of the tipset that holds it
	Method     string
	ExitCode   int64
	Recoveries []Recovery // that it declared, if it was a declaration with exit code 0
}

// Grew records a tipset and the epoch of the one before it: those in between have no block.
func (l *Ledger) Grew(parent, epoch int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := parent + 1; e < epoch; e++ {
		l.nulls = append(l.nulls, e)
	}
}

// Saw records when the head reached an epoch, a null round with it. It counts from the first time on.
func (l *Ledger) Saw(epoch int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; epoch > l.newest; l.newest++ {
		l.seen[l.newest+1] = at
	}
}

// between is the time in seconds between the first sights of two epochs; 0 if one was not seen, which is before the start.
func (l *Ledger) between(from, to int64) float64 {
	a, b := l.seen[from], l.seen[to]
	if a.IsZero() || b.IsZero() {
		return 0
	}
	return b.Sub(a).Seconds()
}

// Reorged records a change of the chain.
func (l *Ledger) Reorged(r Reorg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reorgs = append(l.reorgs, r)
}

// Executed records any message to a miner. A post and a dispute's answer are recorded beside this.
func (l *Ledger) Executed(e Executed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.executed = append(l.executed, e)
}

// Landed records an executed post.
func (l *Ledger) Landed(p Post) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		w := e.window
		if w.Miner == p.Miner && w.Index == p.Deadline && w.Challenge <= p.CommitEpoch && p.CommitEpoch < w.Close {
			e.posts = append(e.posts, p)
			return
		}
	}
	l.orphans = append(l.orphans, p)
}

// Reverted forgets what was executed at this height and above, and null rounds after it: messages, posts, answers to disputes,
// and how deadlines ended, which are then due again.
func (l *Ledger) Reverted(height int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	undone := func(p Post) bool { return p.Landed >= height }
	l.orphans = slices.DeleteFunc(l.orphans, undone)
	l.executed = slices.DeleteFunc(l.executed, func(e Executed) bool { return e.Landed >= height })
	l.nulls = slices.DeleteFunc(l.nulls, func(e int64) bool { return e > height })
	maps.DeleteFunc(l.answers, func(_ string, a answer) bool { return a.landed >= height })
	for _, e := range l.entries {
		e.posts = slices.DeleteFunc(e.posts, undone)
		if e.settled && e.executed >= height {
			e.settled, e.faulty, e.disputes = false, nil, nil
		}
	}
}

// Due lists the deadlines that ended at or before the executed height and are not settled yet, oldest first.
func (l *Ledger) Due(executed int64) []Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []Key
	for _, e := range l.entries {
		if !e.settled && e.window.Close <= executed {
			keys = append(keys, e.window.Key)
		}
	}
	return keys
}

// Settled records how a deadline ended, on a chain executed up to a height: its faulty sectors by partition, and the
// disputes that were sent of its posts.
func (l *Ledger) Settled(k Key, executed int64, faulty map[uint64]uint64, disputes []Dispute) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.find(k); e != nil {
		e.settled, e.executed, e.faulty, e.disputes = true, executed, faulty, disputes
	}
}

// Answered records that a dispute message was executed at a height.
func (l *Ledger) Answered(message string, landed int64, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[message] = answer{landed, refused}
}

// At records the head, its base fee, and what the miners have there. The first power that comes is the one at the start.
func (l *Ledger) At(epoch int64, baseFee, raw, quality string, faults uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.power.Start == "" {
		l.power.Start, l.power.QualityStart = raw, quality
	}
	l.baseFee = baseFee
	l.epoch, l.power.Now, l.power.QualityNow, l.faults = epoch, raw, quality, faults
}

// Report returns the account as it stands, deadlines by the epoch of their opening.
func (l *Ledger) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{
		Epoch: l.epoch, Deadlines: []Deadline{}, Power: l.power, Faults: l.faults, BaseFee: l.baseFee,
		NullRounds: append([]int64{}, l.nulls...), Reorgs: append([]Reorg{}, l.reorgs...), Recoveries: []Recovery{},
	}
	r.Messages.Methods = methods(l.executed)
	for _, e := range l.executed {
		r.Recoveries = append(r.Recoveries, e.Recoveries...)
	}
	r.Messages.count(l.orphans)
	for _, e := range l.entries {
		e.answer(l.answers)
		r.Deadlines = append(r.Deadlines, l.deadline(e))
		r.Messages.count(e.posts)
		r.Messages.SentTwice += e.sentTwice()
		for _, d := range e.disputes {
			r.Disputes.Tried++
			if d.refused() {
				r.Disputes.Refused++
			}
		}
	}
	slices.SortStableFunc(r.Deadlines, func(a, b Deadline) int {
		return cmp.Or(cmp.Compare(a.Open, b.Open), cmp.Compare(a.Miner, b.Miner))
	})
	return r
}

func (l *Ledger) find(k Key) *entry {
	for _, e := range l.entries {
		if e.window.Key == k {
			return e
		}
	}
	return nil
}

func (m *Messages) count(posts []Post) {
	for _, p := range posts {
		m.Posts++
		if !p.OK {
			m.Failed++
		}
	}
}

// methods counts messages by method and exit code, in this order.
func methods(executed []Executed) []Method {
	list := []Method{}
	for _, e := range executed {
		i := slices.IndexFunc(list, func(m Method) bool { return m.Name == e.Method && m.ExitCode == e.ExitCode })
		if i < 0 {
			i, list = len(list), append(list, Method{Name: e.Method, ExitCode: e.ExitCode})
		}
		list[i].Count++
	}
	slices.SortFunc(list, func(a, b Method) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ExitCode, b.ExitCode))
	})
	return list
}

func (l *Ledger) deadline(e *entry) Deadline {
	w := e.window
	d := Deadline{Miner: w.Miner, PeriodStart: w.PeriodStart, Index: w.Index, Poster: w.Poster, Challenge: w.Challenge, Open: w.Open, Close: w.Close, Closed: e.closed()}
	for index, live := range w.Live {
		p := e.partition(index, live)
		if p.Posted {
			p.Seconds = l.between(w.Challenge, p.LandedEpoch)
		}
		d.Partitions = append(d.Partitions, p)
	}
	slices.SortFunc(d.Partitions, func(a, b Partition) int { return cmp.Compare(a.Index, b.Index) })
	return d
}

// answer notes what the chain says to the disputes now.
func (e *entry) answer(answers map[string]answer) {
	for i := range e.disputes {
		d := &e.disputes[i]
		d.answer = nil
		if a, ok := answers[d.Message]; ok {
			d.answer = &a
		}
	}
}

// answered tells whether nothing more will come of the dispute.
func (d Dispute) answered() bool { return d.answer != nil || d.Message == "" }

func (d Dispute) refused() bool { return d.answer != nil && d.answer.refused }

func (e *entry) closed() bool {
	return e.settled && !slices.ContainsFunc(e.disputes, func(d Dispute) bool { return !d.answered() })
}

func (e *entry) partition(index, live uint64) Partition {
	p := Partition{Index: index, Sectors: live, Skipped: []uint64{}, FaultyAfter: e.faulty[index]}
	for _, post := range e.posts {
		if post.OK && slices.Contains(post.Partitions, index) {
			p.Posted, p.LandedEpoch, p.Message = true, post.Landed, post.Message
			p.Skipped = append(p.Skipped, post.Skipped[index]...)
			break // the actor takes a partition once a period
		}
	}
	p.Verified = p.Posted && e.closed() && e.stands(index)
	return p
}

// stands tells whether no proof of the partition is open to doubt. An accepted post of which the actor keeps no proof
// was verified by the actor when it landed.
func (e *entry) stands(partition uint64) bool {
	for _, d := range e.disputes {
		if slices.Contains(d.Partitions, partition) && !(d.refused() && d.ForValidity) {
			return false
		}
	}
	return true
}

func (e *entry) sentTwice() int {
	type origin struct {
		sender string
		nonce  uint64
	}
	origins := map[uint64]map[origin]bool{}
	for _, p := range e.posts {
		for _, index := range p.Partitions {
			if origins[index] == nil {
				origins[index] = map[origin]bool{}
			}
			origins[index][origin{p.Sender, p.Nonce}] = true
		}
	}
	twice := 0
	for _, o := range origins {
		if len(o) > 1 {
			twice++
		}
	}
	return twice
}
