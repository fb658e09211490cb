package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Nodes is several endpoints of one chain behind the methods of one Node, and a process's one view of its head. One of them is used; it
// is left for another when it is down, on a fork, behind or slow, and a call that it does not answer goes to the next at once. A call about
// a tipset goes to an endpoint that has it, so that reads which belong together do not mix two nodes' views. With one endpoint all is as if
// there were no Nodes. Safe for concurrent use.
type Nodes struct {
	*headline
	members []*member
	options Options
	log     *slog.Logger
	began   time.Time

	mu   sync.Mutex
	used int
	// looked says that all have been looked at once since Run began: before, nothing is known by which to leave one for another.
	running, looked bool
	// held is the head of the node that was used before, until the new one has come as far: heads do not go back for a change of nodes.
	held *TipSet
	has  map[string]uint64 // which members have a tipset, by its key, a bit each; of those seen lately
	seen []string          // those keys, the oldest first
}

// member is one endpoint, with what is known of it.
type member struct {
	*Node
	follower *Follower

	mu       sync.Mutex
	failures int
	problem  error
	latency  time.Duration
	slowest  string // the call that made it so
	old      TipSetKey
	oldAt    abi.ChainEpoch
	good     time.Time // since when without a break; zero: it is not
	judged   Judged
	perms    []string       // what its token may do; nil: not known
	network  *NetworkParams // what it said of its network; nil: nothing yet
	looks    int            // at it, since the start
	foreign  string         // what shows that it is of another network than the first endpoint that said which; empty: nothing does
}

// maxNodes bounds the endpoints: what has a tipset is a set of bits.
const maxNodes = 16

// DialAll makes a client for all endpoints, in the order in which they are preferred. It does not speak to them yet; Run follows them.
func DialAll(ctx context.Context, apiInfos []string, options Options, log *slog.Logger) (*Nodes, error) {
	if len(apiInfos) == 0 || len(apiInfos) > maxNodes {
		return nil, fmt.Errorf("there are %d nodes; it goes from 1 to %d", len(apiInfos), maxNodes)
	}
	s := &Nodes{headline: newHeadline(), options: options.withDefaults(), log: log, began: time.Now(), has: map[string]uint64{}}
	for i, info := range apiInfos {
		n, err := Dial(ctx, info, options)
		if err == nil {
			for _, other := range s.members {
				if other.Endpoint() == n.Endpoint() {
					err = fmt.Errorf("%s is there twice", n.Endpoint())
				}
			}
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("node %d of %d: %w", i+1, len(apiInfos), err)
		}
		s.members = append(s.members, &member{Node: n, follower: NewFollower(n, log)})
	}
	return s, nil
}

// Close ends the clients.
func (s *Nodes) Close() {
	for _, m := range s.members {
		m.Close()
	}
}

// Each are the endpoints, in the order of preference.
func (s *Nodes) Each() []*Node {
	var nodes []*Node
	for _, m := range s.members {
		nodes = append(nodes, m.Node)
	}
	return nodes
}

// Endpoint is the address of the node that is used now, for people.
func (s *Nodes) Endpoint() string { return s.current().Endpoint() }

func (s *Nodes) current() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[s.used]
}

// Run follows the heads of all endpoints and judges them until the context ends. It returns only then.
func (s *Nodes) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	var running sync.WaitGroup
	for i, m := range s.members {
		running.Go(func() { _ = m.follower.Run(ctx) })
		running.Go(func() {
			for head := range m.follower.Heads(ctx) {
				s.saw(i, head)
			}
		})
	}
	for len(s.members) > 1 && ctx.Err() == nil {
		s.look(ctx)
		sleep(ctx, s.lookEvery())
	}
	running.Wait()
	return ctx.Err()
}

// saw takes a member's new head.
func (s *Nodes) saw(i int, head *TipSet) {
	s.learn(s.members[i], head.Key())
	s.learn(s.members[i], head.Parents())
	s.settle()
	s.publish()
}

// epoch is how long an epoch is, as far as any node has said; else as on mainnet.
func (s *Nodes) epoch() time.Duration {
	for _, m := range s.members {
		if epoch, _ := m.follower.state(); epoch > 0 {
			return epoch
		}
	}
	return 30 * time.Second
}

// note remembers whether a call was answered. What a caller gave up is nobody's failure, and that a token lacks a permission is an answer.
func (m *member) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil || (!unanswered(err) || forbidden(err)) && errors.As(err, new(*CallError)):
		m.failures, m.problem = 0, nil
	case unanswered(err):
		m.failures++
		m.problem = err
	}
}

// forbidden says whether a node's answer was that the token, which is one of its own, does not permit this method.
func forbidden(err error) bool {
	return errors.Is(err, ErrToken) && strings.Contains(err.Error(), noPermission)
}

// unanswered says whether an error means that the endpoint did not do what it is there for, so that another should be asked.
func unanswered(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrToken) || errors.Is(err, ErrNoRPC)
}

// verdict is the last one.
func (m *member) verdict() Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.judged.Verdict
}

// standing is what is known of a member now.
func (m *member) standing() Standing {
	_, away := m.follower.state()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := Standing{
		Endpoint: m.Endpoint(), Head: m.follower.Head(), Away: away != nil, Failures: m.failures,
		Latency: m.latency, Slowest: m.slowest, Old: m.old, OldAt: m.oldAt, GoodSince: m.good, Foreign: m.foreign,
	}
	if problem := m.problem; problem != nil {
		out.Problem = problem.Error()
	} else if away != nil {
		out.Problem = away.Error()
	}
	return out
}

// settle judges all endpoints and changes the one that is used if another is better.
func (s *Nodes) settle() {
	if len(s.members) == 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running && !s.looked {
		return
	}
	all := make([]Standing, len(s.members))
	for i, m := range s.members {
		all[i] = m.standing()
	}
	now := time.Now()
	judged := JudgeNodes(all)
	for i, m := range s.members {
		m.mu.Lock()
		before := m.judged
		switch m.judged = judged[i]; {
		case judged[i].Verdict != Good:
			m.good = time.Time{}
		case m.good.IsZero():
			m.good = now
		}
		all[i].GoodSince = m.good
		m.mu.Unlock()
		// The one that is used is told of when it is left.
		if i != s.used && before.Verdict != judged[i].Verdict && time.Since(s.began) > settling {
			s.log.Info("a node that stands by is "+judged[i].Verdict.String(), "node", m.Endpoint(), "was", before.Verdict.String(), "why", judged[i].Why)
		}
	}
	next := ChooseNode(all, judged, s.used, now, s.epoch())
	if used := all[s.used]; next == s.used || used.Head == nil && !used.Away && used.Failures < failuresDown && time.Since(s.began) < settling {
		return // the preferred one has just been asked for the first time
	}
	from := s.members[s.used]
	if judged[s.used].Verdict == Good {
		s.log.Info("using the preferred node again", "node", s.members[next].Endpoint(), "instead_of", from.Endpoint())
	} else {
		s.log.Warn("leaving a node for another", "node", from.Endpoint(), "is", judged[s.used].Verdict.String(), "why", judged[s.used].Why, "now", s.members[next].Endpoint())
	}
	s.used, s.held = next, s.Head()
}

// settling is how long after the start nodes that have not answered yet are not thought ill of: they have just been asked for the first time.
const settling = 2 * time.Second

// publish gives the used node's head to all who wait for one. After a change of nodes the new one has some time to come as far as the one
// before, so that the head does not go back by an epoch and forth again.
func (s *Nodes) publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.members[s.used].follower.Head()
	if head == nil {
		return
	}
	if s.held != nil {
		_, at, _ := s.now()
		if head.Height < s.held.Height && time.Since(at) < behindEpochs*s.epoch() {
			return
		}
		s.held = nil
	}
	s.set(head)
}

// remembered is how many tipsets it is known of who has them: those that calls are about are a few epochs old at most.
const remembered = 512

// learn remembers that a member has a tipset.
func (s *Nodes) learn(m *member, key TipSetKey) {
	if len(key) == 0 || len(s.members) == 1 {
		return
	}
	name := key.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.has[name]; !known {
		s.seen = append(s.seen, name)
		if len(s.seen) > remembered {
			delete(s.has, s.seen[0])
			s.seen = s.seen[1:]
		}
	}
	for i, other := range s.members {
		if other == m {
			s.has[name] |= 1 << i
		}
	}
}

// Outlook is how the chain is followed by the node that is used, and how all of them stand where there are several.
func (s *Nodes) Outlook() post.NodeOutlook {
	used := s.current()
	o := used.follower.Outlook()
	o.Since = s.began
	if len(s.members) == 1 {
		return o
	}
	if head, at, _ := s.now(); head != nil {
		o.Head, o.At = head.Height, at
		if !o.Timestamp.IsZero() {
			o.Timestamp = head.time()
		}
	}
	for _, m := range s.members {
		m.mu.Lock()
		one := post.NodeStanding{Endpoint: m.Endpoint(), Used: m == used, Verdict: m.judged.Verdict.String(), Why: m.judged.Why, Latency: m.latency}
		m.mu.Unlock()
		one.Head, _ = m.follower.Epoch()
		o.Nodes = append(o.Nodes, one)
	}
	return o
}
