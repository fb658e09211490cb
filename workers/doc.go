// Package workers puts processes together: which task queues they poll, with which options, and what they are made of.
//
//   - Daemon is the fx module of `posthaste daemon run`: workflows, chain and lookup activities. Run any number.
//   - Worker is the fx module of `posthaste worker run`: cards that prove.
//
// Both start while Temporal or the node is still away and say what they wait for; nothing of theirs is kept on disk.
package workers
