package devnet

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
	"github.com/filecoin-project/go-state-types/builtin"
	"github.com/filecoin-project/go-state-types/crypto"
	"github.com/filecoin-project/go-state-types/dline"
	"github.com/filecoin-project/go-state-types/exitcode"
	"github.com/ipfs/go-cid"

	"posthaste/chain"
)

// block is a tipset (of one block) with what its execution did. Blocks know their parent rather than their place, so that
// the head may one day move to another branch; nothing of them changes later, but that very old parents are let go.
type block struct {
	tipset   *chain.TipSet
	parent   *block
	ticket   [32]byte
	messages []*chain.SignedMessage
	receipts []chain.MessageReceipt
	before   *state // what RPC calls on this tipset see: as on Lotus, the state that its messages have not changed yet
	applied  *state // with its messages, before the cron: what gas estimates run on
	after    *state
}

func (b *block) height() abi.ChainEpoch { return b.tipset.Height }

// Chain is the simulated chain without its servers. Safe for concurrent use.
type Chain struct {
	cfg     Config
	log     *slog.Logger
	wallet  wallet
	source  maker
	genesis uint64 // timestamp of epoch 0, seconds since 1970

	mu     sync.Mutex
	head   *block
	blocks map[string]*block                // by tipset key
	recent []*block                         // the same, oldest first
	seen   map[cid.Cid]*chain.SignedMessage // every message ever pushed
	ids    map[address.Address]address.Address
	pool   *pool
	ledger *ledger
	heads  map[chan []*chain.HeadChange]struct{}
	empty  bool // blocks hold no messages

	baseFee abi.TokenAmount // of the next tipset

	changes []func(*state) // what the next tipset begins with
}

func newChain(cfg Config, log *slog.Logger, w wallet, source maker, start *state) *Chain {
	c := &Chain{
		cfg: cfg, log: log, wallet: w, source: source, blocks: map[string]*block{}, seen: map[cid.Cid]*chain.SignedMessage{},
		ids: map[address.Address]address.Address{}, pool: newPool(), ledger: newLedger(cfg), heads: map[chan []*chain.HeadChange]struct{}{},
	}
	c.genesis = uint64(time.Now().Unix()) - cfg.blockDelay()*uint64(cfg.StartEpoch)
	for id, a := range start.accounts {
		c.ids[a.key] = id
	}
	c.baseFee = cfg.BaseFee
	first := &block{before: start, applied: start, after: start, ticket: cfg.derive("ticket")}
	c.seal(first, cfg.StartEpoch)
	return c
}

// seal gives a block its name and makes it the head.
func (c *Chain) seal(b *block, height abi.ChainEpoch) {
	var parents chain.TipSetKey
	if b.parent != nil {
		parents = b.parent.tipset.Cids
	}
	sum := c.cfg.derive("block", []byte(parents.String()), number(height))
	name, err := abi.CidBuilder.Sum(sum[:])
	if err != nil {
		panic(fmt.Sprintf("naming a block: %v", err)) // hashing 32 bytes cannot fail
	}
	miner, _ := address.NewIDAddress(uint64(firstMiner))
	b.tipset = &chain.TipSet{
		Cids: chain.TipSetKey{name}, Height: height,
		Blocks: []*chain.BlockHeader{{
			Miner: miner, Parents: parents, Height: height, ParentBaseFee: c.baseFee,
			Timestamp: c.genesis + c.cfg.blockDelay()*uint64(height),
		}},
	}
	c.head = b
	c.blocks[b.tipset.Cids.String()] = b
	c.recent = append(c.recent, b)
	if keep := max(keepEpochs, 2*int(c.cfg.period())); len(c.recent) > keep {
		delete(c.blocks, c.recent[0].tipset.Cids.String())
		c.recent = c.recent[1:]
		c.recent[0].parent = nil
	}
}

// keepEpochs is how many tipsets are kept, so that a demo may run for days: what a node without an archive can tell of, about
// a day at 30 s an epoch. Two proving periods are kept in any case.
const keepEpochs = 3000

// Mine adds one tipset with the messages that are ready, executes it, and tells the subscribers.
func (c *Chain) Mine() *chain.TipSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	parent := c.head
	height := parent.height() + 1
	b := &block{parent: parent, before: parent.after, ticket: c.cfg.derive("ticket", parent.ticket[:], number(height))}
	if !c.empty {
		b.messages = c.pool.take(height, c.baseFee, func(from address.Address) uint64 { return b.before.accounts[c.ids[from]].nonce })
	}
	c.seal(b, height)
	for _, m := range b.before.miners {
		if di := c.cfg.deadlineInfo(m, height); di.Open == height {
			c.ledger.opened(m, di)
		}
	}
	st := b.before.clone()
	for _, change := range c.changes {
		change(st)
	}
	c.changes = nil
	for _, m := range b.messages {
		b.receipts = append(b.receipts, c.execute(b, st, m))
	}
	b.applied = st
	b.after = st.clone()
	c.cfg.closeDeadlines(b.after, height, func(m *minerState, di *dline.Info) { c.ledger.closed(m, di) })
	c.ledger.epoch = height
	c.announce([]*chain.HeadChange{{Type: chain.HeadApply, Val: b.tipset}})
	return b.tipset
}

// SetIncluding says whether blocks hold messages: without, they wait in the pool, as when blocks are full of others that pay more.
func (c *Chain) SetIncluding(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.empty = !on
}

// runtimeAt is what messages in the tipset b see. Tickets of null rounds are those of the last tipset before.
func (c *Chain) runtimeAt(b *block) *runtime {
	return &runtime{
		cfg: c.cfg, epoch: b.height(),
		beacon: func(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte) abi.Randomness {
			return drawRandomness(c.cfg.beacon(epoch), tag, epoch, entropy)
		},
		ticket: func(tag crypto.DomainSeparationTag, epoch abi.ChainEpoch, entropy []byte) abi.Randomness {
			at := b
			for at.height() > epoch && at.parent != nil {
				at = at.parent
			}
			return drawRandomness(at.ticket[:], tag, epoch, entropy)
		},
	}
}

// execute runs one message in a block: nonce, gas and receipt whatever the actor says of it.
func (c *Chain) execute(b *block, st *state, signed *chain.SignedMessage) chain.MessageReceipt {
	m := signed.Message
	from := c.ids[m.From]
	sender := st.accounts[from]
	sender.nonce++
	used := gasUsed(m)
	receipt := chain.MessageReceipt{GasUsed: used}
	var outcome *postOutcome
	if m.GasLimit < used {
		receipt.GasUsed, receipt.ExitCode = m.GasLimit, exitcode.SysErrOutOfGas
	} else {
		var abort *actorError
		if outcome, abort = c.invoke(b, st, from, m); abort != nil {
			receipt.ExitCode = abort.code
			c.log.Warn("message failed on the chain", "epoch", b.height(), "to", m.To, "nonce", m.Nonce, "exit", abort.code, "reason", abort.reason)
		}
	}
	tip := big.Min(m.GasPremium, big.Sub(m.GasFeeCap, c.baseFee))
	fee := big.Add(big.Mul(c.baseFee, big.NewInt(receipt.GasUsed)), big.Mul(tip, big.NewInt(m.GasLimit)))
	sender.balance = big.Sub(sender.balance, fee)
	st.accounts[from] = sender
	c.record(b, signed, outcome, receipt)
	return receipt
}

// invoke calls the actor that the message is for.
func (c *Chain) invoke(b *block, st *state, from address.Address, m chain.Message) (*postOutcome, *actorError) {
	if _, account := st.accounts[c.ids[m.To]]; account && m.Method == builtin.MethodSend {
		return nil, nil // of no value: it only uses its nonce
	}
	id, err := address.IDFromAddress(m.To)
	if err != nil {
		return nil, abortf(exitcode.SysErrInvalidReceiver, "this chain has miner actors only: %v", err)
	}
	actor, known := st.miners[abi.ActorID(id)]
	switch {
	case !known:
		return nil, abortf(exitcode.SysErrInvalidReceiver, "actor %s does not exist", m.To)
	case m.Method == builtin.MethodsMiner.DeclareFaultsRecovered:
		return nil, c.runtimeAt(b).declareRecovered(actor, from, m.Params)
	case m.Method != builtin.MethodsMiner.SubmitWindowedPoSt:
		return nil, abortf(exitcode.ErrUnhandledMessage, "method %d of the miner actor is not simulated", m.Method)
	}
	return c.runtimeAt(b).submitPost(st, actor, from, m.Params)
}

// record tells the ledger about a message in a block, with the real library's verdict on the proof.
func (c *Chain) record(b *block, m *chain.SignedMessage, outcome *postOutcome, receipt chain.MessageReceipt) {
	if m.Message.Method == builtin.MethodsMiner.DeclareFaultsRecovered {
		c.ledger.recovered(receipt.ExitCode)
	}
	if m.Message.Method != builtin.MethodsMiner.SubmitWindowedPoSt {
		return
	}
	name, err := m.Cid()
	if err != nil {
		return // it had one when it was pushed
	}
	verified := false
	if outcome != nil {
		verified = true
		if !outcome.recovering { // the actor did not look at it
			if verified, err = c.cfg.Verify(outcome.verifyInfo); err != nil || !verified {
				c.log.Error("a post with an invalid proof was taken on trust; it could be disputed", "epoch", b.height(), "message", name, "error", err)
			}
		}
	}
	c.ledger.landed(c.minerOf(b, m), m, name, b.height(), receipt.ExitCode, outcome, verified)
}

func (c *Chain) minerOf(b *block, m *chain.SignedMessage) *minerState {
	id, err := address.IDFromAddress(m.Message.To)
	if err != nil {
		return nil
	}
	return b.before.miners[abi.ActorID(id)]
}

// Push puts a message into the pool.
func (c *Chain) Push(m *chain.SignedMessage) (cid.Cid, error) {
	if err := verifySignature(m); err != nil {
		return cid.Undef, err
	}
	name, err := m.Cid()
	if err != nil {
		return cid.Undef, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sender, known := c.head.after.accounts[c.ids[m.Message.From]]
	if !known {
		return cid.Undef, fmt.Errorf("mpool push: not enough funds: %s is not on the chain: actor not found", m.Message.From)
	}
	if err := c.pool.add(m, sender.nonce, sender.balance, c.head.height()+c.cfg.InclusionDelay); err != nil {
		return cid.Undef, err
	}
	c.seen[name] = m
	c.ledger.pushed(c.minerOf(c.head, m), m)
	return name, nil
}

// subscribe gives the head and then every change of it, until the returned function is called. A reader that falls far
// behind is dropped: its channel closes.
func (c *Chain) subscribe() (<-chan []*chain.HeadChange, func()) {
	const backlog = 256
	ch := make(chan []*chain.HeadChange, backlog)
	c.mu.Lock()
	defer c.mu.Unlock()
	ch <- []*chain.HeadChange{{Type: chain.HeadCurrent, Val: c.head.tipset}}
	c.heads[ch] = struct{}{}
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(ch)
	}
}

func (c *Chain) drop(ch chan []*chain.HeadChange) {
	if _, there := c.heads[ch]; there {
		delete(c.heads, ch)
		close(ch)
	}
}

func (c *Chain) announce(change []*chain.HeadChange) {
	for ch := range c.heads {
		select {
		case ch <- change:
		default:
			c.drop(ch)
		}
	}
}

// at is the block that a tipset key names; the head for the empty one. The caller holds the lock.
func (c *Chain) at(key chain.TipSetKey) (*block, error) {
	if len(key) == 0 {
		return c.head, nil
	}
	b, known := c.blocks[key.String()]
	if !known {
		return nil, fmt.Errorf("loading tipset %s: not found", key)
	}
	return b, nil
}
