package post

import "github.com/filecoin-project/go-state-types/abi"

// Failure names why a job came back without a proof. It is the type of the activity's application error, so that the
// workflow can tell what concerns the job from what concerns a machine.
type Failure string

// Counted failures use up one of the job's tries; free ones say that this worker was the wrong place to ask.
const (
	FailureProve       Failure = "ProveFailed"      // counted: the prover answered with an error
	FailureCard        Failure = "CardDied"         // counted: the card's child process died or stopped answering
	FailureFalseProof  Failure = "ProofFalse"       // counted: a proof was made and does not verify
	FailureNoStore     Failure = "StoreNotAttached" // free: the worker has no access to a store of the job
	FailureNoCard      Failure = "NoCard"           // free: all cards of the worker are fenced, or dead
	FailureAllBad      Failure = "AllSectorsBad"    // counted: no sector of the partition can be proven; reads may come back
	FailureLostWorkers Failure = "WorkersLost"      // counted: Temporal's own retries ran out
	FailureSetup       Failure = "SetupWrong"       // counted: this worker cannot prove at all (parameters missing, say)
	FailureOutOfTime   Failure = "OutOfTime"        // final: the time until Close, less the reserve for submitting, is over
	FailureHandOver    Failure = "HandOver"         // Temporal's retry handles it: the worker is stopping
	FailureMoved       Failure = "Moved"            // free: Temporal ended the attempt when it was moved to another queue; see explain in package workflows
)

// Counted says whether a failure uses up a try.
func (f Failure) Counted() bool {
	return f != FailureNoStore && f != FailureNoCard && f != FailureHandOver && f != FailureOutOfTime && f != FailureMoved
}

// Refusal says whether a failure is a worker's word that the job should not have come to it. Another may take it at once.
func (f Failure) Refusal() bool { return f == FailureNoStore || f == FailureNoCard }

// Next is what the workflow does with a job after a failure.
type Next struct {
	Again bool           // schedule it again, after Pause
	Alert bool           // the job is out of tries: list it as Failed and tell the operator, whether or not it goes on
	Pause abi.ChainEpoch // epochs to wait before; 0 is at once. A reset cuts every pause short.
}

// Pauses between tries, in epochs (30 s each on mainnet): long enough that a machine in trouble is not hammered, short
// against the 59 epochs in which a post can be made.
const (
	firstPause abi.ChainEpoch = 1
	lastPause  abi.ChainEpoch = 8
	storePause abi.ChainEpoch = 1 // a store that is attached somewhere later should be noticed soon
)

// refusalsAtOnce is after how many refusals in a row a job still goes elsewhere without a pause. More of them mean that what is known
// of the fleet is behind the truth, and that needs a moment.
const refusalsAtOnce = 3

// AfterFailure decides what happens to a job whose latest try failed. tries counts the counted ones, refusals the refusals since
// something else happened to the job; both include the latest.
//
// Damocles stops for good after maxTry; with untilClose nobody loses a partition because they slept: the job is listed as
// Failed and alerted all the same, and tried again on other cards with growing pauses.
func AfterFailure(f Failure, tries, refusals, maxTry int, untilClose bool) Next {
	switch {
	case f == FailureOutOfTime:
		return Next{Alert: true}
	case f == FailureMoved, f.Refusal() && refusals <= refusalsAtOnce:
		return Next{Again: true}
	case !f.Counted():
		return Next{Again: true, Pause: storePause}
	case tries < maxTry:
		return Next{Again: true}
	case !untilClose:
		return Next{Alert: true}
	default:
		pause := firstPause
		for range min(tries-maxTry, 16) {
			pause = min(2*pause, lastPause)
		}
		return Next{Again: true, Alert: true, Pause: pause}
	}
}
