// Package load gives a fleet of workers a lot to do, without a chain: it plays the daemon. The workflows are the real ones, on a real
// Temporal server, and so are routing and balancing; only what asks the chain, the stores' index and the wallet answers from
// memory. Deadlines are as many, as large and as long as a test wants. The workers are real `posthaste worker run`
// processes, on a bare rig (package rig), with cards that answer with proofs made beforehand (package stub): sectors are really sealed
// and every proof really verifies, at the worker and here.
//
//	r := rig.New(t, rig.Options{Bare: true})
//	l, err := load.Start(ctx, r, load.Options{})
//	miner, err := l.NewMiner(ctx, 1000, 2)
//	r.AddWorker(rig.Worker{Name: "a", Attached: miner.Stores(), Cards: []rig.Card{r.Stub("card0", l.Proofs()...)}})
//	err = r.StartWorkers(ctx)
//	deadline, err := l.Issue(ctx, load.Work{Miner: miner, Partitions: 16})
//	err = l.WaitProven(ctx, 16)
package load
