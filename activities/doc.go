// Package activities is what the workflows ask for: reading the chain, looking sectors up, proving, sending messages.
//
// Each file is one struct with the dependencies that it needs, named by narrow interfaces declared beside it, and its
// activities as methods. The daemon registers Chain, Messages, Sectors, Watch, Fleet and Balance; a worker registers a Prover or
// a WinningProver for each group of its cards, and WorkerOrders.
package activities
