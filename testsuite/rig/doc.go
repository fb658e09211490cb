// Package rig runs posthaste's real programs as real processes on a simulated chain, so that tests and benchmarks can kill
// them, stop them and start them again as a machine, an operator or a supervisor would.
//
// A test:
//
//	r := rig.New(t, rig.Options{Chain: []string{"--epoch", "500ms", "--window", "60"}})
//	proof, err := r.WaitForRunningProof(ctx, nil)
//	r.Worker.Kill()
//	err = r.Worker.Start(ctx)
//	deadlines, err := r.WaitDeadlinesClosed(ctx, 0, 4)
//
// Anything else, a benchmark say, opens it with Open and ends it with Close.
//
// Everything lies in one folder: the programs' logs, their configurations, the database, the chain. A program that a rig
// started dies with the process that made the rig.
package rig
