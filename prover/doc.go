// Package prover makes and checks WindowPoSt proofs with filecoin-ffi.
//
// From the inside out:
//   - Vanilla and Snark are the two halves of a proof: reading the sectors, and the proof itself. What passes between them
//     (Vanillas) is plain data, so that they can run apart. Verify checks a proof.
//   - RunProcessor puts both halves behind a line protocol on stdin and stdout: the child process of a card. The protocol is
//     damocles's, word for word, so that either side may be a foreign program.
//   - Pool is the other end: it keeps one child per card alive, gives jobs to free cards in turns, re-asks without bad sectors,
//     verifies what comes back, and fences a card that fails again and again until somebody lifts the fence. Winning cards have
//     pools of their own; Limits hold for several pools together.
//
// The proofs library needs its Groth16 parameters in the folder that FIL_PROOFS_PARAMETER_CACHE names.
package prover
