// Package stub is a prover that computes nothing: a process that speaks damocles's line protocol as the child of a card and answers
// with proofs that somebody made before, after as long as it is told to take. It can also do what real ones do on bad days. It writes
// down what it is asked and in which surroundings, so that a test can see which card had which GPU, who proved what, and how often.
//
// The program is posthaste-stubprover (testsuite/stubprover). It is light, without the proofs library, so that dozens of
// them run on a small machine. It shares no code with package prover, whose other end it is: that two
// implementations understand each other is part of what it is for.
package stub
