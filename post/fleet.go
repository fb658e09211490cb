package post

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
)

// Kinds of proof that cards make, as they stand in the names of task queues.
const (
	KindWindow  = "wdpost"
	KindWinning = "winpost"
)

// DefaultPool is the GPU tag of cards about which nothing is configured.
const DefaultPool = "gpu"

// QueueNobody is where a job waits that no known worker admits. Nobody polls it: the balancing of the fleet moves the job when
// somebody comes who admits it.
const QueueNobody = "wdpost.nobody"

// Rule is one kind of work that cards may take: a job that fits it in both ways.
type Rule struct {
	Miners []abi.ActorID    `json:"miners,omitempty"` // none: any miner's
	Sizes  []abi.SectorSize `json:"sizes,omitempty"`  // bytes; none: any sector size
}

// Admits is what a group of cards may take. Groups that admit the same share a task queue, whichever worker they are in.
type Admits struct {
	Pool    string         `json:"pool"`               // the GPU tag
	Rules   []Rule         `json:"rules,omitempty"`    // a job must fit one of them; none: everything
	Stores  []string       `json:"stores"`             // names of the stores that can be read here, ascending
	MaxSize abi.SectorSize `json:"max_size,omitempty"` // bytes; larger sectors are refused. 0: no bound. For cards without a GPU
}

// Queue is the task queue of everybody who admits the same: kind.pool.<8 hex digits>, such as wdpost.gpu.1f2e3d4c. The digits
// are of a hash over the rest, which the WorkerWorkflow's memo has in readable form.
func (a Admits) Queue(kind string) string {
	a.Stores = slices.Sorted(slices.Values(a.Stores))
	text, err := json.Marshal(a)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%s.%s.%s", kind, a.Pool, hex.EncodeToString(sum[:4]))
}

// Needs is what a job asks of whoever takes it.
type Needs struct {
	Miner  abi.ActorID    `json:"miner"`
	Size   abi.SectorSize `json:"size"`             // bytes of a sector
	Stores []string       `json:"stores,omitempty"` // that hold its sectors
	Pool   string         `json:"pool,omitempty"`   // the GPU tag that it wants; empty: any
}

// Card is a card as a worker reports it: what does not change while it works.
type Card struct {
	Name   string `json:"name"`
	Device string `json:"device,omitempty"` // the GPU, as found or as configured; empty: the CPU
	CPUs   string `json:"cpus,omitempty"`   // its CPU set
	Places int    `json:"places"`           // proofs at once
	Weight int    `json:"weight,omitempty"`
}

// Group is the cards of a worker that admit the same.
type Group struct {
	Admits
	Kind  string `json:"kind"`  // KindWindow or KindWinning
	Queue string `json:"queue"` // that they poll
	Slots int    `json:"slots"` // jobs at once on those of its cards that are usable now; 0: it polls nothing
	Cards []Card `json:"cards"`
}

// Fence takes a card out of use until an operator lifts it.
type Fence struct {
	Card   string    `json:"card"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// LostStore is a store that a worker is configured with and cannot read.
type LostStore struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// WorkerReport is what a worker says of itself, at its start and whenever it changes, which is rare: what changes with every job
// is in the heartbeats of its AttendWorker activity.
type WorkerReport struct {
	Name       string      `json:"name"`
	Instance   string      `json:"instance"` // identity of the process in Temporal
	Host       string      `json:"host"`
	Version    string      `json:"version"`
	Started    time.Time   `json:"started"`
	Groups     []Group     `json:"groups"`
	LostStores []LostStore `json:"lost_stores,omitempty"`
	Draining   bool        `json:"draining,omitempty"` // takes nothing new and ends when its jobs are done
}

// Orders is what operators want of a worker, and which of its cards are fenced. It outlives the worker's process.
type Orders struct {
	Paused string  `json:"paused,omitempty"` // why, if it is: takes nothing new, finishes what it has
	Fences []Fence `json:"fences,omitempty"`
}

// WorkerState is all that is kept of a worker: its last report and its orders. It is the WorkerWorkflow's input and its memo.
type WorkerState struct {
	Report WorkerReport `json:"report"`
	Orders Orders       `json:"orders"`
}

// Queue is a task queue of cards with everybody who serves it, at one moment.
type Queue struct {
	Name string `json:"name"`
	Admits
	Live    int      `json:"live"`             // places on usable cards of workers that are alive and not paused
	Busy    int      `json:"busy"`             // of these, the ones that work
	Backlog int      `json:"backlog"`          // jobs that wait on it
	Cards   []string `json:"cards,omitempty"`  // the usable live cards, "worker/card"
	Asleep  string   `json:"asleep,omitempty"` // which workers would serve it too, and why they do not: for messages
}

// Free is how many jobs more would start at once; negative when jobs wait.
func (q Queue) Free() int { return q.Live - q.Busy - q.Backlog }

// Fleet is all queues of one kind at one moment.
type Fleet struct {
	Queues []Queue `json:"queues"`
}

// Choice is where a job should wait for a card.
type Choice struct {
	Queue     string `json:"queue"`               // QueueNobody if no known worker admits it
	Waits     string `json:"waits,omitempty"`     // what has to happen before anybody can take it; empty: somebody can
	Elsewhere bool   `json:"elsewhere,omitempty"` // the queue has a live card that has not failed this job
	Priority  int    `json:"priority,omitempty"`  // Temporal's: 1 is first, 3 usual
	// Lost are the stores of the job that keep it waiting because no live worker can read them, if somebody could prove its other sectors.
	Lost []string `json:"lost,omitempty"`
}

// AllCards is how all cards of a worker are named at once where cards to avoid are listed: its parameters are missing, say.
func AllCards(worker string) string { return worker + "/*" }

// Avoids says whether a list of cards to avoid has this one ("worker/card").
func Avoids(avoid []string, card string) bool {
	worker, _, _ := strings.Cut(card, "/")
	return slices.Contains(avoid, card) || slices.Contains(avoid, AllCards(worker))
}

// Claim says that a proof is being made although its activity's attempt is gone, and by which card: the connection to Temporal was
// lost for longer than the heartbeat timeout, and nobody should start again what is half done.
type Claim struct {
	JobKey string `json:"job_key"`
	Card   string `json:"card"`
	Over   bool   `json:"over,omitempty"` // it has failed, or was given up: somebody else may begin
}

// Routed says that a waiting job was moved, or what it waits for now.
type Routed struct {
	Partition uint64 `json:"partition"`
	Choice
}

// CardNow is what a card is doing, for people.
type CardNow struct {
	Name     string  `json:"name"`
	State    string  `json:"state"` // starting, idle, proving, restarting, dead, fenced
	PID      int     `json:"pid,omitempty"`
	Device   string  `json:"device,omitempty"` // as its process found it
	Job      string  `json:"job,omitempty"`    // such as f01000/7 partition 0
	Phase    Phase   `json:"phase,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"` // since it took the job
	Proofs   int     `json:"proofs"`            // since the worker started, as all counts here
	Failures int     `json:"failures"`
	Restarts int     `json:"restarts"`
	Error    string  `json:"error,omitempty"` // why it failed last, or why it is fenced
}

// WorkerNow is what a worker is doing: its AttendWorker activity's heartbeat.
type WorkerNow struct {
	Instance string    `json:"instance"` // identity of the process in Temporal
	At       time.Time `json:"at"`       // by the worker's clock
	State    string    `json:"state"`    // running, paused, draining, idle (no card is usable)
	Cards    []CardNow `json:"cards"`
}
