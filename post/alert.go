package post

import (
	"fmt"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// AlertKind is what sort of trouble an alert tells of. docs/alerts.md describes each.
type AlertKind string

// Kinds of alerts.
const (
	AlertProofLate           AlertKind = "ProofLate"           // no card has begun, and much of the time is gone
	AlertForecastBeyondClose AlertKind = "ForecastBeyondClose" // proving takes longer than there is time
	AlertNoWorker            AlertKind = "NoWorker"            // jobs wait that nobody can take
	AlertCardFenced          AlertKind = "CardFenced"          // a card was taken out of use
	AlertStoreUnreadable     AlertKind = "StoreUnreadable"     // somebody cannot read a store that it is configured with
	AlertMessageNotLanding   AlertKind = "MessageNotLanding"   // a post was sent and does not land
	AlertJobFailed           AlertKind = "JobFailed"           // a job is out of tries
	AlertSectorsSkipped      AlertKind = "SectorsSkipped"      // posts leave sectors out
	AlertPartitionMissed     AlertKind = "PartitionMissed"     // not on the chain at Close
	AlertWorkflowTaskFailing AlertKind = "WorkflowTaskFailing" // a workflow does not go on because its code fails
	AlertNodeBehind          AlertKind = "NodeBehind"          // a daemon's node does not follow the chain
	AlertMinerUnwatched      AlertKind = "MinerUnwatched"      // no deadlines are issued for a miner
	AlertSectorsFaulty       AlertKind = "SectorsFaulty"       // faulty sectors that cannot be declared recovered
	AlertRecoveryBlocked     AlertKind = "RecoveryBlocked"     // the actor takes no recoveries, or the message failed
)

// AlertKinds are all kinds.
var AlertKinds = []AlertKind{
	AlertProofLate, AlertForecastBeyondClose, AlertNoWorker, AlertCardFenced, AlertStoreUnreadable, AlertMessageNotLanding,
	AlertJobFailed, AlertSectorsSkipped, AlertPartitionMissed, AlertWorkflowTaskFailing, AlertNodeBehind, AlertMinerUnwatched,
	AlertSectorsFaulty, AlertRecoveryBlocked,
}

// Severity says how soon somebody has to look.
type Severity string

// Severities, as Prometheus's users know them.
const (
	Critical Severity = "critical" // a deadline is lost, or will be if nobody does anything
	Warning  Severity = "warning"  // it works still
)

// Alert is something that people have to know of, and what mends it.
type Alert struct {
	Kind     AlertKind `json:"kind"`
	Key      string    `json:"key"`     // the same for the same cause, however often it is looked at and by whom
	Subject  string    `json:"subject"` // what it is about: f01000/7, card w1/card0, queue wdpost.gpu.1f2e3d4c, …
	Severity Severity  `json:"severity"`
	Summary  string    `json:"summary"`            // one line
	Details  string    `json:"details,omitempty"`  // what is known beyond that
	Mend     string    `json:"mend"`               // the command that mends it, or what to do
	Miner    string    `json:"miner,omitempty"`    // f01000, if it is about one
	Deadline string    `json:"deadline,omitempty"` // f01000-2880-7, the ID of its jobs, if it is about one

	// Hold is how long it has to be so before anybody is told.
	Hold time.Duration `json:"hold,omitempty"`
	// Until keeps it open after its deadline's workflow has ended, since nothing shows any more whether it was mended; zero: it is
	// over when it is not seen any more.
	Until time.Time `json:"until,omitzero"`
}

// Limits are the bounds by which alerts are judged.
type Limits struct {
	ProofLate     float64        // the share of the time for proving after which a card should have begun, 0 to 1
	MessageEpochs abi.ChainEpoch // in which a message should land
	NodeBehind    abi.ChainEpoch // epochs without a new head
	Hold          time.Duration  // for so long trouble that comes and goes must be there before it is told, and away before it is over
	Keep          time.Duration  // how long a missed partition, and sectors that were skipped, stay open after their deadline
}

// DefaultLimits are right for networks with epochs of 30 s.
func DefaultLimits() Limits {
	return Limits{ProofLate: 0.5, MessageEpochs: 10, NodeBehind: 5, Hold: 30 * time.Second, Keep: 24 * time.Hour}
}

// Bounds of an alert's texts, in bytes: all open ones are kept in Temporal, and go through chats.
const (
	summaryLimit = 300
	detailsLimit = 1000
)

// Judge says what is wrong, each cause once. What it gives may come and go from look to look: see AlertBook.
func Judge(o Outlook, l Limits) []Alert {
	j := &judge{Outlook: o, limits: l, running: map[string]bool{}}
	for _, d := range o.Deadlines {
		j.running[d.WorkflowID] = true
		j.open(d)
	}
	for _, d := range latest(o.Closed) {
		j.closed(d)
	}
	j.fleet()
	for _, f := range o.Failing {
		j.failing(f)
	}
	j.node()
	for _, m := range o.Miners {
		j.unwatched(m)
	}
	for _, s := range o.Recoveries {
		j.recoveries(s)
	}
	return j.alerts
}

// judge is one judgement under way.
type judge struct {
	Outlook
	limits  Limits
	running map[string]bool // workflows of deadlines
	alerts  []Alert
}

// add takes an alert in; key names its cause among those of its kind.
func (j *judge) add(kind AlertKind, key string, severity Severity, a Alert) {
	a.Kind, a.Key, a.Severity = kind, string(kind)+"/"+key, severity
	a.Summary, a.Details = cut(a.Summary, summaryLimit), cut(a.Details, detailsLimit)
	j.alerts = append(j.alerts, a)
}

// of begins an alert about a deadline.
func of(d Deadline) Alert {
	return Alert{Subject: d.String(), Miner: MinerName(d.Miner), Deadline: d.JobIDs().String()}
}

// with fills in what a deadline's alert says.
func (a Alert) with(mend, details, summary string, args ...any) Alert {
	a.Summary, a.Mend, a.Details = a.Subject+": "+fmt.Sprintf(summary, args...), mend, details
	return a
}

// node judges the node of the daemon that watches.
func (j *judge) node() {
	if a, bad := JudgeNode(j.Node, j.At, j.limits); bad {
		j.add(a.Kind, j.Node.Endpoint, a.Severity, a)
	}
}

// JudgeNode says whether a daemon's node is behind, or of no use at once. Each daemon judges its own.
func JudgeNode(n NodeOutlook, now time.Time, l Limits) (a Alert, bad bool) {
	behind := n.Behind(now)
	if n.Endpoint == "" || behind < l.NodeBehind && !n.Refuses {
		return Alert{}, false
	}
	a = Alert{
		Kind: AlertNodeBehind, Key: string(AlertNodeBehind) + "/" + n.Endpoint, Severity: Critical, Subject: "node " + n.Endpoint, Hold: l.Hold,
		Mend: "on the node's machine: `lotus sync status` and `lotus net peers`, then start it again; or give the daemon another node (FULLNODE_API_INFO) and restart it",
	}
	what := fmt.Sprintf("its head is epoch %d", n.Head)
	if n.At.IsZero() {
		what = "it has given no head since this daemon started"
	}
	switch {
	case n.Refuses:
		a.Summary = fmt.Sprintf("node %s does not accept the token: %s", n.Endpoint, what)
		a.Mend = "make a token on the node's machine, `lotus auth api-info --perm sign`, put it into FULLNODE_API_INFO or where posthaste.toml names it, and restart the daemon"
	case n.Away:
		a.Summary = fmt.Sprintf("node %s is %s behind: %s; it does not answer", n.Endpoint, epochs(behind), what)
	default:
		a.Summary = fmt.Sprintf("node %s is %s behind: %s", n.Endpoint, epochs(behind), what)
	}
	if a.Details = "Deadlines are followed, and posts sent, by what this node says. Until it is back they wait." + n.others(); n.Why != "" {
		a.Details += " Its last answer: " + n.Why
	}
	return a, true
}

// others says why none of a daemon's other nodes is used, if it has several.
func (n NodeOutlook) others() string {
	var text strings.Builder
	for _, o := range n.Nodes {
		if !o.Used {
			fmt.Fprintf(&text, " Node %s is no better: %s at epoch %d. %s", o.Endpoint, o.Verdict, o.Head, o.Why)
		}
	}
	return text.String()
}

// failing judges a workflow whose tasks fail.
func (j *judge) failing(f FailingWorkflow) {
	a := Alert{
		Subject: "workflow " + f.WorkflowID, Hold: j.limits.Hold,
		Summary: fmt.Sprintf("workflow %s does not go on: its task fails, attempt %d", f.WorkflowID, f.Attempt),
		Details: "The code of the daemons does not fit the workflow's history, or panics; the daemon's log says which. It goes on by itself when a daemon comes whose code fits.",
		Mend:    fmt.Sprintf("run the daemons' version of before; or `temporal workflow reset --workflow-id %s --type LastWorkflowTask --reason stuck`", f.WorkflowID),
	}
	if id, err := ParseJobID(f.WorkflowID); err == nil {
		a.Miner, a.Deadline = MinerName(id.Miner), id.String()
	}
	j.add(AlertWorkflowTaskFailing, f.WorkflowID, Critical, a)
}

// epochs writes a number of epochs as people do.
func epochs(n abi.ChainEpoch) string { return Count(int(n), "epoch") }

// partitions names partitions: partition 3, partitions 0, 2 and 5 more.
func partitions(indexes []uint64) string {
	const shown = 8
	if len(indexes) == 1 {
		return fmt.Sprintf("partition %d", indexes[0])
	}
	var names []string
	for _, i := range indexes[:min(shown, len(indexes))] {
		names = append(names, fmt.Sprint(i))
	}
	text := "partitions " + strings.Join(names, ", ")
	if more := len(indexes) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// cut shortens a text, and makes one line of it.
func cut(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
