package post

import "fmt"

// Exit is what a message's exit code means to whoever sent it.
type Exit struct {
	Code    int64
	Meaning string // in words, for people
	Mend    Mend
}

// Mend is what can be done about a message that failed on the chain.
type Mend string

// What a failed message calls for.
const (
	MendRebuild Mend = "rebuild" // look at the chain and build it anew: what it said was right for another moment, or estimating it again says what is wrong
	MendProve   Mend = "prove"   // the proof itself was refused: prove anew
	MendGas     Mend = "gas"     // it had too little gas or too little was paid: estimate again
	MendFunds   Mend = "funds"   // the sender, or the miner actor, lacks funds: people must pay in
	MendNone    Mend = "none"    // sending it again fails again: people must look
)

// exits are the exit codes of the FVM (below 16), of all built-in actors (from 16) and of the miner actor (from 1000), as go-state-types'
// exitcode package, fvm_shared and builtin-actors have them. What each is said to mean is what SubmitWindowedPoSt and
// DeclareFaultsRecovered give it for.
var exits = map[int64]Exit{
	1:  {Meaning: "the chain does not know the sender as an account", Mend: MendNone},
	2:  {Meaning: "the sender's nonce was another, or it could not pay for the gas", Mend: MendRebuild},
	4:  {Meaning: "the actor's code broke off", Mend: MendNone},
	5:  {Meaning: "there is no such receiver", Mend: MendNone},
	6:  {Meaning: "a balance did not cover what was to be paid out of it", Mend: MendFunds},
	7:  {Meaning: "out of gas", Mend: MendGas},
	9:  {Meaning: "the actor gave an exit code that is not its to give", Mend: MendNone},
	10: {Meaning: "an assertion of the virtual machine failed", Mend: MendNone},
	11: {Meaning: "the actor's answer is missing", Mend: MendNone},
	// Not the deadline's time, another chain's randomness, a partition that is proven already or has nothing to prove, a proof of
	// recovering sectors that is false. Which of them, the estimate of the next message says.
	16:   {Meaning: "the actor refused what the message says: the wrong time, another chain, proven already, or a false proof", Mend: MendRebuild},
	17:   {Meaning: "the actor did not find what the message speaks of", Mend: MendRebuild},
	18:   {Meaning: "the sender may not do this for the miner, or a consensus fault of the miner is not over", Mend: MendNone},
	19:   {Meaning: "the miner actor cannot pay its fee debt out of its balance", Mend: MendFunds},
	20:   {Meaning: "the actor's state does not allow it", Mend: MendRebuild},
	21:   {Meaning: "the actor could not read the message", Mend: MendNone},
	22:   {Meaning: "the actor has no such method", Mend: MendNone},
	23:   {Meaning: "the actor failed without saying why", Mend: MendRebuild},
	24:   {Meaning: "an assertion of the actor failed", Mend: MendRebuild},
	25:   {Meaning: "the actor was asked to change something where it must not", Mend: MendNone},
	26:   {Meaning: "the method takes no value", Mend: MendNone},
	1000: {Meaning: "the miner actor's balances contradict each other", Mend: MendNone},
}

// ReadExit says what a message's exit code means.
func ReadExit(code int64) Exit {
	exit, known := exits[code]
	if !known {
		exit = Exit{Meaning: "unknown to posthaste", Mend: MendRebuild}
	}
	exit.Code = code
	return exit
}

// String is the code with its meaning.
func (e Exit) String() string { return fmt.Sprintf("exit code %d (%s)", e.Code, e.Meaning) }
