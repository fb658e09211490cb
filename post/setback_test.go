package post_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestAfterMessage(t *testing.T) {
	failed := func(code int64, partitions, times int) post.Setback {
		return post.Setback{Outcome: post.OutcomeFailed, ExitCode: code, Partitions: partitions, Times: times, Reason: "it failed on the chain"}
	}
	refused := func(reason string, partitions, times int) post.Setback {
		return post.Setback{Outcome: post.OutcomeRefused, Partitions: partitions, Times: times, Reason: reason}
	}
	vm := func(code, text string) string {
		return "preparing it: estimating gas used: message execution failed (exit=[" + code + "], vm error=[" + text + "])"
	}
	for name, c := range map[string]struct {
		of   post.Setback
		want post.Remedy
	}{
		"refused by the actor once: a reorg changed the commit randomness, say": {failed(16, 1, 1), post.Remedy{Pause: 1}},
		"of three partitions alike":                                        {failed(16, 3, 1), post.Remedy{Pause: 1}},
		"refused by the actor again: the proof must be wrong":              {failed(16, 1, 2), post.Remedy{Prove: true}},
		"of three partitions: one of them must be":                         {failed(16, 3, 2), post.Remedy{Split: true}},
		"again with the new proof: people must look":                       {failed(16, 1, 3), post.Remedy{Pause: 4, Alert: true}},
		"still, and not more seldom than every eight epochs":               {failed(16, 1, 30), post.Remedy{Pause: 8, Alert: true}},
		"its nonce went to another message":                                {failed(0, 1, 1), post.Remedy{Pause: 1}},
		"out of gas, estimated anew":                                       {failed(7, 1, 1), post.Remedy{Pause: 1}},
		"out of gas again":                                                 {failed(7, 1, 3), post.Remedy{Pause: 4, Alert: true}},
		"out of gas with three partitions":                                 {failed(7, 3, 1), post.Remedy{Split: true}},
		"the miner actor has too little":                                   {failed(19, 1, 1), post.Remedy{Pause: 1, Alert: true, Payer: true}},
		"still":                                                            {failed(19, 3, 2), post.Remedy{Pause: 2, Alert: true, Payer: true}},
		"the sender may not":                                               {failed(18, 1, 2), post.Remedy{Pause: 2, Alert: true, Payer: true}},
		"a code that nobody knows":                                         {failed(99, 1, 1), post.Remedy{Pause: 1}},
		"estimated at Open − 1, which had no block":                        {refused(vm("ErrIllegalArgument(16)", "invalid deadline 3 at epoch 179, expected 2"), 1, 1), post.Remedy{Pause: 1}},
		"estimated on a node that is behind":                               {refused(vm("ErrIllegalArgument(16)", "invalid deadline 3"), 1, 2), post.Remedy{Pause: 2}},
		"refused three times":                                              {refused(vm("ErrIllegalArgument(16)", "partition already proven: 0"), 1, 3), post.Remedy{Prove: true}},
		"refused three times, of three partitions":                         {refused(vm("ErrIllegalArgument(16)", "partition already proven: 0"), 3, 3), post.Remedy{Split: true}},
		"refused ever after":                                               {refused(vm("ErrIllegalArgument(16)", "who knows"), 1, 5), post.Remedy{Pause: 8, Alert: true}},
		"the estimate verified the proof of recovering sectors: it is bad": {refused(vm("ErrIllegalArgument(16)", "invalid post was submitted"), 1, 1), post.Remedy{Prove: true}},
		"the same of two partitions":                                       {refused(vm("ErrIllegalArgument(16)", "invalid post was submitted"), 2, 1), post.Remedy{Split: true}},
		"and with the new proof":                                           {refused("estimating gas used: (RetCode=16) invalid post was submitted", 1, 2), post.Remedy{Pause: 2}},
		"above a block's gas, by the estimate":                             {refused("preparing it: gas estimation failed: call ran out of gas", 3, 1), post.Remedy{Split: true}},
		"above a block's gas, by the pool":                                 {refused("pushing it: 'GasLimit' field cannot be greater than a block's gas limit (12 > 10)", 2, 1), post.Remedy{Split: true}},
		"too many bytes for the pool":                                      {refused("mpool message too large (70000B): message too big", 2, 1), post.Remedy{Split: true}},
		"above a block's gas, alone":                                       {refused("call ran out of gas", 1, 4), post.Remedy{Pause: 8, Alert: true}},
		"the sender's wallet is empty":                                     {refused("pushing it: mpool push: not enough funds: f3… needs 12", 1, 1), post.Remedy{Pause: 1, Alert: true, Payer: true}},
		"the estimate says that the actor lacks funds":                     {refused(vm("ErrInsufficientFunds(19)", "fee debt"), 1, 1), post.Remedy{Pause: 1, Alert: true, Payer: true}},
		"the estimate says that the sender may not":                        {refused(vm("USR_FORBIDDEN(18)", "caller is not one of"), 1, 1), post.Remedy{Pause: 1, Payer: true}},
		"nor may who was chosen then":                                      {refused(vm("USR_FORBIDDEN(18)", "caller is not one of"), 1, 2), post.Remedy{Pause: 2, Alert: true, Payer: true}},
		"the sender might no longer when the message landed":               {failed(18, 2, 1), post.Remedy{Pause: 1, Payer: true}},
		"outdated while it waited for its epoch":                           {post.Setback{Outcome: post.OutcomeRefused, Times: 1, Outdated: true}, post.Remedy{}},
		"outdated again: two nodes disagree, say":                          {post.Setback{Outcome: post.OutcomeRefused, Times: 2, Outdated: true}, post.Remedy{Pause: 2}},
		"a text without any code":                                          {refused("signing it: no such key", 1, 1), post.Remedy{Pause: 1}},
		"a text with half a code":                                          {refused("message execution failed (exit=[", 1, 1), post.Remedy{Pause: 1}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, post.AfterMessage(c.of)) })
	}
}
