package config

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Where Prometheus finds the processes of one machine, and nobody else does.
const (
	defaultDaemonMetrics = "127.0.0.1:9464"
	defaultWorkerMetrics = "127.0.0.1:9465"
)

func (d *document) worker(f *file, hostname func() (string, error)) Worker {
	w := Worker{
		StopTimeout: d.positive("worker.stop_timeout", f.Worker.StopTimeout, defaultStopTimeout),
		Name:        d.workerName(f.Worker.Name, hostname),
		Pool:        or(f.Worker.Pool, post.DefaultPool),
		Rules:       d.rules(f),
		Drain:       f.Worker.Drain,
		LargeOnCPU:  f.Worker.LargeOnCPU,
	}
	d.checkName("worker.pool", w.Pool)
	w.MemoryPerProof, w.Memory = int64(or(f.Worker.MemoryPerProof, 0)), int64(or(f.Worker.Memory, 0))
	if w.Memory > 0 && w.MemoryPerProof > w.Memory {
		d.complain("worker.memory_per_proof", "is more than worker.memory: no proof would ever fit")
	}
	return w
}

// workerName is the name written, else the host's, else "worker".
func (d *document) workerName(written *string, hostname func() (string, error)) string {
	if written != nil {
		d.checkName("worker.name", *written)
		return *written
	}
	name, err := hostname()
	if err != nil || !nameForm.MatchString(name) {
		return "worker"
	}
	return name
}

// rules are those of [[worker.rules]], or the one in [worker] itself.
func (d *document) rules(f *file) []post.Rule {
	var rules []post.Rule
	for i, r := range f.Worker.Rules {
		key := fmt.Sprintf("worker.rules[%d]", i)
		rule := d.rule(key, r.AllowedMiners, r.AllowedSizes)
		if len(r.AllowedMiners)+len(r.AllowedSizes) == 0 {
			d.complain(key, "allows everything; give it allowed_miners or allowed_sizes, or have no rules at all")
		}
		rules = append(rules, rule)
	}
	flat := d.rule("worker", f.Worker.AllowedMiners, f.Worker.AllowedSizes)
	if len(flat.Miners)+len(flat.Sizes) == 0 {
		return tidy(rules)
	}
	if len(rules) > 0 {
		d.complain("worker.rules[0]", "worker.allowed_miners or worker.allowed_sizes is given too; write that as a rule of its own")
	}
	return []post.Rule{flat}
}

// rule is what is written at key, ascending, each once: alike workers must look alike, for they share a queue.
func (d *document) rule(key string, miners []any, sizes []string) post.Rule {
	var rule post.Rule
	for i, written := range miners {
		id, err := minerOf(written)
		if err != nil {
			d.complain(fmt.Sprintf("%s.allowed_miners[%d]", key, i), "%v", err)
		}
		rule.Miners = append(rule.Miners, id)
	}
	for i, written := range sizes {
		size, err := parseSectorSize(written)
		if err != nil {
			d.complain(fmt.Sprintf("%s.allowed_sizes[%d]", key, i), "%v", err)
		}
		rule.Sizes = append(rule.Sizes, size)
	}
	slices.Sort(rule.Miners)
	slices.Sort(rule.Sizes)
	rule.Miners, rule.Sizes = slices.Compact(rule.Miners), slices.Compact(rule.Sizes)
	return rule
}

// minerOf reads 1000, "f01000" or "t01000".
func minerOf(written any) (abi.ActorID, error) {
	switch v := written.(type) {
	case int64:
		if v < 0 {
			return 0, fmt.Errorf("%d is no miner; want a number such as 1000, or \"f01000\"", v)
		}
		return abi.ActorID(v), nil
	case string:
		return post.ParseMiner(v)
	}
	return 0, fmt.Errorf("%v is no miner; want a number such as 1000, or \"f01000\"", written)
}

// tidy puts rules in one order, each once.
func tidy(rules []post.Rule) []post.Rule {
	compare := func(a, b post.Rule) int {
		return cmp.Or(slices.Compare(a.Miners, b.Miners), slices.Compare(a.Sizes, b.Sizes))
	}
	slices.SortFunc(rules, compare)
	return slices.CompactFunc(rules, func(a, b post.Rule) bool { return compare(a, b) == 0 })
}

func (d *document) metrics(f *file) Metrics {
	return Metrics{
		Daemon: d.listen("metrics.daemon", or(f.Metrics.Daemon, defaultDaemonMetrics)),
		Worker: d.listen("metrics.worker", or(f.Metrics.Worker, defaultWorkerMetrics)),
	}
}

// listen is an address to listen on; "off" is none.
func (d *document) listen(key, written string) string {
	if written == "off" {
		return ""
	}
	_, port, err := net.SplitHostPort(written)
	if number, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || number == 0 {
		d.complain(key, "%q is neither host:port, such as %q, nor \"off\"", written, defaultDaemonMetrics)
	}
	return written
}

// cpusForm is the form of a CPU set: numbers and ranges.
var cpusForm = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$`)

// checkCPUs says what is wrong with a CPU set such as "0-3,8". Whether the machine has them is seen when a card is bound.
func checkCPUs(set string) error {
	if !cpusForm.MatchString(set) {
		return fmt.Errorf("%q is no CPU set such as \"0-3,8\"", set)
	}
	for part := range strings.SplitSeq(set, ",") {
		from, to, isRange := strings.Cut(part, "-")
		low, _ := strconv.Atoi(from)
		if high, _ := strconv.Atoi(to); isRange && high < low {
			return fmt.Errorf("%q: %s runs backwards", set, part)
		}
	}
	return nil
}
