package workflows_test

import (
	"encoding/json"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/workflows"
)

// What is rare and would lose a deadline, or prove the wrong thing.

func TestSectorThatTheSecondProofCoversIsNotSkippedByTheMessage(t *testing.T) {
	s := newStory(t)
	s.challenge = func(times int) []byte {
		if times < 2 {
			return challengeOf(1)
		}
		return challengeOf(2)
	}
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		if len(s.jobs) == 1 {
			p.Skipped = []post.Skipped{{Sector: 1, Reason: "its disk was away for a minute"}}
		}
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Len(t, s.built, 2)
	require.Empty(t, s.built[1].Skipped, "the chain would check the proof against another set of sectors than it covers")
	require.Empty(t, result.Partitions[0].Skipped)
}

func TestSpareProofOfAnOldChallengeIsNotUsed(t *testing.T) {
	s := newStory(t)
	s.challenge = func(times int) []byte {
		if times < 2 {
			return challengeOf(1)
		}
		return challengeOf(2)
	}
	// The same proof comes by signal while the first one's check is under way.
	checks := 0
	s.verify = func(in workflows.VerifyInput) bool {
		if checks++; checks == 1 {
			s.env.SignalWorkflow(workflows.SignalProofFound, in.Proof)
		}
		return true
	}
	_, err := s.run()
	require.NoError(t, err)
	require.Len(t, s.jobs, 2, "a proof that answers the old challenge went out under the new one")
}

func TestSenderThatWasTerminatedIsAskedAgain(t *testing.T) {
	s := newStory(t)
	landed := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			return post.MessageSettled{} // went with the sender's workflow
		}
		return landed(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Equal(t, s.requests[0], s.requests[1], "another request could send twice")
	require.Less(t, result.Partitions[0].Landed, s.deadline.Close)
}

// Temporal ends a workflow whose memo is above 2 MiB, or whose history, in which every change of the memo stands, is above 50 MiB.
func TestSectorsOfAStoreThatIsGoneDoNotFillTheHistory(t *testing.T) {
	s := newStory(t)
	s.loaded.Partitions = nil
	for i := range uint64(8) {
		s.loaded.Partitions = append(s.loaded.Partitions, post.Partition{Index: i, Live: 2349, ToProve: 2349})
	}
	s.located = func(in workflows.PartitionInput) (post.Located, error) {
		out := post.Located{Sectors: in.Sectors}
		for i := range 2340 {
			out.Missing = append(out.Missing, post.Skipped{Sector: abi.SectorNumber(100000 + i), Reason: `in none of the stores that could be listed; not listed: "storage-b07"`})
		}
		return out, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Len(t, s.built[0].Skipped, 2340, "the message must name them all")
	require.Equal(t, 2340, result.Partitions[0].CountSkipped())
	raw, err := json.Marshal(result)
	require.NoError(t, err)
	require.Less(t, len(raw), 16<<10)
}
