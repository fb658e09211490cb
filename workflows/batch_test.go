package workflows_test

import (
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// newBatchStory has three partitions with interleaved sector numbers, 0 3, 1 4 and 2 5, that are proven and sent as one.
func newBatchStory(t *testing.T) *story {
	s := newStory(t)
	s.settings.PartitionsPerPost = 3
	s.loaded.Partitions = nil
	for i := range uint64(3) {
		s.loaded.Partitions = append(s.loaded.Partitions, post.Partition{Index: i, Live: 2, ToProve: 2})
	}
	s.wanted = func(partition uint64) (post.Sectors, error) {
		return sectors(abi.SectorNumber(partition), abi.SectorNumber(partition+3)), nil
	}
	return s
}

// partitionsOf are the partitions of each job, or message, in order.
func partitionsOf[T any](of []T, partitions func(T) []uint64) [][]uint64 {
	var all [][]uint64
	for _, one := range of {
		all = append(all, partitions(one))
	}
	return all
}

func (s *story) provenAs() [][]uint64 {
	return partitionsOf(s.jobs, func(j post.Job) []uint64 { return j.Partitions })
}

func TestThreePartitionsAreOneProofAndOneMessage(t *testing.T) {
	s := newBatchStory(t)
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, [][]uint64{{0, 1, 2}}, s.provenAs())
	require.Equal(t, []abi.SectorNumber{0, 1, 2, 3, 4, 5}, s.jobs[0].Sectors.Numbers(), "the chain sees them by number, whichever partition they are in")
	require.Equal(t, []string{"prove-0-1"}, s.ids())
	require.Len(t, s.requests, 1)
	require.Equal(t, "wdpost-f01000-0-3/p0/1", s.requests[0].ID)
	require.Equal(t, []uint64{0, 1, 2}, s.built[0].Partitions)
	require.Len(t, s.built[0].Sets, 3)
	for i, p := range result.Partitions {
		require.Equal(t, post.StatePosted, p.State)
		require.EqualValues(t, i, p.Index)
		require.Equal(t, "w1/gpu0", p.Card)
		require.NotEmpty(t, p.Message)
		require.Equal(t, 1, p.Tries)
		require.Equal(t, 2, p.Sectors)
	}
	require.Equal(t, []uint64{0, 2}, result.Partitions[1].With)
	require.EqualValues(t, 0, result.Partitions[1].Lead())
}

func TestFourPartitionsWithOneThatRecovers(t *testing.T) {
	s := newBatchStory(t)
	s.settings.RecoverAlone = true
	s.loaded.Partitions[1].Recovering = 1
	s.loaded.Partitions = append(s.loaded.Partitions, post.Partition{Index: 3, Live: 2, ToProve: 2, Posted: true})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.ElementsMatch(t, [][]uint64{{0}, {1}, {2}}, s.provenAs())
}

func TestEachSkippedSectorIsOfThePartitionThatHoldsIt(t *testing.T) {
	s := newBatchStory(t)
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		if in.Partition == 0 {
			return post.Located{Sectors: in.Sectors[1:], Missing: []post.Skipped{{Sector: 0, Reason: "in no store"}}}, nil
		}
		return post.Located{Sectors: in.Sectors}, nil
	}
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		p.Skipped = []post.Skipped{{Sector: 4, Reason: "bit rot"}}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, []abi.SectorNumber{1, 2, 3, 4, 5}, s.jobs[0].Sectors.Numbers())
	require.Equal(t, [][]abi.SectorNumber{{0}, {4}, {}}, s.built[0].SkippedOf)
	require.Empty(t, s.built[0].Skipped, "which partition's?")
	require.Equal(t, []post.Skipped{{Sector: 0, Reason: "in no store"}}, result.Partitions[0].Skipped)
	require.Equal(t, []post.Skipped{{Sector: 4, Reason: "bit rot"}}, result.Partitions[1].Skipped)
	require.Empty(t, result.Partitions[2].Skipped)
}

func TestPartitionOfWhichNoStoreHasAnythingDoesNotHoldUpTheOthers(t *testing.T) {
	s := newBatchStory(t)
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		if in.Partition == 0 {
			return post.Located{Missing: []post.Skipped{{Sector: 0, Reason: "store a is not mounted"}, {Sector: 3, Reason: "store a is not mounted"}}}, nil
		}
		return post.Located{Sectors: in.Sectors}, nil
	}
	result, err := s.run()
	require.ErrorContains(t, err, "partition 0")
	require.ErrorContains(t, err, "store a is not mounted")
	require.Equal(t, [][]uint64{{1, 2}}, s.provenAs())
	require.Len(t, s.requests, 1)
	require.Equal(t, []uint64{1, 2}, s.built[0].Partitions)
	require.Equal(t, post.StateMissed, result.Partitions[0].State)
	require.Equal(t, post.StatePosted, result.Partitions[1].State)
	require.Equal(t, post.StatePosted, result.Partitions[2].State)
}

func TestPartitionThatProvesAllBadIsLeftOutOfTheMessageAndTriedAlone(t *testing.T) {
	s := newBatchStory(t)
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		if len(job.Partitions) > 1 {
			p.Skipped = []post.Skipped{{Sector: 1, Reason: "its disk was away"}, {Sector: 4, Reason: "its disk was away"}}
		}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, [][]uint64{{0, 1, 2}, {1}}, s.provenAs(), "the proof of the others is good as it is")
	var built [][]uint64
	for _, in := range s.built {
		built = append(built, in.Partitions)
	}
	require.ElementsMatch(t, [][]uint64{{0, 2}, {1}}, built)
	require.Empty(t, result.Partitions[1].Skipped)
	require.Equal(t, []uint64{2}, result.Partitions[0].With)
	require.ElementsMatch(t, []string{"wdpost-f01000-0-3/p0/1", "wdpost-f01000-0-3/p1/1"}, []string{s.requests[0].ID, s.requests[1].ID})
}

func TestJobIsSplitWhenTheChainHasOneOfItsPartitions(t *testing.T) {
	s := newBatchStory(t)
	s.build = func(in workflows.BuildInput) (workflows.BuiltPost, error) {
		if len(in.Partitions) == 3 {
			return workflows.BuiltPost{PostedOf: []uint64{1}}, nil
		}
		return workflows.BuiltPost{}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, []uint64{0, 1, 2}, s.jobs[0].Partitions)
	require.ElementsMatch(t, [][]uint64{{0}, {2}}, s.provenAs()[1:])
	require.ElementsMatch(t, []string{"prove-0-2", "prove-2-2"}, s.ids()[1:], "IDs go on: one that was used says nothing of the next")
	require.Contains(t, result.Partitions[1].Reason, "had a post of partition 1 already")
	require.Len(t, s.requests, 2)
}

func TestJobIsSplitWhenItsMessageIsTooLarge(t *testing.T) {
	s := newBatchStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused, Reason: "preparing it: gas estimation failed: call ran out of gas"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.ElementsMatch(t, [][]uint64{{0}, {1}, {2}}, s.provenAs()[1:])
	require.Len(t, s.requests, 4)
	seen := map[string]bool{}
	for _, r := range s.requests {
		require.False(t, seen[r.ID], "%s is asked twice", r.ID)
		seen[r.ID] = true
	}
}

func TestJobIsSplitWhenItsMessageFailsAgain(t *testing.T) {
	s := newBatchStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) <= 2 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeFailed, ExitCode: 16, Reason: "it failed on the chain with exit code 16"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, [][]uint64{{0, 1, 2}, {0, 1, 2}}, partitionsOf(s.built[:2], func(b workflows.BuildInput) []uint64 { return b.Partitions }))
	require.ElementsMatch(t, [][]uint64{{0}, {1}, {2}}, s.provenAs()[1:])
	require.Len(t, s.requests, 5)
}

func TestResetOfOnePartitionResetsItsJob(t *testing.T) {
	s := newBatchStory(t)
	s.settings.RetryUntilClose = false
	broken := true
	s.prove = func(job post.Job) (post.Proof, error) {
		if broken {
			return post.Proof{}, failure(post.FailureProve, "")
		}
		return proofOf(job), nil
	}
	s.at(200, func() {
		for _, p := range s.board.Partitions {
			require.Equal(t, post.StateFailed, p.State)
		}
		broken = false
		s.reset(workflows.ResetJobs{Partitions: []uint64{2}})
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, [][]uint64{{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}, s.provenAs())
}

func TestOneOfThreeIsFaultyAfterClose(t *testing.T) {
	s := newBatchStory(t)
	s.faulty = map[uint64][]abi.SectorNumber{1: {4}}
	result, err := s.run()
	require.ErrorContains(t, err, "partition 1: posted, but the chain holds sectors 4 of it faulty")
	require.Equal(t, post.StatePosted, result.Partitions[0].State)
	require.Equal(t, post.StateMissed, result.Partitions[1].State)
	require.Equal(t, post.StatePosted, result.Partitions[2].State)
}

func TestPartitionOfWhichTheChainWantsNothingAnyMore(t *testing.T) {
	for name, perPost := range map[string]int{"alone": 1, "of three": 3} {
		t.Run(name, func(t *testing.T) {
			s := newBatchStory(t)
			s.settings.PartitionsPerPost = perPost
			wanted := s.wanted
			s.wanted = func(partition uint64) (post.Sectors, error) {
				if partition == 1 {
					return nil, nil
				}
				return wanted(partition)
			}
			result, err := s.run()
			require.NoError(t, err)
			require.Equal(t, post.StatePosted, result.State)
			require.Equal(t, post.StateNothing, result.Partitions[1].State)
			for _, b := range s.built {
				require.NotContains(t, b.Partitions, uint64(1), "the actor refuses it")
			}
		})
	}
}

func TestPartitionThatIsGoneIsMissedWithItsReason(t *testing.T) {
	s := newStory(t)
	s.wanted = func(uint64) (post.Sectors, error) {
		return nil, temporal.NewApplicationError("loading the sectors of partition 0 of deadline f01000/3: the deadline has 0 partitions", "")
	}
	result, err := s.run()
	require.ErrorContains(t, err, "the deadline has 0 partitions")
	require.Equal(t, post.StateMissed, result.State)
	require.Empty(t, s.requests)
}

func TestOtherSectorsThanWereProvenAreReadAndProvenAnew(t *testing.T) {
	s := newStory(t)
	behind := true // the node that was asked first
	s.wanted = func(uint64) (post.Sectors, error) {
		if behind {
			return sectors(0, 1), nil
		}
		return sectors(0, 1, 2), nil
	}
	s.build = func(in workflows.BuildInput) (workflows.BuiltPost, error) {
		behind = false
		if in.Sets[0] != post.SetDigest([]abi.SectorNumber{0, 1, 2}) {
			return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError("partition 0 has other sectors to prove", workflows.ErrorSectorsChanged, nil)
		}
		return workflows.BuiltPost{}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 2)
	require.Equal(t, []abi.SectorNumber{0, 1, 2}, s.jobs[1].Sectors.Numbers())
	require.Equal(t, 3, result.Partitions[0].Sectors)
	require.Len(t, s.requests, 1, "a post that could be disputed")
}

func TestMessageThatPeopleMustMend(t *testing.T) {
	s := newStory(t)
	paid := false
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if !paid {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused, Reason: "pushing it: mpool push: not enough funds: f3sender needs 12"}
		}
		return landed(r)
	}
	s.at(200, func() {
		require.Equal(t, post.StateFailed, s.board.State, "nobody is told")
		require.Contains(t, s.board.Partitions[0].Reason, "not enough funds")
		paid = true
	})
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 1, "the proof was good")
	require.Less(t, len(s.requests), 8, "pauses grow")
}

func TestOtherSenderIsAskedWhenTheFirstCannotPay(t *testing.T) {
	s := newStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if r.From == "f3sender" {
			s.loaded.Sender = "f3other"
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused, Reason: "not enough funds"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, "f3other", s.requests[1].From)
}

func TestProofThatTheChainRefusesIsMadeAnewOfWhatItWantsNow(t *testing.T) {
	s := newStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused,
				Reason: "preparing it: message execution failed (exit=[ErrIllegalArgument(16)], vm error=[invalid post was submitted])"}
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 2)
}

func TestResetOfAJobWhoseMessageComesToNothing(t *testing.T) {
	s := newStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.jobs) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeFailed, ExitCode: 18, Reason: "it failed on the chain"}
		}
		return landed(r)
	}
	var accepted *updated
	s.at(220, func() { accepted = s.reset(workflows.ResetJobs{Partitions: []uint64{0}}) })
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.NoError(t, accepted.rejected)
	require.Len(t, s.jobs, 2)
	require.Equal(t, 1, result.Partitions[0].Tries)
}
