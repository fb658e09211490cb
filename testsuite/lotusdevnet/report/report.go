// Package report keeps the account of a proving chain: which deadlines came, what was posted for them, and what the
// chain itself said of each post. It knows nothing of a node; who follows the chain tells it what happened.
package report

// Report is what the control port answers. Lists are never null.
type Report struct {
	Epoch     int64      `json:"epoch"` // of the head that was last looked at
	Deadlines []Deadline `json:"deadlines"`
	Messages  Messages   `json:"messages"`
	Disputes  Disputes   `json:"disputes"`
	Power     Power      `json:"power"`
	Faults    uint64     `json:"faults"` // sectors of all miners that are faulty now
}

// Deadline is one miner's deadline in one proving period.
type Deadline struct {
	Miner       string `json:"miner"`
	PeriodStart int64  `json:"period_start"`
	Index       uint64 `json:"index"`
	Open        int64  `json:"open"`
	Close       int64  `json:"close"`
	// Closed says that nothing here changes any more: the chain has run the deadline's end, and every dispute of its
	// posts has been answered.
	Closed     bool        `json:"closed"`
	Partitions []Partition `json:"partitions"`
}

// Partition is what came of one partition that had live sectors when its deadline opened.
type Partition struct {
	Index   uint64 `json:"index"`
	Sectors uint64 `json:"sectors"` // live when the deadline opened
	Posted  bool   `json:"posted"`  // a post of it was executed with exit code 0
	// Verified says that the actor stands by the proof: a dispute of it was refused as one of a valid post, or the
	// actor verified it at landing, as it does when sectors recover.
	Verified    bool     `json:"verified"`
	Skipped     []uint64 `json:"skipped"`      // sectors that the post left out
	FaultyAfter uint64   `json:"faulty_after"` // sectors faulty after the deadline's end
	LandedEpoch int64    `json:"landed_epoch"` // 0 unless posted
	Message     string   `json:"message"`      // CID of the accepted message
}

// Messages counts SubmitWindowedPoSt messages to the miners in blocks since the start.
type Messages struct {
	Posts  int `json:"posts"`  // all, whatever the actor said
	Failed int `json:"failed"` // of these, with an exit code other than 0
	// SentTwice counts partitions for which messages of more than one nonce, or of more than one sender, came into
	// blocks within one period, whether or not the actor took the second.
	SentTwice int `json:"sent_twice"`
}

// Disputes counts DisputeWindowedPoSt messages that this program sent. Each should be refused.
type Disputes struct {
	Tried   int `json:"tried"`
	Refused int `json:"refused"`
}

// Power in bytes, as decimal strings: the numbers of a real network do not fit into a JSON number.
type Power struct {
	Start        string `json:"start"`
	Now          string `json:"now"`
	QualityStart string `json:"quality_start"`
	QualityNow   string `json:"quality_now"`
}
