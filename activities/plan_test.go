package activities

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"

	"posthaste/post"
)

// Jobs at random over queues at random: nobody gets what he may not have, those with the least time left come first, and after a few
// looks all stay where they are and no card is free that a waiting job may take.
func TestPlansAtRandom(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for round := range 500 {
		fleet, jobs := someFleet(dice)
		for look := 0; ; look++ {
			moves := plan(fleet, jobs, func(abi.SectorSize, int) time.Duration { return 0 })
			if !assert.Len(t, moves, len(jobs)) || !assert.Less(t, look, 5, "round %d: jobs wander", round) {
				return
			}
			if !carriedOut(t, fleet, jobs, moves) {
				break
			}
		}
		for _, q := range fleet.Queues {
			for _, job := range jobs {
				on := queueAt(fleet, job.queue)
				waits := on < 0 || fleet.Queues[on].Free() < 0
				if q.Free() > 0 && waits && q.Refuses(job.needs) == "" {
					t.Errorf("round %d: %s waits on %s while %s has a free card", round, job.workflow, job.queue, q.Name)
				}
			}
		}
	}
}

func someFleet(dice *rand.Rand) (fleet post.Fleet, jobs []waitingJob) {
	stores := []string{"a", "b", "c", "d"}
	for i := range 1 + dice.IntN(5) {
		q := post.Queue{Name: fmt.Sprint("q", i), Admits: post.Admits{Pool: "gpu", Stores: stores[:1+dice.IntN(len(stores))]}, Live: dice.IntN(4)}
		q.Busy = dice.IntN(q.Live + 1)
		fleet.Queues = append(fleet.Queues, q)
	}
	for i := range dice.IntN(20) {
		on := dice.IntN(len(fleet.Queues))
		fleet.Queues[on].Backlog++
		jobs = append(jobs, waitingJob{workflow: fmt.Sprint("w", i), needs: post.Needs{Miner: 1, Size: 2048, Stores: stores[:1+dice.IntN(len(stores))]},
			queue: fleet.Queues[on].Name, priority: 3, left: time.Duration(dice.IntN(100)) * time.Minute})
	}
	return fleet, jobs
}

func queueAt(fleet post.Fleet, name string) int {
	return slices.IndexFunc(fleet.Queues, func(q post.Queue) bool { return q.Name == name })
}

// carriedOut checks moves and makes the fleet and the jobs what they are afterwards.
func carriedOut(t *testing.T, fleet post.Fleet, jobs []waitingJob, moves []move) (moved bool) {
	for i, m := range moves {
		if i > 0 {
			assert.LessOrEqual(t, moves[i-1].job.left, m.job.left)
		}
		if from := queueAt(fleet, m.job.queue); from >= 0 {
			fleet.Queues[from].Backlog--
		}
		if to := queueAt(fleet, m.choice.Queue); to >= 0 {
			assert.Empty(t, fleet.Queues[to].Refuses(m.job.needs))
			fleet.Queues[to].Backlog++
		} else {
			assert.Equal(t, post.QueueNobody, m.choice.Queue)
		}
		moved = moved || m.changesQueue()
		jobs[i] = m.job
		jobs[i].queue = m.choice.Queue
	}
	return moved
}

func TestLinesAreEvenedOutFromTheirEnds(t *testing.T) {
	admits := post.Admits{Pool: "gpu", Stores: []string{"a"}}
	fleet := post.Fleet{Queues: []post.Queue{{Name: "long", Admits: admits, Live: 1, Busy: 1, Backlog: 5}, {Name: "short", Admits: admits, Live: 1}}}
	var jobs []waitingJob
	for i := range 5 {
		jobs = append(jobs, waitingJob{workflow: fmt.Sprint("w", i), needs: post.Needs{Stores: admits.Stores}, queue: "long", left: time.Duration(i) * time.Hour})
	}
	moved := map[string]string{}
	for _, m := range plan(fleet, jobs, func(abi.SectorSize, int) time.Duration { return 0 }) {
		if m.changesQueue() {
			moved[m.job.workflow] = m.choice.Queue
		}
	}
	assert.Equal(t, map[string]string{"w0": "short", "w4": "short"}, moved, "the first gets the free card; of the others, the last has most to gain")
}

func TestWhatAMoveChanges(t *testing.T) {
	job := waitingJob{queue: "a", priority: 3}
	for name, c := range map[string]struct {
		choice        post.Choice
		queue, raises bool
	}{
		"nothing":                 {post.Choice{Queue: "a", Priority: 3}, false, false},
		"the queue":               {post.Choice{Queue: "b", Priority: 3}, true, false},
		"the priority":            {post.Choice{Queue: "a", Priority: 1}, false, true},
		"it never gets less":      {post.Choice{Queue: "a", Priority: 4}, false, false},
		"what it waits for alone": {post.Choice{Queue: "a", Priority: 3, Waits: "gpu-1 is paused"}, false, false},
	} {
		m := move{job: job, choice: c.choice}
		assert.Equal(t, c.queue, m.changesQueue(), name)
		assert.Equal(t, c.raises, m.raises(), name)
	}
}
