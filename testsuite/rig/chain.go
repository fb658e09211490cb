package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/testsuite/devnet"
)

// Report is what the chain says of its deadlines so far.
func (r *Rig) Report(ctx context.Context) (devnet.Report, error) {
	var report devnet.Report
	return report, r.ReadReport(ctx, &report)
}

// ReadReport reads it into another type: posthaste-lotusdevnet says more.
func (r *Rig) ReadReport(ctx context.Context, into any) error {
	data, err := r.control(ctx, http.MethodGet, "/report", nil)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("the chain's report: %w", err)
	}
	return nil
}

// Control has the chain do something, such as /null-rounds, and reads what it did into answer, unless that is nil.
func (r *Rig) Control(ctx context.Context, path string, body, answer any) error {
	data, err := r.control(ctx, http.MethodPost, path, body)
	if err == nil && answer != nil {
		err = json.Unmarshal(data, answer)
	}
	if err != nil {
		return fmt.Errorf("having the chain do %s: %w", path, err)
	}
	return nil
}

// PauseRPC makes the node unreachable for a while.
func (r *Rig) PauseRPC(ctx context.Context, away time.Duration) error {
	_, err := r.control(ctx, http.MethodPost, "/pause-rpc", map[string]float64{"seconds": away.Seconds()})
	return err
}

// StopIncluding lets blocks hold no messages any more: what is sent waits.
func (r *Rig) StopIncluding(ctx context.Context) error {
	_, err := r.control(ctx, http.MethodPost, "/stop-including", nil)
	return err
}

// ResumeIncluding ends that.
func (r *Rig) ResumeIncluding(ctx context.Context) error {
	_, err := r.control(ctx, http.MethodPost, "/resume-including", nil)
	return err
}

// ChangeMiner does to a miner what its owner's messages would: "change-key", "add-partition", "compact" or "upgrade" (see package devnet).
func (r *Rig) ChangeMiner(ctx context.Context, miner, change string, what map[string]any) ([]byte, error) {
	what["miner"] = miner
	return r.control(ctx, http.MethodPost, "/"+change, what)
}

// SetMining lets the chain stand still, or go on.
func (r *Rig) SetMining(ctx context.Context, on bool) error {
	path := "/stop-mining"
	if on {
		path = "/resume-mining"
	}
	_, err := r.control(ctx, http.MethodPost, path, nil)
	return err
}

// controlPatience is how long the chain may take for what it is asked: a reorg is done when it answers.
const controlPatience = 30 * time.Second

// SetBaseFee has the next tipset's base fee be so many times what it was at the chain's start.
func (r *Rig) SetBaseFee(ctx context.Context, times float64) error {
	_, err := r.control(ctx, http.MethodPost, "/base-fee", map[string]float64{"times": times})
	return err
}

// DropMempool has the node forget all messages that are not in blocks, and says how many those were.
func (r *Rig) DropMempool(ctx context.Context) (int, error) {
	var dropped struct{ Dropped int }
	data, err := r.control(ctx, http.MethodPost, "/drop-mempool", nil)
	if err == nil {
		err = json.Unmarshal(data, &dropped)
	}
	return dropped.Dropped, err
}

// Pool are the messages that wait in the node's pool.
func (r *Rig) Pool(ctx context.Context) ([]devnet.PoolMessage, error) {
	var pool []devnet.PoolMessage
	data, err := r.control(ctx, http.MethodGet, "/pool", nil)
	if err == nil {
		err = json.Unmarshal(data, &pool)
	}
	return pool, err
}

// control asks the chain's control port.
func (r *Rig) control(ctx context.Context, method, path string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, controlPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.chain.Control+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, err
}

// WaitEpoch waits until the chain is at an epoch.
func (r *Rig) WaitEpoch(ctx context.Context, epoch abi.ChainEpoch) error {
	for {
		report, err := r.Report(ctx)
		if err != nil {
			return err
		}
		if report.Epoch >= epoch {
			return nil
		}
		if err := pause(ctx, min(post.Until(report.Epoch, epoch, r.Epoch()), time.Second)); err != nil {
			return fmt.Errorf("waiting for epoch %d: %w", epoch, err)
		}
	}
}

// WaitDeadlinesClosed waits until so many deadlines that opened after an epoch are closed, the earliest first, and gives them.
func (r *Rig) WaitDeadlinesClosed(ctx context.Context, after abi.ChainEpoch, n int) ([]devnet.DeadlineReport, error) {
	for {
		report, err := r.Report(ctx)
		if err != nil {
			return nil, err
		}
		var closed []devnet.DeadlineReport
		for _, d := range report.Deadlines {
			if d.Open > after && d.Closed {
				closed = append(closed, d)
			}
		}
		if len(closed) >= n {
			return closed[:n], nil
		}
		if err := r.Died(); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("waiting for deadlines to close: %d of %d have: %w", len(closed), n, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(max(d, 10*time.Millisecond)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
