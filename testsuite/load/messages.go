package load

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
	"posthaste/workflows"
)

// pool plays the wallet, the message pool and the blocks, for the real SenderWorkflow. A message is in the next epoch's block, unless the
// deadline that it is for is held.
type pool struct {
	head func() abi.ChainEpoch

	mu     sync.Mutex
	held   map[string]bool // by deadline's workflow
	pushed []*pushed       // by nonce
}

// played is what a message is about; its JSON is the message.
type played struct {
	Deadline  string `json:"deadline"` // workflow ID
	Partition uint64 `json:"partition"`
	Proof     []byte `json:"proof"`
}

type pushed struct {
	played
	name  string
	lands abi.ChainEpoch // 0: held
}

// Post is a message that was sent for a partition.
type Post struct {
	Deadline  string // workflow ID
	Partition uint64
	Message   string
}

func (p *pool) activities() map[string]any {
	return map[string]any{
		workflows.ActivityPrepareMessage: p.prepare,
		workflows.ActivitySignMessage:    p.sign,
		workflows.ActivityQuoteMessage:   p.quote,
		workflows.ActivityIssueMessages:  p.issue,
		workflows.ActivityPushMessage:    p.push,
		workflows.ActivityFollowMessages: p.follow,
		workflows.ActivityConfirmMessage: p.confirm,
	}
}

// build makes the message of a partition, or says that its post is in a block.
func (p *pool) build(in workflows.BuildInput) (workflows.BuiltPost, error) {
	if p.posted(in.Deadline, in.Partitions[0]) {
		return workflows.BuiltPost{Posted: true}, nil
	}
	params, err := json.Marshal(played{in.Deadline.WorkflowID(), in.Partitions[0], in.Proof.Bytes})
	return workflows.BuiltPost{Method: 5, To: post.MinerName(in.Deadline.Miner), Params: params}, err
}

// posted says whether a partition's post is in a block.
func (p *pool) posted(d post.Deadline, partition uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.pushed, func(m *pushed) bool {
		return m.Deadline == d.WorkflowID() && m.Partition == partition && p.landed(m)
	})
}

func (p *pool) landed(m *pushed) bool { return m.lands > 0 && m.lands <= p.head() }

func (p *pool) prepare(_ context.Context, in workflows.PrepareInput) (workflows.Prepared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return workflows.Prepared{Message: in.Request.Params, Nonce: uint64(len(p.pushed)), Head: p.head()}, nil
}

func (p *pool) sign(_ context.Context, in workflows.SignInput) (workflows.Signed, error) {
	return workflows.Signed{Message: fmt.Sprintf("message-%d", in.Nonce), Bytes: in.Message}, nil
}

func (p *pool) quote(context.Context, post.MessageRequest) (workflows.Quoted, error) {
	return workflows.Quoted{Quote: post.Quote{GasUsed: 1}, Head: p.head()}, nil
}

// issue gives out nonces one after the other: all that it gives are pushed before it is asked again.
func (p *pool) issue(ctx context.Context, in workflows.IssueInput) (workflows.Issued, error) {
	for p.head() < in.NotBefore {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return workflows.Issued{}, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out := workflows.Issued{Head: p.head()}
	for i, w := range in.Wanted {
		nonce := uint64(len(p.pushed) + i)
		signed := workflows.Signed{Message: fmt.Sprintf("message-%d", nonce), Bytes: w.Request.Params}
		out.Messages = append(out.Messages, workflows.IssuedMessage{Nonce: nonce, Signed: signed})
	}
	return out, nil
}

func (p *pool) push(_ context.Context, in workflows.Signed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.pushed, func(m *pushed) bool { return m.name == in.Message }) {
		return nil
	}
	m := &pushed{name: in.Message}
	if err := json.Unmarshal(in.Bytes, &m.played); err != nil {
		return err
	}
	if !p.held[m.Deadline] {
		m.lands = p.head() + 1
	}
	p.pushed = append(p.pushed, m)
	return nil
}

func (p *pool) follow(_ context.Context, in workflows.FollowInput) (post.Sender, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// No nonce is used by anything else, and what is held does not hold up what is behind it.
	out := post.Sender{Head: p.head()}
	for _, name := range in.Messages {
		var look post.Look
		for _, m := range p.pushed {
			if m.name == name && p.landed(m) {
				look = post.Look{Found: true, Epoch: m.lands}
			}
		}
		out.Looks = append(out.Looks, look)
	}
	return out, nil
}

func (p *pool) confirm(_ context.Context, in workflows.ConfirmInput) (workflows.Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.pushed {
		if m.name == in.Message && p.landed(m) {
			return workflows.Receipt{Found: true, Message: m.name, Epoch: m.lands}, nil
		}
	}
	return workflows.Receipt{Message: in.Message}, nil
}

// Hold keeps the messages of a deadline out of blocks.
func (l *Load) Hold(d post.Deadline) {
	p := l.chain.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[d.WorkflowID()] = true
}

// Release lets them in.
func (l *Load) Release(d post.Deadline) {
	p := l.chain.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[d.WorkflowID()] = false
	for _, m := range p.pushed {
		if m.Deadline == d.WorkflowID() && m.lands == 0 {
			m.lands = p.head() + 1
		}
	}
}

// Posts are the messages that were sent so far, each once however often it was pushed.
func (l *Load) Posts() []Post {
	p := l.chain.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Post
	for _, m := range p.pushed {
		out = append(out, Post{m.Deadline, m.Partition, m.name})
	}
	return out
}
