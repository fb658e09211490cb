package period

// Report is what posthaste-lotusdevnet's control port says, as far as it is judged. That program is a Go module of its own, so its
// types cannot be used here.
type Report struct {
	Epoch      int64       `json:"epoch"`
	Deadlines  []Deadline  `json:"deadlines"`
	Messages   Messages    `json:"messages"`
	Disputes   Disputes    `json:"disputes"`
	Power      Power       `json:"power"`
	Faults     uint64      `json:"faults"` // sectors of the miner that are faulty now
	NullRounds []int64     `json:"null_rounds"`
	Reorgs     []Reorg     `json:"reorgs"`
	Recoveries []Recovered `json:"recoveries"`
}

// Deadline is one deadline in one proving period.
type Deadline struct {
	Miner       string      `json:"miner"`
	PeriodStart int64       `json:"period_start"`
	Index       uint64      `json:"index"`
	Open        int64       `json:"open"`
	Close       int64       `json:"close"`
	Closed      bool        `json:"closed"`
	Partitions  []Partition `json:"partitions"`
}

// Partition is what came of one partition.
type Partition struct {
	Index       uint64   `json:"index"`
	Sectors     uint64   `json:"sectors"`
	Posted      bool     `json:"posted"`
	Verified    bool     `json:"verified"`
	Skipped     []uint64 `json:"skipped"`
	FaultyAfter uint64   `json:"faulty_after"`
	LandedEpoch int64    `json:"landed_epoch"`
	Message     string   `json:"message"`
}

// Messages to the miner in blocks.
type Messages struct {
	Posts     int      `json:"posts"`
	Failed    int      `json:"failed"`
	SentTwice int      `json:"sent_twice"`
	Methods   []Method `json:"methods"`
}

// Method counts the messages of one method that ended with one exit code.
type Method struct {
	Name     string `json:"name"`
	ExitCode int64  `json:"exit_code"`
	Count    int    `json:"count"`
}

// Disputes of what was posted.
type Disputes struct {
	Tried   int `json:"tried"`
	Refused int `json:"refused"`
}

// Power in bytes, as decimal strings.
type Power struct {
	Start        string `json:"start"`
	Now          string `json:"now"`
	QualityStart string `json:"quality_start"`
	QualityNow   string `json:"quality_now"`
}

// Reorg is one that the chain went through: the epochs above Fork up to From were forgotten.
type Reorg struct {
	From int64 `json:"from"`
	Fork int64 `json:"fork"`
	To   int64 `json:"to"`
}

// Recovered is one declaration of recovered sectors that landed.
type Recovered struct {
	Deadline    uint64   `json:"deadline"`
	Partition   uint64   `json:"partition"`
	Sectors     []uint64 `json:"sectors"`
	LandedEpoch int64    `json:"landed_epoch"`
}
