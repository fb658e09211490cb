// Package sealing makes real sectors for tests and demos: 2 KiB ones, sealed by filecoin-ffi itself (both pre-commit
// phases) in a few milliseconds each, in the layout that a storage provider's store has on disk, and upgrades them as snap deals do. It also damages them, in
// the ways that disks do.
//
// Sealing is repeatable: the content of a sector follows from its miner and number, and a sector that is there already is
// read back, so that a demo restarted on the same folder starts at once.
package sealing
