// Package lotus runs posthaste's real programs on a real Lotus chain for a whole proving period in which things go wrong as package
// period plans them, and has that package judge what came of it.
//
// `make test-lotus` and `make soak SEED=n` run its tests; README.md beside this file says what each is.
package lotus
