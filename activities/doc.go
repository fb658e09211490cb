// Package activities is what the workflows ask for: reading the chain, looking sectors up, proving, sending messages.
//
// Each file is one struct with the dependencies that it needs, named by narrow interfaces declared beside it, and its
// activities as methods. The daemon registers Chain, Messages, Sectors and Watch; a worker registers Prover.
package activities
