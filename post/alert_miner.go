package post

import (
	"fmt"
	"time"
)

// unwatchedFor is for how long at least nobody must have watched a miner: every minute daemons start again the workflows of the miners that
// their files name, and what is known of miners is half a minute old.
const unwatchedFor = 2 * time.Minute

// unwatched judges a miner for which no deadlines are issued, though they should be.
func (j *judge) unwatched(m MinerOutlook) {
	if m.Idle || m.Watched() {
		return
	}
	name := MinerName(m.Miner)
	a := Alert{
		Subject: "miner " + name, Miner: name, Hold: max(j.limits.Hold, unwatchedFor),
		Details: "Deadlines whose workflows run go on; the next ones are not issued, and will be missed.",
	}
	why := "its workflow runs, and does not watch the chain"
	switch {
	case m.Ended != "":
		why = fmt.Sprintf("its workflow ended at %s: %s", m.EndedAt.UTC().Format(time.RFC3339), m.Ended)
		a.Mend = fmt.Sprintf("`posthaste miner list` says why, if it failed; correct that, then `posthaste miner add %s`. If it is not to be watched: `posthaste miner add %s`, then `posthaste miner remove %s`", name, name, name)
	case m.Problem != "":
		why = "the daemon that watches it cannot: " + m.Problem
		a.Mend = "`posthaste miner list` shows it as it is now; mend the node or Temporal, whichever it names, or give the daemon another node (FULLNODE_API_INFO) and restart it"
	case m.Untaken:
		why = "no daemon takes it"
		a.Mend = "start a daemon: `systemctl start posthaste-daemon`, or `posthaste daemon run`; `posthaste miner list` then shows a head"
	default:
		a.Mend = fmt.Sprintf("start a daemon: `systemctl start posthaste-daemon`; if one runs, its log and `temporal workflow describe --workflow-id miner-%s` say what fails", name)
	}
	a.Summary = fmt.Sprintf("miner %s is not watched: %s", name, why)
	j.add(AlertMinerUnwatched, name, Critical, a)
}
