// Package workers puts processes together: which task queues they poll, with which options, and what they are made of.
//
//   - Daemon is the fx module of `posthaste daemon run`: workflows, chain and lookup activities. Run any number.
//   - Worker is the fx module of `posthaste worker run`: cards that prove.
//
// A worker's cards that may take the same are a group (groups.go), which polls one task queue (poller.go) as long as its station
// (station.go) wants it to: not while it is paused, draining or without a usable card, and another one when a store is lost. The
// station tells the worker's workflow of itself (report.go) and takes its orders.
//
// Both start while Temporal or the node is still away and say what they wait for; nothing of theirs is kept on disk.
package workers
