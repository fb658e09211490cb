package devnet

import (
	"cmp"
	"slices"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
	"posthaste/post"
)

// Report is what the chain has to say about its miners' posts: the answer of GET /report.
type Report struct {
	Epoch     abi.ChainEpoch   `json:"epoch"`
	Deadlines []DeadlineReport `json:"deadlines"` // with a live sector, Open reached since the chain's start; oldest first
	Messages  MessageCounts    `json:"messages"`
	Disputes  DisputeCounts    `json:"disputes"` // none here: every proof is verified when its message lands

	Recoveries Recoveries `json:"recoveries"`
}

// DeadlineReport is one window of one deadline.
type DeadlineReport struct {
	Miner       string            `json:"miner"`
	PeriodStart abi.ChainEpoch    `json:"period_start"`
	Index       uint64            `json:"index"`
	Open        abi.ChainEpoch    `json:"open"`
	Close       abi.ChainEpoch    `json:"close"`
	Closed      bool              `json:"closed"`
	Partitions  []PartitionReport `json:"partitions"`
}

// PartitionReport is one partition in one window.
type PartitionReport struct {
	Index       uint64             `json:"index"`
	Sectors     int                `json:"sectors"` // live ones
	Posted      bool               `json:"posted"`
	Verified    bool               `json:"verified"` // by the real library
	Skipped     []abi.SectorNumber `json:"skipped"`
	FaultyAfter int                `json:"faulty_after"` // faulty sectors after Close; before it, as of now
	LandedEpoch abi.ChainEpoch     `json:"landed_epoch"`
	Message     string             `json:"message"`
	From        string             `json:"from"` // the message's sender
}

// MessageCounts counts SubmitWindowedPoSt messages in blocks.
type MessageCounts struct {
	Posts     int `json:"posts"`
	Failed    int `json:"failed"`
	SentTwice int `json:"sent_twice"` // partitions for which two messages are in blocks, or two nonces were used
}

// DisputeCounts counts disputes.
type DisputeCounts struct {
	Tried   int `json:"tried"`
	Refused int `json:"refused"`
}

// window names one deadline of one miner in one period; windowPartition one partition of it.
type window struct {
	miner abi.ActorID
	start abi.ChainEpoch
	index uint64
}
type windowPartition struct {
	window
	partition uint64
}

// sent is what was sent for one partition in one window.
type sent struct {
	nonces map[string]bool // sender and nonce
	landed map[cid.Cid]bool
}

// ledger collects the report while the chain goes on. The chain's lock guards it.
type ledger struct {
	cfg     Config
	epoch   abi.ChainEpoch
	windows map[window]*DeadlineReport
	order   []window
	sent    map[windowPartition]*sent
	counts  MessageCounts

	recoveries Recoveries
}

func newLedger(cfg Config) *ledger {
	return &ledger{cfg: cfg, epoch: cfg.StartEpoch, windows: map[window]*DeadlineReport{}, sent: map[windowPartition]*sent{}}
}

func (l *ledger) opened(m *minerState, di *dline.Info) {
	d := m.deadlines[di.Index]
	if !d.live() {
		return
	}
	r := &DeadlineReport{Miner: post.MinerName(m.id), PeriodStart: di.PeriodStart, Index: di.Index, Open: di.Open, Close: di.Close}
	for i, p := range d.partitions {
		r.Partitions = append(r.Partitions, PartitionReport{
			Index: uint64(i), Sectors: len(p.all), Skipped: []abi.SectorNumber{}, FaultyAfter: len(p.faulty),
		})
	}
	w := window{m.id, di.PeriodStart, di.Index}
	l.windows[w] = r
	l.order = append(l.order, w)
}

func (l *ledger) closed(m *minerState, di *dline.Info) {
	r, known := l.windows[window{m.id, di.PeriodStart, di.Index}]
	if !known { // was open at the chain's start
		return
	}
	r.Closed = true
	for i, p := range m.deadlines[di.Index].partitions {
		r.Partitions[i].FaultyAfter = len(p.faulty)
	}
}

// meant is which window a post's parameters speak of, whether or not it came in time: the one whose Challenge is the last
// at or before the commit epoch.
func (l *ledger) meant(m *minerState, raw []byte) (window, []uint64, bool) {
	params, err := chain.ParsePostParams(raw)
	if err != nil || m == nil || params.Deadline >= l.cfg.Deadlines {
		return window{}, nil, false
	}
	latestStart := params.ChainCommitEpoch + l.cfg.Lookback - abi.ChainEpoch(params.Deadline)*l.cfg.Window
	w := window{m.id, l.cfg.periodStart(m, latestStart), params.Deadline}
	var partitions []uint64
	for _, p := range params.Partitions {
		partitions = append(partitions, p.Index)
	}
	return w, partitions, true
}

func (l *ledger) sentFor(w window, partition uint64) *sent {
	key := windowPartition{w, partition}
	if l.sent[key] == nil {
		l.sent[key] = &sent{nonces: map[string]bool{}, landed: map[cid.Cid]bool{}}
	}
	return l.sent[key]
}

// pushed notes a message that the pool took.
func (l *ledger) pushed(m *minerState, signed *chain.SignedMessage) {
	if signed.Message.Method != builtin.MethodsMiner.SubmitWindowedPoSt {
		return
	}
	w, partitions, ok := l.meant(m, signed.Message.Params)
	if !ok {
		return
	}
	for _, p := range partitions {
		l.sentFor(w, p).nonces[signed.Message.From.String()+string(number(signed.Message.Nonce))] = true
	}
}

// landed notes a message in a block and what the actor did with it.
func (l *ledger) landed(m *minerState, signed *chain.SignedMessage, name cid.Cid, epoch abi.ChainEpoch, exit exitcode.ExitCode, outcome *postOutcome, verified bool) {
	l.counts.Posts++
	if exit != exitcode.Ok {
		l.counts.Failed++
	}
	if w, partitions, ok := l.meant(m, signed.Message.Params); ok {
		for _, p := range partitions {
			l.sentFor(w, p).landed[name] = true
		}
	}
	if outcome == nil {
		return
	}
	r, known := l.windows[window{outcome.miner, outcome.start, outcome.deadline}]
	if !known {
		return
	}
	for index, skipped := range outcome.skipped {
		p := &r.Partitions[index]
		p.Posted, p.Verified, p.LandedEpoch, p.Message, p.From = true, verified, epoch, name.String(), signed.Message.From.String()
		p.Skipped = append([]abi.SectorNumber{}, skipped...)
		p.FaultyAfter += len(skipped) // corrected at Close
	}
}

func (l *ledger) report() Report {
	out := Report{Epoch: l.epoch, Deadlines: []DeadlineReport{}, Messages: l.counts, Recoveries: l.recoveries}
	for _, w := range l.order {
		r := *l.windows[w]
		r.Partitions = slices.Clone(r.Partitions)
		out.Deadlines = append(out.Deadlines, r)
	}
	slices.SortStableFunc(out.Deadlines, func(a, b DeadlineReport) int {
		return cmp.Or(cmp.Compare(a.Open, b.Open), cmp.Compare(a.Miner, b.Miner))
	})
	for _, s := range l.sent {
		if len(s.nonces) > 1 || len(s.landed) > 1 {
			out.Messages.SentTwice++
		}
	}
	return out
}

// Report says how the miners' posts fared so far.
func (c *Chain) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledger.report()
}
