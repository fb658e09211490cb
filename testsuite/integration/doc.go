// Package integration tests posthaste as its users run it: real processes, a real Temporal server, really sealed sectors and
// real proofs on a simulated chain, which judges. There is nothing in it but tests.
package integration
