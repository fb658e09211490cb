package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filecoin-project/go-address"
	"go.temporal.io/sdk/temporal"

	"posthaste/chain"
	"posthaste/post"
	"posthaste/workflows"
)

// Survey answers questions about miners' deadlines from a daemon's node.
type Survey struct {
	Node  ChainReader
	Fleet interface {
		Snapshot(context.Context) (post.Fleet, error)
	}
	Now func() time.Time // nil: time.Now
}

// SurveyMiner reads all of a miner's deadlines, with their partitions.
func (s *Survey) SurveyMiner(ctx context.Context, in workflows.SurveyInput) (post.Survey, error) {
	survey, err := s.read(ctx, in)
	switch {
	case errors.Is(err, chain.ErrNoActor):
		return survey, temporal.NewNonRetryableApplicationError("the chain has no miner actor "+post.MinerName(in.Miner), workflows.ErrorNoSuchMiner, err)
	case err != nil:
		return survey, fmt.Errorf("reading the deadlines of %s: %w", post.MinerName(in.Miner), err)
	}
	return survey, nil
}

func (s *Survey) read(ctx context.Context, in workflows.SurveyInput) (survey post.Survey, err error) {
	miner, err := chain.MinerAddress(in.Miner)
	if err != nil {
		return survey, err
	}
	head, err := s.Node.ChainHead(ctx)
	if err != nil {
		return survey, err
	}
	now := s.Now
	if now == nil {
		now = time.Now
	}
	survey = post.Survey{Miner: in.Miner, Head: head.Height, At: now()}
	if survey.EpochDuration, err = s.Node.EpochDuration(ctx); err != nil {
		return survey, err
	}
	info, err := s.Node.StateMinerInfo(ctx, miner, head.Key())
	if err != nil {
		return survey, err
	}
	survey.Size = info.SectorSize
	di, err := s.Node.StateMinerProvingDeadline(ctx, miner, head.Key())
	if err != nil {
		return survey, err
	}
	survey.Current = di.Index
	posted, err := s.Node.StateMinerDeadlines(ctx, miner, head.Key())
	if err != nil {
		return survey, err
	}
	windows := post.Windows(in.Miner, di)
	if len(posted) != len(windows) {
		return survey, fmt.Errorf("the node tells of %d deadlines and of %d", len(windows), len(posted))
	}
	survey.Deadlines = make([]post.SurveyedDeadline, len(windows))
	err = SideBySide(len(windows), func(i int) (err error) {
		survey.Deadlines[i], err = s.deadline(ctx, miner, windows[i], posted[i], head.Key())
		return err
	})
	if err == nil {
		s.places(ctx, in, &survey)
	}
	return survey, err
}

// deadline reads and counts the partitions of one deadline.
func (s *Survey) deadline(ctx context.Context, miner address.Address, d post.Deadline, state chain.Deadline, head chain.TipSetKey) (post.SurveyedDeadline, error) {
	out := post.SurveyedDeadline{Deadline: d, Partitions: []post.Partition{}}
	partitions, err := s.Node.StateMinerPartitions(ctx, miner, d.Index, head)
	if err != nil {
		return out, err
	}
	for i, p := range partitions {
		counted, err := countPartition(uint64(i), p, state.PostSubmissions)
		if err != nil {
			return out, fmt.Errorf("deadline %d, partition %d: %w", d.Index, i, err)
		}
		out.Partitions = append(out.Partitions, counted)
	}
	return out, nil
}

// places counts the cards. What stores the sectors are in is not asked for: that takes a lookup of each.
func (s *Survey) places(ctx context.Context, in workflows.SurveyInput, survey *post.Survey) {
	fleet, err := s.Fleet.Snapshot(ctx)
	if err != nil {
		survey.Problem = "the cards are not known: " + err.Error()
		return
	}
	for _, q := range fleet.Queues {
		if q.Refuses(post.Needs{Miner: in.Miner, Size: survey.Size, Pool: in.Pool}) == "" {
			survey.Places += q.Live
		}
	}
}
