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
	Faults    uint64     `json:"faults"`   // sectors of all miners that are faulty now
	BaseFee   string     `json:"base_fee"` // of the head, in attoFIL a unit of gas
	// NullRounds are the epochs without a block in the chain as it is now, Reorgs all that there were.
	NullRounds []int64    `json:"null_rounds"`
	Reorgs     []Reorg    `json:"reorgs"`
	Recoveries []Recovery `json:"recoveries"`
}

// Reorg is a change of the head to a chain that does not hold the old head.
type Reorg struct {
	From int64 `json:"from"` // the old head
	Fork int64 `json:"fork"` // the last epoch that stayed
	To   int64 `json:"to"`   // the new head
}

// Recovery is a partition's part of a DeclareFaultsRecovered that was executed with exit code 0.
type Recovery struct {
	Deadline    uint64   `json:"deadline"`
	Partition   uint64   `json:"partition"`
	Sectors     []uint64 `json:"sectors"`
	LandedEpoch int64    `json:"landed_epoch"`
	Message     string   `json:"message"`
}

// Deadline is one miner's deadline in one proving period.
type Deadline struct {
	Miner       string `json:"miner"`
	PeriodStart int64  `json:"period_start"`
	Index       uint64 `json:"index"`
	Poster      string `json:"poster"` // who it is left to
	Challenge   int64  `json:"challenge"`
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
	// Seconds by the clock from the node's head being at the challenge epoch, or past it, to its head being the tipset that
	// holds the message; 0 unless posted.
	Seconds float64 `json:"seconds"`
}

// Messages counts SubmitWindowedPoSt messages to the miners in blocks since the start.
type Messages struct {
	Posts  int `json:"posts"`  // all, whatever the actor said
	Failed int `json:"failed"` // of these, with an exit code other than 0
	// SentTwice counts partitions for which messages of more than one nonce, or of more than one sender, came into
	// blocks within one period, whether or not the actor took the second.
	SentTwice int `json:"sent_twice"`
	// Methods counts all messages to the miners, by method and exit code.
	Methods []Method `json:"methods"`
}

// Method is how often messages of one method ended with one exit code.
type Method struct {
	Name     string `json:"name"`
	ExitCode int64  `json:"exit_code"`
	Count    int    `json:"count"`
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
