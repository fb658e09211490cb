package post

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	small = abi.SectorSize(2 << 10)
	big32 = abi.SectorSize(32 << 30)
	big64 = abi.SectorSize(64 << 30)
)

func TestQueueOfAdmits(t *testing.T) {
	a := Admits{Pool: "gpu", Stores: []string{"b", "a"}}
	assert.Regexp(t, `^wdpost\.gpu\.[0-9a-f]{8}$`, a.Queue(KindWindow))
	assert.Equal(t, a.Queue(KindWindow), Admits{Pool: "gpu", Stores: []string{"a", "b"}}.Queue(KindWindow), "the order of stores says nothing")
	assert.Equal(t, []string{"b", "a"}, a.Stores, "and is left as it was")
	different := []Admits{
		a, {Pool: "a100", Stores: a.Stores}, {Pool: "gpu", Stores: []string{"a"}}, {Pool: "gpu", Stores: a.Stores, MaxSize: small},
		{Pool: "gpu", Stores: a.Stores, Rules: []Rule{{Miners: []abi.ActorID{1000}}}},
		{Pool: "gpu", Stores: a.Stores, Rules: []Rule{{Sizes: []abi.SectorSize{small}}}},
	}
	seen := map[string]bool{}
	for _, admits := range different {
		seen[admits.Queue(KindWindow)] = true
		seen[admits.Queue(KindWinning)] = true
	}
	assert.Len(t, seen, 2*len(different))
}

func TestRefuses(t *testing.T) {
	needs := Needs{Miner: 1000, Size: big32, Stores: []string{"s1", "s2"}}
	stores := []string{"s1", "s2", "s3"}
	for name, c := range map[string]struct {
		admits Admits
		pool   string
		want   string
	}{
		"no rules at all":             {admits: Admits{Pool: "gpu", Stores: stores}},
		"the wanted pool":             {admits: Admits{Pool: "a100", Stores: stores}, pool: "a100"},
		"another pool":                {admits: Admits{Pool: "gpu", Stores: stores}, pool: "a100", want: `is in pool "gpu", not "a100"`},
		"a rule for the miner":        {admits: Admits{Stores: stores, Rules: []Rule{{Miners: []abi.ActorID{1, 1000}}}}},
		"a rule for another miner":    {admits: Admits{Stores: stores, Rules: []Rule{{Miners: []abi.ActorID{1}}}}, want: "is not allowed f01000 with sectors of 32GiB"},
		"the second of two rules":     {admits: Admits{Stores: stores, Rules: []Rule{{Miners: []abi.ActorID{1}}, {Sizes: []abi.SectorSize{big32}}}}},
		"miner and size in two rules": {admits: Admits{Stores: stores, Rules: []Rule{{Miners: []abi.ActorID{1000}, Sizes: []abi.SectorSize{big64}}, {Miners: []abi.ActorID{2}, Sizes: []abi.SectorSize{big32}}}}, want: "is not allowed f01000 with sectors of 32GiB"},
		"a CPU":                       {admits: Admits{Stores: stores, MaxSize: small}, want: "takes no sectors of 32GiB without a GPU"},
		"one store missing":           {admits: Admits{Stores: []string{"s1"}}, want: `cannot read store "s2"`},
		"both stores missing":         {admits: Admits{}, want: `cannot read stores "s1", "s2"`},
	} {
		t.Run(name, func(t *testing.T) {
			n := needs
			n.Pool = c.pool
			assert.Equal(t, c.want, c.admits.Refuses(n))
		})
	}
}

// queue is one for tests, which admits store s.
func queue(name string, live, busy, backlog int, stores ...string) Queue {
	return Queue{Name: name, Admits: Admits{Pool: "gpu", Stores: append([]string{"s"}, stores...)}, Live: live, Busy: busy, Backlog: backlog}
}

func TestRoute(t *testing.T) {
	asleep := queue("asleep", 0, 0, 0)
	asleep.Asleep = "worker w3 is not running"
	cards := func(q Queue, names ...string) Queue { q.Cards = names; return q }
	needs := Needs{Miner: 1000, Size: small, Stores: []string{"s"}}
	for name, c := range map[string]struct {
		fleet   []Queue
		avoid   []string
		current string
		want    Choice
	}{
		"nobody is known":                             {want: Choice{Queue: QueueNobody, Waits: "no worker is known; start one with `posthaste worker run`"}},
		"the only one":                                {fleet: []Queue{queue("a", 1, 0, 0)}, want: Choice{Queue: "a"}},
		"the only one is full":                        {fleet: []Queue{queue("a", 1, 1, 9)}, want: Choice{Queue: "a"}},
		"a free one before a full one":                {fleet: []Queue{queue("a", 4, 4, 0), queue("b", 1, 0, 0)}, want: Choice{Queue: "b"}},
		"what waits takes a place":                    {fleet: []Queue{queue("a", 4, 2, 2), queue("b", 1, 0, 0)}, want: Choice{Queue: "b"}},
		"the one with fewer stores, if both are free": {fleet: []Queue{queue("a", 4, 0, 0, "s2"), queue("b", 4, 3, 0)}, want: Choice{Queue: "b"}},
		"the one with more room, of equals":           {fleet: []Queue{queue("a", 4, 3, 0), queue("b", 4, 1, 0)}, want: Choice{Queue: "b"}},
		"the shortest wait, if none is free":          {fleet: []Queue{queue("a", 2, 2, 4), queue("b", 8, 8, 4)}, want: Choice{Queue: "b"}},
		"one that sleeps is passed over":              {fleet: []Queue{asleep, queue("b", 1, 1, 5)}, want: Choice{Queue: "b"}},
		"all sleep":                                   {fleet: []Queue{asleep}, want: Choice{Queue: "asleep", Waits: "nobody who may take it is awake: worker w3 is not running"}},
		"it waits, and nobody else is free":           {fleet: []Queue{queue("a", 1, 1, 2), queue("b", 1, 1, 0)}, current: "a", want: Choice{Queue: "a"}},
		"it waits, and another's line is shorter":     {fleet: []Queue{queue("a", 1, 1, 3), queue("b", 1, 1, 0)}, current: "a", want: Choice{Queue: "b"}},
		"it waits, and another is free":               {fleet: []Queue{queue("a", 1, 1, 1), queue("b", 1, 0, 0)}, current: "a", want: Choice{Queue: "b"}},
		"it waits, but only until it is picked up":    {fleet: []Queue{queue("a", 2, 1, 1), queue("b", 9, 0, 0)}, current: "a", want: Choice{Queue: "a"}},
		"its queue fell asleep":                       {fleet: []Queue{asleep, queue("b", 1, 1, 5)}, current: "asleep", want: Choice{Queue: "b"}},
		"its queue is not known any more":             {fleet: []Queue{queue("b", 1, 1, 5)}, current: "old", want: Choice{Queue: "b"}},
		"a card that failed it":                       {fleet: []Queue{cards(queue("a", 1, 0, 0), "w1/c0"), cards(queue("b", 1, 1, 3), "w2/c0")}, avoid: []string{"w1/c0"}, want: Choice{Queue: "b", Elsewhere: true}},
		"a worker that failed it":                     {fleet: []Queue{cards(queue("a", 2, 0, 0), "w1/c0", "w1/c1"), cards(queue("b", 1, 1, 3), "w2/c0")}, avoid: []string{"w1/*"}, want: Choice{Queue: "b", Elsewhere: true}},
		"another card of the queue":                   {fleet: []Queue{cards(queue("a", 2, 0, 0), "w1/c0", "w2/c0")}, avoid: []string{"w1/c0"}, want: Choice{Queue: "a", Elsewhere: true}},
		"all cards have failed it":                    {fleet: []Queue{cards(queue("a", 1, 0, 0), "w1/c0")}, avoid: []string{"w1/c0"}, want: Choice{Queue: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, Route(needs, c.avoid, Fleet{Queues: c.fleet}, c.current))
		})
	}
}

func TestRouteSaysWhatIsMissing(t *testing.T) {
	fleet := Fleet{Queues: []Queue{
		{Name: "q1", Admits: Admits{Pool: "gpu", Stores: []string{"s1"}, Rules: []Rule{{Miners: []abi.ActorID{1000}}}}, Live: 1},
		{Name: "q2", Admits: Admits{Pool: "a100", Stores: []string{"s2"}}, Live: 1},
	}}
	for name, c := range map[string]struct {
		needs Needs
		want  string
	}{
		"a store that nobody has":        {Needs{Miner: 1000, Size: small, Stores: []string{"s1", "s9"}}, `no worker can read store "s9"`},
		"a pool that nobody is in":       {Needs{Miner: 1000, Size: small, Pool: "h200"}, `no worker is in pool "h200"`},
		"a miner that nobody may have":   {Needs{Miner: 7, Size: small, Pool: "gpu"}, `no worker is allowed f07 with sectors of 2KiB`},
		"stores that nobody has at once": {Needs{Miner: 1000, Size: small, Stores: []string{"s1", "s2"}}, `no worker has all it needs: q1 cannot read store "s2"; q2 cannot read store "s1"`},
	} {
		t.Run(name, func(t *testing.T) {
			choice := Route(c.needs, nil, fleet, "")
			choice.Lost = nil
			assert.Equal(t, Choice{Queue: QueueNobody, Waits: c.want}, choice)
		})
	}
}

func TestRouteSaysWhatIsLost(t *testing.T) {
	reads := func(live int, stores ...string) Queue {
		return Queue{Name: fmt.Sprint("q", live, stores), Admits: Admits{Stores: stores}, Live: live, Asleep: "w is not running"}
	}
	for name, c := range map[string]struct {
		fleet []Queue
		want  []string
	}{
		"nobody has one of the stores":               {[]Queue{reads(1, "s1")}, []string{"s2"}},
		"who has it sleeps":                          {[]Queue{reads(1, "s1"), reads(0, "s1", "s2")}, []string{"s2"}},
		"somebody has both":                          {[]Queue{reads(1, "s1"), reads(1, "s1", "s2")}, nil},
		"nobody has any":                             {[]Queue{reads(1, "s3")}, nil},
		"all sleep":                                  {[]Queue{reads(0, "s1", "s2")}, nil},
		"both can be read, but by nobody at once":    {[]Queue{reads(1, "s1"), reads(1, "s2")}, nil},
		"who has the other one may not prove for it": {[]Queue{{Admits: Admits{Stores: []string{"s1"}, Rules: []Rule{{Miners: []abi.ActorID{7}}}}, Live: 1}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, Route(Needs{Miner: 1000, Size: small, Stores: []string{"s1", "s2"}}, nil, Fleet{Queues: c.fleet}, "").Lost)
		})
	}
}

// Whatever the fleet is, a job goes to somebody who may have it, and to a free one if there is one.
func TestRouteAtRandom(t *testing.T) {
	const jobs = 10_000
	r := rand.New(rand.NewPCG(1, 2))
	routed := 0
	for routed < jobs {
		fleet := randomFleet(r)
		for range 20 {
			routed++
			n, avoid := randomNeeds(r), randomAvoid(r)
			current := ""
			if len(fleet.Queues) > 0 && r.IntN(2) == 0 {
				at := r.IntN(len(fleet.Queues))
				current = fleet.Queues[at].Name
				fleet.Queues[at].Backlog++
			}
			check(t, n, avoid, fleet, current)
		}
	}
}

func check(t *testing.T, n Needs, avoid []string, fleet Fleet, current string) {
	t.Helper()
	choice := Route(n, avoid, fleet, current)
	admitting := slices.DeleteFunc(slices.Clone(fleet.Queues), func(q Queue) bool { return q.Refuses(n) != "" })
	what := fmt.Sprintf("%+v in %+v", n, fleet)
	if choice.Queue == QueueNobody {
		require.Empty(t, admitting, what)
		require.NotEmpty(t, choice.Waits, what)
		return
	}
	at := slices.IndexFunc(admitting, func(q Queue) bool { return q.Name == choice.Queue })
	require.GreaterOrEqual(t, at, 0, "it went to somebody who may not have it: "+what)
	chosen := admitting[at]
	live := slices.DeleteFunc(slices.Clone(admitting), func(q Queue) bool { return q.Live == 0 })
	if len(live) == 0 {
		require.NotEmpty(t, choice.Waits, what)
		return
	}
	require.Empty(t, choice.Waits, what)
	require.Positive(t, chosen.Live, "it waits with somebody who sleeps: "+what)
	if !chosen.fresh(avoid) {
		require.False(t, slices.ContainsFunc(live, func(q Queue) bool { return q.fresh(avoid) }), what)
	}
	waiting := 0
	if chosen.Name == current {
		waiting = 1
	}
	if chosen.Free()+waiting <= 0 {
		require.False(t, slices.ContainsFunc(live, func(q Queue) bool {
			return q.Free() > 0 && q.Name != current && q.fresh(avoid) == chosen.fresh(avoid)
		}), "a card is free that may have it: "+what)
	}
	again := fleet
	again.Queues = slices.Clone(fleet.Queues)
	slices.Reverse(again.Queues)
	require.Equal(t, choice.Queue, Route(n, avoid, again, current).Queue, "it depends on the order of the queues: "+what)
}

func randomFleet(r *rand.Rand) Fleet {
	var fleet Fleet
	for i := range r.IntN(8) {
		q := Queue{Name: fmt.Sprintf("q%d", i), Live: r.IntN(5)}
		q.Pool = []string{"gpu", "a100"}[r.IntN(2)]
		q.Busy = r.IntN(q.Live + 1)
		q.Backlog = max(0, r.IntN(6)-3)
		q.MaxSize = []abi.SectorSize{0, 0, small}[r.IntN(3)]
		for range r.IntN(3) {
			rule := Rule{}
			if r.IntN(2) == 0 {
				rule.Miners = []abi.ActorID{abi.ActorID(r.IntN(4))}
			}
			if r.IntN(2) == 0 {
				rule.Sizes = []abi.SectorSize{[]abi.SectorSize{small, big32}[r.IntN(2)]}
			}
			q.Rules = append(q.Rules, rule)
		}
		for s := range 4 {
			if r.IntN(3) > 0 {
				q.Stores = append(q.Stores, fmt.Sprintf("s%d", s))
			}
		}
		for c := range q.Live {
			q.Cards = append(q.Cards, fmt.Sprintf("w%d/c%d", i, c))
		}
		fleet.Queues = append(fleet.Queues, q)
	}
	return fleet
}

func randomNeeds(r *rand.Rand) Needs {
	n := Needs{Miner: abi.ActorID(r.IntN(4)), Size: []abi.SectorSize{small, big32}[r.IntN(2)], Pool: []string{"", "", "gpu", "a100"}[r.IntN(4)]}
	for s := range 4 {
		if r.IntN(4) == 0 {
			n.Stores = append(n.Stores, fmt.Sprintf("s%d", s))
		}
	}
	return n
}

func randomAvoid(r *rand.Rand) []string {
	var avoid []string
	for range r.IntN(3) {
		avoid = append(avoid, fmt.Sprintf("w%d/%s", r.IntN(8), []string{"*", "c0", "c1"}[r.IntN(3)]))
	}
	return avoid
}

func TestPriority(t *testing.T) {
	for name, c := range map[string]struct {
		try            int
		left, forecast time.Duration
		want           int
	}{
		"fresh":                            {1, time.Hour, 10 * time.Minute, 3},
		"fresh, and nobody knows how long": {1, time.Minute, 0, 3},
		"tried before":                     {2, time.Hour, 10 * time.Minute, 2},
		"little time left":                 {1, 19 * time.Minute, 10 * time.Minute, 1},
		"tried before, little time left":   {3, 19 * time.Minute, 10 * time.Minute, 1},
		"just enough":                      {1, 20 * time.Minute, 10 * time.Minute, 3},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, Priority(c.try, c.left, c.forecast)) })
	}
}
