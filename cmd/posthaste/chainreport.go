package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// chainReady is the ready line of a chain program, simulated or real.
type chainReady struct {
	FullnodeAPIInfo string       `json:"fullnode_api_info"` // a secret: it carries a token
	Control         string       `json:"control"`
	EpochSeconds    float64      `json:"epoch_seconds"`
	Miners          []string     `json:"miners"`
	Stores          []chainStore `json:"stores"`
	ParameterCache  string       `json:"parameter_cache"`
}

// lacks is what there is no demo without.
func (r *chainReady) lacks() string {
	if r.Control == "" || len(r.Miners) == 0 || r.EpochSeconds <= 0 {
		return "control, miners or epoch_seconds"
	}
	return ""
}

type chainStore struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// chainReport is what the chain itself says of the deadlines so far: GET {control}/report.
type chainReport struct {
	Epoch     abi.ChainEpoch   `json:"epoch"`
	Deadlines []reportDeadline `json:"deadlines"` // with a live sector and reached, oldest first
	Messages  struct {
		Posts     int `json:"posts"`
		Failed    int `json:"failed"`
		SentTwice int `json:"sent_twice"`
	} `json:"messages"`
	Disputes struct {
		Tried   int `json:"tried"`
		Refused int `json:"refused"`
	} `json:"disputes"`
	Power  *power `json:"power"`  // only from a real chain
	Faults int    `json:"faults"` // faulty sectors now, likewise
}

// power is the miner's raw power in bytes, as the power actor has it.
type power struct {
	Start string `json:"start"`
	Now   string `json:"now"`
}

type reportDeadline struct {
	Miner       string            `json:"miner"`
	PeriodStart abi.ChainEpoch    `json:"period_start"`
	Index       uint64            `json:"index"`
	Open        abi.ChainEpoch    `json:"open"`
	Close       abi.ChainEpoch    `json:"close"`
	Closed      bool              `json:"closed"`
	Partitions  []reportPartition `json:"partitions"`
}

type reportPartition struct {
	Index       uint64             `json:"index"`
	Sectors     int                `json:"sectors"`
	Posted      bool               `json:"posted"`
	Verified    bool               `json:"verified"`
	Skipped     []abi.SectorNumber `json:"skipped"`
	FaultyAfter int                `json:"faulty_after"`
	LandedEpoch abi.ChainEpoch     `json:"landed_epoch"`
	Message     string             `json:"message"`
}

// reportLimit is how long a chain may take to report: a real one asks its state for every deadline.
const reportLimit = 30 * time.Second

// readReport asks the chain program.
func readReport(ctx context.Context, control string) (chainReport, error) {
	ctx, cancel := context.WithTimeout(ctx, reportLimit)
	defer cancel()
	var report chainReport
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, control+"/report", nil)
	if err != nil {
		return report, fmt.Errorf("asking the chain for its report: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return report, fmt.Errorf("asking the chain for its report: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return report, fmt.Errorf("asking the chain for its report: %s: %s", response.Status, text)
	}
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
		return report, fmt.Errorf("reading the chain's report: %w", err)
	}
	return report, nil
}
