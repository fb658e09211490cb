package prover

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCPUs is how many CPUs the kernel's mask of unix.CPUSet has room for.
const maxCPUs = len(unix.CPUSet{}) * strconv.IntSize

// parseCPUs reads a list of CPUs as cgroups write it: "10-19", "0,2-3". An empty one means all, and gives none.
func parseCPUs(list string) ([]int, error) {
	var cpus []int
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= maxCPUs {
			return nil, fmt.Errorf("CPU set %q: %q is not a CPU or a range of them below %d; it must be a list such as \"0-3,8\"", list, part, maxCPUs)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// onCPUs runs start with the calling thread bound to the CPUs of a list, which whatever start launches inherits, and unbinds it
// afterwards. The thread must be locked. CPUs that there are not here are left out; that none is left, or that binding
// fails, is reported, unless it was said, and does not keep start from running: a slow card is better than none.
func onCPUs(list string, said *said, log *slog.Logger, start func() error) error {
	wanted, err := parseCPUs(list)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		return start()
	}
	restore, missing, err := bind(wanted, log)
	switch again := said.again(fmt.Sprint(missing, err)); {
	case again:
	case err != nil:
		log.Error("a card is not bound to its CPUs", "cpus", list, "error", err)
	case len(missing) > 0:
		log.Warn("a card does without CPUs that this process may not use", "missing", missing)
	}
	if err == nil {
		defer restore()
	}
	return start()
}

// bind binds the calling thread to those of the CPUs that it may have, and returns what undoes that, and the others.
func bind(wanted []int, log *slog.Logger) (restore func(), missing []int, err error) {
	var before, set, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, nil, fmt.Errorf("reading the CPUs of this process: %w", err)
	}
	for _, cpu := range wanted {
		set.Set(cpu)
	}
	// The kernel leaves out what there is not, or what this process's cgroup has not, and refuses if that leaves none.
	if err := unix.SchedSetaffinity(0, &set); errors.Is(err, unix.EINVAL) {
		return nil, nil, errors.New("this process may use none of them")
	} else if err != nil {
		return nil, nil, fmt.Errorf("binding: %w", err)
	}
	restore = func() {
		if err := unix.SchedSetaffinity(0, &before); err != nil {
			log.Error("the thread that starts a card keeps the card's CPUs", "error", err)
		}
	}
	if err := unix.SchedGetaffinity(0, &after); err == nil {
		missing = slices.DeleteFunc(wanted, after.IsSet)
	}
	return restore, missing, nil
}
