// Package post holds the words and the rules of WindowPoSt proving, without any I/O: deadlines, sectors, jobs, proofs,
// and the decisions about them as plain functions.
//
// It imports nothing else of posthaste, and everything else may import it. Workflow code may call every function here:
// none reads a clock, draws a random number or ranges over a map in a way that shows.
package post
