package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/client"

	"posthaste/chain"
	"posthaste/config"
	"posthaste/post"
)

// mendToken is what to do about a token that may not sign.
const mendToken = "make one with `lotus auth api-info --perm sign` and restart the daemon"

// checkTokens says at once, and not at the first Close, of which nodes the token may not sign, or not even write: those are given no messages,
// and one that lands only by way of them is missed. It is an error if that is so of all: such a
// daemon cannot send anything. A node that does not answer is asked again and again.
func checkTokens(ctx context.Context, nodes *chain.Nodes, log *slog.Logger) error {
	var mu sync.Mutex
	may := false
	var asking sync.WaitGroup
	for _, node := range nodes.Each() {
		asking.Go(func() {
			err := until(ctx, log.With("node", node.Endpoint()), "the node's token", 30*time.Second, func(ctx context.Context) error {
				permissions, err := nodes.Permissions(ctx, node)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if permissions == nil || slices.Contains(permissions, "sign") {
					may = true
					return nil
				}
				if !slices.Contains(permissions, "write") {
					log.Warn("a node is given no messages, since its token may not write", "node", node.Endpoint(), "it_may", strings.Join(permissions, ", "),
						"mend", "make one with `lotus auth api-info --perm write`, so that posts reach the network by way of this node, too")
				}
				log.Error("a node's token may not sign, and posts must be signed", "node", node.Endpoint(), "it_may", strings.Join(permissions, ", "), "mend", mendToken)
				return nil
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				may = true // the daemon stops: nothing is known
			}
		})
	}
	asking.Wait()
	if !may {
		return fmt.Errorf("no node has a token that may sign (%d asked), so no post could be sent; %s", len(nodes.Each()), mendToken)
	}
	return nil
}

// keyReader is what finding a miner's sending addresses takes from a node.
type keyReader interface {
	StateMinerInfo(context.Context, address.Address, chain.TipSetKey) (chain.MinerInfo, error)
	StateAccountKey(context.Context, address.Address, chain.TipSetKey) (address.Address, error)
	WalletHas(context.Context, address.Address) (bool, error)
}

// senderless says what is wrong if no node holds a key that may send the miner's posts; empty: one does, or the chain has no such miner.
func senderless(ctx context.Context, node keyReader, miner abi.ActorID, sender string) (string, error) {
	actor, err := chain.MinerAddress(miner)
	if err != nil {
		return "", err
	}
	info, err := node.StateMinerInfo(ctx, actor, nil)
	if errors.Is(err, chain.ErrNoActor) {
		return "", nil // told of by whoever watches it
	}
	if err != nil {
		return "", err
	}
	candidates := info.Senders()
	if sender != "" {
		from, err := address.NewFromString(sender)
		if err != nil {
			return fmt.Sprintf("its sender %q is no address", sender), nil
		}
		candidates = []address.Address{from}
	}
	var asked []string
	for _, account := range candidates {
		key, err := node.StateAccountKey(ctx, account, nil)
		if err != nil && (errors.Is(err, chain.ErrUnreachable) || errors.Is(err, chain.ErrNoRPC) || ctx.Err() != nil) {
			return "", err
		}
		if err != nil {
			continue // an owner is often a multisig, which has no key and sends nothing itself
		}
		has, err := node.WalletHas(ctx, key)
		if err != nil || has {
			return "", err
		}
		if name := key.String(); !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
	}
	return "no node's wallet holds a key that may send its posts (" + strings.Join(asked, ", ") + ")", nil
}

// keysEvery is how often the senders' keys are looked for: miners are added, and keys imported, while daemons run.
const keysEvery = 10 * time.Minute

// checkSenders says at once, and not at the first Close, of which miners no node holds a key that may send posts; and when one does.
func checkSenders(ctx context.Context, miners []config.Miner, node keyReader, temporal client.Client, log *slog.Logger) error {
	said := map[abi.ActorID]string{}
	for {
		for miner, sender := range sendersOf(ctx, miners, temporal) {
			var problem string
			err := until(ctx, log, "the keys of "+post.MinerName(miner), time.Minute, func(ctx context.Context) (err error) {
				problem, err = senderless(ctx, node, miner, sender)
				return err
			})
			if err != nil {
				return err
			}
			switch before := said[miner]; {
			case problem != "" && problem != before:
				log.Error("posts of a miner cannot be sent", "miner", post.MinerName(miner), "why", problem,
					"mend", "`lotus wallet import` on the node of a token that may sign, or another sender in [policy] or [[miners]]")
			case problem == "" && before != "":
				log.Info("posts of a miner can be sent now", "miner", post.MinerName(miner))
			}
			said[miner] = problem
		}
		select {
		case <-time.After(keysEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendersOf are the miners that are watched, by this daemon's file or otherwise, and their configured senders.
func sendersOf(ctx context.Context, miners []config.Miner, temporal client.Client) map[abi.ActorID]string {
	all := map[abi.ActorID]string{}
	if watched, err := ReadWatched(ctx, temporal); err == nil { // else those of the file will do
		for _, m := range watched {
			if m.Issues() {
				all[m.Miner] = m.Settings.Sender
			}
		}
	}
	for _, m := range miners {
		if m.Enabled {
			all[m.ID] = m.Settings.Sender
		}
	}
	return all
}
