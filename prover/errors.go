package prover

import (
	"errors"
	"fmt"
	"strings"

	"posthaste/post"
)

// What can go wrong with a proof, for errors.Is. Which of them means that the job should be tried elsewhere is the caller's to say.
var (
	ErrProofType    = errors.New("proof type not supported")
	ErrParameters   = errors.New("proof parameters")                    // missing or damaged Groth16 parameters on this machine
	ErrAllBad       = errors.New("no sector of the task can be proven") // an *AllBadError has the reasons
	ErrProofInvalid = errors.New("the proof does not verify")
	ErrCardCrashed  = errors.New("the card's process ended") // a *CardError has the rest
	ErrNotReady     = errors.New("its process does not get ready")
	ErrHung         = errors.New("the card's process has stopped answering")
	ErrTask         = errors.New("the card refused the task")                                 // the processor's err_msg, or an answer without sense
	ErrFellBack     = errors.New("the GPU failed, and the proofs library went on on the CPU") // which takes hours where minutes are wanted
	ErrNoCard       = errors.New("no card can be used: every one is fenced, or does not start")
	ErrClosed       = errors.New("the pool of cards is closed")
)

// AllBadError says of every sector of a task why it cannot be proven.
type AllBadError struct {
	Miner   uint64
	Skipped []post.Skipped
}

// Error names the first few sectors.
func (e *AllBadError) Error() string {
	const shown = 3
	var b strings.Builder
	fmt.Fprintf(&b, "none of the %d sectors of f0%d can be proven", len(e.Skipped), e.Miner)
	for i, s := range e.Skipped[:min(shown, len(e.Skipped))] {
		fmt.Fprintf(&b, "%s sector %d: %s", map[bool]string{true: ":", false: ";"}[i == 0], s.Sector, s.Reason)
	}
	if len(e.Skipped) > shown {
		fmt.Fprintf(&b, "; and %d more", len(e.Skipped)-shown)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrAllBad) true.
func (e *AllBadError) Is(target error) bool { return target == ErrAllBad }

// CardError is a failure of a card rather than of the sectors: its process died, hung, or refused the task.
type CardError struct {
	Card   string
	Kind   error  // ErrCardCrashed, ErrHung, ErrNotReady, ErrFellBack, ErrTask, ErrParameters or ErrProofInvalid
	Detail string // exit status and last log lines, the processor's message
}

// Error is one line.
func (e *CardError) Error() string { return fmt.Sprintf("card %s: %v: %s", e.Card, e.Kind, e.Detail) }

// Unwrap gives the kind, for errors.Is.
func (e *CardError) Unwrap() error { return e.Kind }
