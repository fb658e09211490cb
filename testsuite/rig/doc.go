// Package rig runs posthaste's real programs as real processes on a simulated chain, so that tests and benchmarks can kill
// them, stop them and start them again as a machine, an operator or a supervisor would.
//
// A test:
//
//	r := rig.New(t, rig.Options{Chain: []string{"--epoch", "500ms", "--window", "60"}})
//	job := r.WaitForRunningProof(ctx)
//	r.Worker.Kill()
//	r.Worker.Start()
//	report := r.WaitDeadlinesClosed(ctx, 4)
//
// Everything lies in one folder: the programs' logs, their configurations, the database, the chain. A program that a rig
// started dies with the process that made the rig.
package rig
