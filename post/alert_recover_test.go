package post_test

import (
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestJudgeOfFaultySectors(t *testing.T) {
	window := post.RecoveryWindow{Deadline: post.Deadline{Miner: 1000, Index: 7}, Cutoff: 3230}
	failed := post.Declaration{RecoveryWindow: window, State: post.DeclarationFailed, Reason: "message bafy: exit code 7 (out of gas)"}
	missing := post.RecoveryWait{Deadline: 7, Partition: 1, Sectors: post.Numbers{3, 4}, Reason: "in no store"}
	for situation, c := range map[string]struct {
		state post.RecoveryState
		want  map[string]string // summaries by key
		mend  string            // in that of the first
	}{
		"no faults":                        {state: post.RecoveryState{}},
		"faults that are declared":         {state: post.RecoveryState{Faulty: 2, Recovering: 2, Declared: []post.Declaration{{RecoveryWindow: window, State: post.DeclarationConfirmed}}}},
		"faults that nobody has looked at": {state: post.RecoveryState{Faulty: 2}},
		"debt, and nothing faulty":         {state: post.RecoveryState{Blocked: post.RecoveryObstacle{Owed: "5"}}},
		"the miner is paused":              {state: post.RecoveryState{Faulty: 2, Idle: "the miner is paused", Waits: []post.RecoveryWait{missing}}},
		"files are missing": {post.RecoveryState{Faulty: 2, Waits: []post.RecoveryWait{missing}},
			map[string]string{"SectorsFaulty/f01000": "miner f01000: 2 sectors are faulty and cannot be declared recovered; the chain ends a sector that is faulty for 42 days"},
			"`posthaste proving recover --miner f01000`"},
		"fee debt": {post.RecoveryState{Faulty: 2, Blocked: post.RecoveryObstacle{Owed: "5"}},
			map[string]string{"RecoveryBlocked/f01000": "miner f01000: 2 faulty sectors cannot be declared recovered: the actor refuses"}, "`lotus send f01000 AMOUNT`"},
		"a consensus fault": {post.RecoveryState{Faulty: 1, Blocked: post.RecoveryObstacle{Until: 900}},
			map[string]string{"RecoveryBlocked/f01000": "miner f01000: 1 faulty sector cannot be declared recovered: the actor refuses"}, "wait until epoch 900"},
		"a message that failed": {post.RecoveryState{Faulty: 1, Declared: []post.Declaration{failed}},
			map[string]string{"RecoveryBlocked/f01000-7": "miner f01000: the message that declares sectors of deadline 7 recovered has failed (cutoff is epoch 3230)"}, "lotus wallet list"},
		"the operator declares them": {post.RecoveryState{Faulty: 1, Off: true},
			map[string]string{"SectorsFaulty/f01000": "miner f01000: 1 faulty sector, and nothing declares them recovered: recover = false"}, "`recover = true`"},
	} {
		t.Run(situation, func(t *testing.T) {
			c.state.Miner = 1000
			got := map[string]string{}
			for _, a := range post.Judge(post.Outlook{At: lookedAt, Recoveries: []post.RecoveryState{c.state}}, limits) {
				got[a.Key] = a.Summary
				require.Equal(t, "f01000", a.Miner)
				require.Equal(t, 30*time.Second, a.Hold)
				require.Contains(t, a.Mend, c.mend)
			}
			if len(c.want) == 0 {
				require.Empty(t, got)
				return
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestRecoveryStateFitsIntoAMemo(t *testing.T) {
	var many post.Numbers
	for i := range 10_000 {
		many = append(many, abi.SectorNumber(2*i))
	}
	s := post.RecoveryState{Faulty: 10_000}
	for i := range uint64(100) {
		s.Waits = append(s.Waits, post.RecoveryWait{Deadline: i % 48, Sectors: many, Reason: "in no store"})
		s.Declared = append(s.Declared, post.Declaration{Partitions: []post.FaultyPartition{{Sectors: many}}})
	}
	short := s.Short()
	require.True(t, short.Cut)
	require.Equal(t, 10_000, short.Waits[0].Count())
	require.Equal(t, 10_000, short.Declared[0].Sectors())
	require.Contains(t, short.Waits[0].String(), "and 9940 more: in no store")
	require.Len(t, s.Waits[0].Sectors, 10_000, "the book itself is not cut")
	require.Equal(t, 10_000, s.Declared[0].Sectors())
}
