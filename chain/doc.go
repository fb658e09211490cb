// Package chain talks to a Filecoin node (Lotus or Venus: the same names) over its JSON-RPC v1: the calls that a WindowPoSt
// poster needs and no others, with types of our own that have exactly Lotus's JSON and CBOR. The Lotus module itself is
// never linked.
//
// What a node answers is distrusted: it is bounded in size before it is read, decoded by functions of our own that know what each thing may
// be (decode.go, fuzzed with the seeds in testdata/fuzz), and refused with ErrAnswer where it makes no sense.
//
// A Node is one endpoint; a Follower is a process's one view of its head. Errors say which call on which endpoint
// failed, and never hold the token.
package chain
