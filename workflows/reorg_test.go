package workflows_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"posthaste/post"
	"posthaste/workflows"
)

// Reorgs and null rounds, as a deadline's workflow sees them: what the node says of the same question changes.

// landedAt is the sender's answer to a request whose message landed.
func landedAt(r post.MessageRequest, at abi.ChainEpoch) post.MessageSettled {
	return post.MessageSettled{ID: r.ID, Lost: r.Lost, Outcome: post.OutcomeLanded, Message: "bafy" + r.ID, Landed: at}
}

// Back beyond Open: the message is gone, and the chain is as it was. The same bytes are good.
func TestReorgAcrossOpen(t *testing.T) {
	s := newStory(t)
	there := s.receipt
	s.receipt = func(times int) workflows.Receipt {
		if times == 1 {
			return workflows.Receipt{}
		}
		return there(times)
	}
	var asked []abi.ChainEpoch
	land := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled { asked = append(asked, s.now()); return land(r) }
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.requests[0].ID, s.requests[1].ID, "another message could land beside it")
	require.Equal(t, s.requests[0].Params, s.requests[1].Params)
	require.LessOrEqual(t, asked[1], asked[0]+7, "it is not waited until the message would have been deep enough")
	require.Len(t, s.built, 2, "the randomness was not read again before it was sent again")
}

// Back beyond Challenge: the ticket in the message is another one now, so the same bytes would fail with exit code 16.
func TestReorgAcrossChallengeAfterTheMessageLanded(t *testing.T) {
	s := newStory(t)
	s.commit = func(times int) string { return fmt.Sprint("ticket", min(times, 2)) }
	there := s.receipt
	s.receipt = func(times int) workflows.Receipt {
		if times == 1 {
			return workflows.Receipt{}
		}
		return there(times)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, "wdpost-f01000-0-3/p0/2", s.requests[1].ID)
	require.Equal(t, s.requests[0].ID, s.requests[1].Replaces, "the old one may come back from a pool, and fail")
	require.Zero(t, s.requests[1].Lost)
	require.Equal(t, "ticket2proof", string(s.requests[1].Params))
	require.Len(t, s.jobs, 1, "the proof answers the beacon, which did not change")
}

// The same while the message waits in a pool: nobody would say so before it had failed.
func TestReorgAcrossChallengeBeforeTheMessageLanded(t *testing.T) {
	s := newStory(t)
	s.commit = func(times int) string { return fmt.Sprint("ticket", min(times, 2)) }
	land := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			return post.MessageSettled{}
		}
		return land(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.requests[0].ID, s.requests[1].Replaces)
	require.NotEqual(t, s.requests[0].Params, s.requests[1].Params)
}

// The beacon's value is another one, too (it hardly moves): what is in the pool is worthless, and so is the proof.
func TestReorgThatChangesTheChallengeBeforeTheMessageLanded(t *testing.T) {
	s := newStory(t)
	changed := false
	s.challenge = func(int) []byte {
		if changed {
			return challengeOf(2)
		}
		return challengeOf(1)
	}
	land := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 1 {
			changed = true
			return post.MessageSettled{}
		}
		return land(r)
	}
	s.prove = func(job post.Job) (post.Proof, error) {
		p := proofOf(job)
		p.Bytes = append(p.Bytes, job.Randomness[0])
		return p, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 2)
	require.Equal(t, challengeOf(2), s.jobs[1].Randomness)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.requests[0].ID, s.requests[1].Replaces)
}

// A reorg there and back: the message that was given up for lost is on the chain after all.
func TestMessageThatCameBackWhileItsReplacementWasBuilt(t *testing.T) {
	s := newStory(t)
	s.receipt = func(int) workflows.Receipt { return workflows.Receipt{} }
	s.build = func(workflows.BuildInput) (workflows.BuiltPost, error) {
		there := len(s.built) == 2
		s.loaded.Partitions[0].Posted = there
		return workflows.BuiltPost{Posted: there}, nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 1, "it is posted twice")
}

// It is on the chain, but in another tipset: it is as deep as that one is.
func TestMessageThatAReorgPutIntoAnotherTipset(t *testing.T) {
	s := newStory(t)
	var landed abi.ChainEpoch
	s.send = func(r post.MessageRequest) post.MessageSettled { landed = s.now() + 2; return landedAt(r, landed) }
	var looked []abi.ChainEpoch
	s.receipt = func(times int) workflows.Receipt {
		looked = append(looked, s.now())
		if times == 1 {
			return workflows.Receipt{Found: true, Message: "bafy", Epoch: landed}
		}
		return workflows.Receipt{Found: true, Message: "bafy", Epoch: landed + 8}
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, landed+8, result.Partitions[0].Landed)
	require.Len(t, looked, 3)
	require.GreaterOrEqual(t, looked[2], landed+8+s.settings.Confidence)
}

// Landed so late that it is deep only after Close: there is a last look while another could still be sent.
func TestMessageDroppedInTheLastEpochsIsStillSentAgain(t *testing.T) {
	s := newStory(t)
	s.settings.SubmitConfidence = 50 // at 230
	var landed abi.ChainEpoch
	s.send = func(r post.MessageRequest) post.MessageSettled { landed = s.now() + 1; return landedAt(r, landed) }
	var looked []abi.ChainEpoch
	s.receipt = func(times int) workflows.Receipt {
		looked = append(looked, s.now())
		if times == 2 {
			return workflows.Receipt{}
		}
		return workflows.Receipt{Found: true, Message: "bafy", Epoch: landed}
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.deadline.Close-3, looked[1], "the last look that is of use")
}

// The message came back after a reorg and was executed with the old ticket. It cost gas; the next one is right.
func TestMessageThatFailedOnTheOtherBranch(t *testing.T) {
	s := newStory(t)
	s.commit = func(times int) string { return fmt.Sprint("ticket", min(times, 2)) }
	there := s.receipt
	s.receipt = func(times int) workflows.Receipt {
		if times == 1 {
			return workflows.Receipt{Found: true, Message: "bafyold", ExitCode: 16, Epoch: s.now()}
		}
		return there(times)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Empty(t, s.requests[1].Replaces, "its nonce is used")
	require.NotEqual(t, s.requests[0].ID, s.requests[1].ID)
	require.Len(t, s.jobs, 1)
}

// A null round at Challenge: the head goes from the epoch before to the one after, and the randomness is that of the round all the same.
// One at Challenge + confidence makes the wait longer by an epoch and no more.
func TestNullRoundsAtChallenge(t *testing.T) {
	s := newStory(t)
	s.settings.ChallengeConfidence = 0
	reads := 0
	s.wanted = func(uint64) (post.Sectors, error) {
		if reads++; reads == 1 {
			return nil, errors.New("requested epoch was a null round (160)")
		}
		return sectors(0, 1), nil
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 1)
}

// A null round at Open − 1: an estimate runs at the tipset's height on its parent's state, where the deadline before is still open.
func TestNullRoundBeforeOpen(t *testing.T) {
	s := newStory(t)
	s.settings.SubmitConfidence = 0
	land := s.send
	var asked []abi.ChainEpoch
	s.send = func(r post.MessageRequest) post.MessageSettled {
		asked = append(asked, s.now())
		if len(s.requests) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused,
				Reason: "preparing it: message execution failed (exit=[ErrIllegalArgument(16)], vm error=[invalid deadline 3 at epoch 180, expected 2])"}
		}
		return land(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.jobs, 1, "the proof is good")
	require.LessOrEqual(t, asked[1]-asked[0], abi.ChainEpoch(3), "at the next head, or the one after")
	require.Zero(t, len(s.board.Reason))
}

// Null rounds up to Close: nothing is sent that could only land at Close, and the reason says so.
func TestNullRoundAtTheLastEpoch(t *testing.T) {
	s := newStory(t)
	s.build = func(workflows.BuildInput) (workflows.BuiltPost, error) {
		return workflows.BuiltPost{}, temporal.NewNonRetryableApplicationError("the head is at epoch 239, too late for a message before Close at 240", workflows.ErrorRefused, nil)
	}
	result, err := s.run()
	require.ErrorContains(t, err, "too late for a message before Close")
	require.Equal(t, post.StateMissed, result.State)
	require.Empty(t, s.requests)
}

// What one tipset says after Close may be gone with the next.
func TestTheChainIsAskedDeepAfterClose(t *testing.T) {
	s := newStory(t)
	_, err := s.run()
	require.NoError(t, err)
	require.GreaterOrEqual(t, s.now(), s.deadline.Close+s.settings.Confidence)
}

// The message waits at the sender for its epoch, and a reorg changes its ticket meanwhile: it is built anew at once, and that is no setback.
func TestReorgWhileTheMessageWaitsForItsEpoch(t *testing.T) {
	s := newStory(t)
	s.commit = func(times int) string { return fmt.Sprint("ticket", times) }
	land := s.send
	var asked []abi.ChainEpoch
	s.send = func(r post.MessageRequest) post.MessageSettled {
		asked = append(asked, s.now())
		if len(s.requests) == 1 {
			return post.MessageSettled{ID: r.ID, Outcome: post.OutcomeRefused, Outdated: true, Reason: "a reorg has given epoch 160 another ticket"}
		}
		return land(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 2)
	require.Equal(t, s.deadline.Open+s.settings.SubmitConfidence, s.requests[0].NotBefore)
	require.Empty(t, s.requests[1].Replaces, "nothing was sent")
	require.NotEqual(t, s.requests[0].Params, s.requests[1].Params)
	require.Len(t, s.jobs, 1, "the proof is good")
	require.LessOrEqual(t, asked[1]-asked[0], abi.ChainEpoch(1), "at once: the answer took an epoch")
	require.Empty(t, result.Partitions[0].Reason)
}

// A proof that comes late is not kept waiting.
func TestProofAfterItsEpochIsSentAtOnce(t *testing.T) {
	s := newStory(t)
	s.proveTime = 30 * epoch
	_, err := s.run()
	require.NoError(t, err)
	require.Zero(t, s.requests[0].NotBefore)
}

// The post is found on the chain when its message is built, of whoever sent it, and a reorg drops it afterwards.
func TestPostThatIsFoundWhenTheMessageIsBuiltIsStayedWith(t *testing.T) {
	for situation, drops := range map[string]bool{"and stays": false, "and is dropped": true} {
		t.Run(situation, func(t *testing.T) {
			s := newStory(t)
			s.build = func(workflows.BuildInput) (workflows.BuiltPost, error) {
				if len(s.built) > 1 {
					return workflows.BuiltPost{}, nil // of the usual kind
				}
				s.loaded.Partitions = []post.Partition{{Index: 0, Live: 2, ToProve: 2, Posted: true}}
				return workflows.BuiltPost{Posted: true}, nil
			}
			if drops {
				s.at(187, func() { s.loaded.Partitions = []post.Partition{{Index: 0, Live: 2, ToProve: 2}} })
			}
			result, err := s.run()
			require.NoError(t, err)
			require.Equal(t, post.StatePosted, result.State)
			require.Len(t, s.jobs, 1, "the proof is still good")
			if drops {
				require.Len(t, s.requests, 1, "nobody else would have noticed")
			} else {
				require.Empty(t, s.requests)
			}
		})
	}
}

// A message that a reorg dropped is refused when it is pushed again; then it is asked for once more, and the old answer is none.
func TestARefusedReturnIsAskedForAgain(t *testing.T) {
	s := newStory(t)
	there := s.receipt
	s.receipt = func(times int) workflows.Receipt {
		if times == 1 {
			return workflows.Receipt{}
		}
		return there(times)
	}
	land := s.send
	s.send = func(r post.MessageRequest) post.MessageSettled {
		if len(s.requests) == 2 {
			return post.MessageSettled{ID: r.ID, Lost: r.Lost, Outcome: post.OutcomeRefused, Reason: "pushing it: not enough funds"}
		}
		return land(r)
	}
	result, err := s.run()
	require.NoError(t, err)
	require.Equal(t, post.StatePosted, result.State)
	require.Len(t, s.requests, 3)
	require.Equal(t, s.requests[1].Key(), s.requests[2].Key())
}
