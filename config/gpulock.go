package config

import (
	"fmt"
	"slices"
	"strings"
)

// gpuLocks says which cards would get in each other's way: the proofs' library has one lock in a process's TMPDIR for all the GPUs that it sees.
func gpuLocks(cards []Card) (warnings []string) {
	var together, alone []string // names of cards
	add := func(names *[]string, cards ...Card) {
		for _, c := range cards {
			if !slices.Contains(*names, c.Name) {
				*names = append(*names, c.Name)
			}
		}
	}
	for i, a := range cards {
		for _, b := range cards[i+1:] {
			share, oneLock := a.sharesGPU(b), a.Envs["TMPDIR"] == b.Envs["TMPDIR"]
			switch {
			case !a.namesGPU() || !b.namesGPU():
			case share && !oneLock:
				add(&together, a, b)
			case !share && oneLock:
				add(&alone, a, b)
			}
		}
	}
	if len(together) > 0 {
		warnings = append(warnings, fmt.Sprintf("cards %s: some share a GPU (CUDA_VISIBLE_DEVICES) and not a TMPDIR, in which its lock is: "+
			"they use it at once, and its memory may not do for that", strings.Join(together, ", ")))
	}
	if len(alone) > 0 {
		warnings = append(warnings, fmt.Sprintf("cards %s: some have different GPUs and the same TMPDIR, or none, in which the lock of a GPU is: "+
			"one waits while the other computes; give each GPU a TMPDIR of its own (envs)", strings.Join(alone, ", ")))
	}
	return warnings
}

// sharesGPU says whether two cards that name their GPUs have one in common.
func (c Card) sharesGPU(other Card) bool {
	mine, theirs := strings.Split(c.Envs["CUDA_VISIBLE_DEVICES"], ","), strings.Split(other.Envs["CUDA_VISIBLE_DEVICES"], ",")
	return slices.ContainsFunc(mine, func(id string) bool { return slices.Contains(theirs, id) })
}
