package workers

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"
)

// What a daemon does about versions that nobody runs any more: looks so often, and believes it after so many looks. A daemon that is
// merely started again is back by then.
const (
	versionLook     = time.Minute
	versionGoneFrom = 2
)

// versionWatch counts for how many looks a version has had no daemon.
type versionWatch struct {
	gone  map[string]int
	heard map[string]time.Time // of each version, at the last look
}

// there says whether a daemon of a version runs: one was heard since the last look. Its clock may be wrong, and it must not lose its version's
// place to another for that.
func (w *versionWatch) there(v DaemonVersion) bool {
	last, known := w.heard[v.BuildID]
	w.heard[v.BuildID] = v.heard
	return v.Polling || known && v.heard.After(last)
}

// look says whether this daemon's version must become current, because no daemon of the current one runs and nothing would begin,
// and of which versions open deadlines stand still. Each is told once.
func (w *versionWatch) look(mine string, versions []DaemonVersion) (takeOver bool, stranded []DaemonVersion) {
	if w.gone == nil {
		w.gone, w.heard = map[string]int{}, map[string]time.Time{}
	}
	for _, v := range versions {
		if w.there(v) || v.BuildID == mine || !v.Current && v.Open == 0 {
			delete(w.gone, v.BuildID)
			continue
		}
		w.gone[v.BuildID]++
		takeOver = takeOver || v.Current && w.gone[v.BuildID] >= versionGoneFrom
		if v.Open > 0 && w.gone[v.BuildID] == versionGoneFrom {
			stranded = append(stranded, v)
		}
	}
	return takeOver, stranded
}

// watchVersions keeps a fleet of versioned daemons from standing still when those of the current version are gone for good: after an
// upgrade in which nobody made the new one current, say. Deadlines that the lost ones began are an operator's to move: they may
// come back, and then end what they began.
func watchVersions(ctx context.Context, mine, namespace string, temporal client.Client, log *slog.Logger) error {
	var watch versionWatch
	ticker := time.NewTicker(versionLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		err := lookAtVersions(ctx, &watch, mine, namespace, temporal, log)
		if err != nil && ctx.Err() == nil {
			log.Warn("the versions of daemons could not be read; they are looked at again", "error", err)
		}
	}
}

func lookAtVersions(ctx context.Context, watch *versionWatch, mine, namespace string, temporal client.Client, log *slog.Logger) error {
	limited, cancel := context.WithTimeout(ctx, versionLook/2)
	defer cancel()
	versions, err := DaemonVersions(limited, temporal, namespace)
	if err != nil {
		return err
	}
	takeOver, stranded := watch.look(mine, versions)
	for _, v := range stranded {
		log.Error("open deadlines stand still: no daemon of the version that began them runs; start one, or let the current version go on with them: "+
			"`posthaste temporal current "+mine+" --take-over`", "version", v.BuildID, "deadlines", v.Open)
	}
	if !takeOver {
		return nil
	}
	if err := MakeCurrent(limited, temporal, mine); err != nil {
		return err
	}
	log.Error("no daemon of the current version runs: this one's version is current now", "build", mine)
	return nil
}
