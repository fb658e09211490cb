package workers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"go.temporal.io/sdk/client"

	"posthaste/config"
	"posthaste/post"
)

// otherMiners says in a daemon's log where its file and what is watched differ. It never ends a miner's workflow: another daemon's file may
// name the miner, or an operator has added it, and to stop proving because a file lacks a line costs real money.
type otherMiners struct {
	configured []config.Miner
	temporal   client.Client
	log        *slog.Logger
	told       map[abi.ActorID]string // what was said last, so that it is said once
}

// tell looks at what is watched now. Not to know it is no trouble of a daemon: it looks again in a minute.
func (o *otherMiners) tell(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	watched, err := ReadWatched(limited, o.temporal)
	if err != nil {
		o.log.Debug("listing what is watched", "error", err)
		return
	}
	if o.told == nil {
		o.told = map[abi.ActorID]string{}
	}
	for _, m := range watched {
		says := differs(o.configured, m)
		if says != "" && says != o.told[m.Miner] {
			o.log.Warn(says, "miner", post.MinerName(m.Miner))
		}
		o.told[m.Miner] = says
	}
}

// differs says how a miner that has a workflow stands otherwise than a file says; empty: it does not.
func differs(configured []config.Miner, m Watched) string {
	i := slices.IndexFunc(configured, func(c config.Miner) bool { return c.ID == m.Miner })
	name := post.MinerName(m.Miner)
	switch {
	case i >= 0 && configured[i].Enabled && m.Removed != "":
		return fmt.Sprintf("posthaste.toml names a miner that was removed (%s): nothing is issued for it until `posthaste miner add %s`", m.Removed, name)
	case m.Removed != "" || i >= 0 && configured[i].Enabled:
		return ""
	case i >= 0:
		return fmt.Sprintf("a miner is watched that posthaste.toml disables: its deadlines are still proven; `posthaste miner remove %s` ends that", name)
	}
	return fmt.Sprintf("a miner is watched that posthaste.toml does not name: another daemon's may, or it was added; `posthaste miner remove %s` ends that", name)
}
