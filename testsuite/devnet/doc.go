// Package devnet is a simulated Filecoin chain for tests and demos. It serves a node's JSON-RPC v1 (HTTP and websocket,
// token permissions as Lotus has them) for miners whose 2 KiB sectors are really sealed, keeps the deadline state machine of
// the miner actor, judges SubmitWindowedPoSt messages as the real actor does, and verifies each proof with the real library
// when its message lands.
//
// It is faster than a real chain and can be told to misbehave; what it says about our messages is only as good as the rules
// written down here. The real Lotus chain (testsuite/lotusdevnet) has the last word.
package devnet
