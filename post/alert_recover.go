package post

import (
	"fmt"
	"strings"
)

// recoveries judges a miner's faulty sectors.
func (j *judge) recoveries(s RecoveryState) {
	if s.Idle != "" {
		return
	}
	name := MinerName(s.Miner)
	of := func(mend, details, summary string, args ...any) Alert {
		a := Alert{Subject: "miner " + name, Miner: name, Mend: mend, Details: details, Hold: j.limits.Hold}
		a.Summary = a.Subject + ": " + fmt.Sprintf(summary, args...)
		return a
	}
	left := s.Left()
	if s.Blocked.Any() && left > 0 {
		mend := fmt.Sprintf("wait until epoch %d: they are declared then by themselves", s.Blocked.Until)
		if s.Blocked.Owed != "" {
			mend = fmt.Sprintf("`lotus send %s AMOUNT` with at least %s; they are declared then by themselves", name, s.Blocked.Owed)
		}
		j.add(AlertRecoveryBlocked, name, Critical, of(mend, s.Blocked.String(), "%s cannot be declared recovered: the actor refuses", Count(left, "faulty sector")))
	}
	for _, d := range s.Declared {
		if d.State != DeclarationFailed {
			continue
		}
		j.add(AlertRecoveryBlocked, fmt.Sprintf("%s-%d", name, d.Deadline.Index), Critical, of(
			"`lotus mpool pending --local` and `lotus wallet list` show the sender's messages and balance; it is tried again every 20 epochs, `posthaste proving recover --miner "+name+"` does so at once",
			d.Reason, "the message that declares sectors of deadline %d recovered has failed (cutoff is epoch %d)", d.Deadline.Index, d.Cutoff))
	}
	if s.Off && left > 0 {
		j.add(AlertSectorsFaulty, name, Warning, of("declare them recovered (Lotus: `lotus-miner proving recover-faults SECTOR…`), or set `recover = true` in posthaste.toml",
			"", "%s, and nothing declares them recovered: recover = false", Count(left, "faulty sector")))
		return
	}
	waits, why := 0, []string(nil)
	for _, w := range s.Waits {
		waits += w.Count()
		why = append(why, w.String())
	}
	if waits > 0 {
		j.add(AlertSectorsFaulty, name, Warning, of(
			fmt.Sprintf("put their files back, or mend the store; then `posthaste proving recover --miner %s` declares them at once. `posthaste proving recover --miner %s --status` names them", name, name),
			strings.Join(why, "; "), "%s and cannot be declared recovered; the chain ends a sector that is faulty for 42 days", areFaulty(waits)))
	}
}

func areFaulty(n int) string {
	if n == 1 {
		return "1 sector is faulty"
	}
	return fmt.Sprintf("%d sectors are faulty", n)
}
