package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// planWindow is the plan of damocles's sealing threads that prove. Threads without a plan seal.
const planWindow = "wdpost"

// LoadWorker is Load for a worker, which may also be given a damocles-worker's configuration as it is, and a damocles-manager's
// ext-prover.cfg ("" if none), whose cards take the place of the others. What does not apply of them is in Warnings.
func LoadWorker(path, extProver string) (*Config, error) {
	return loadWorker(path, extProver, os.Getenv, os.Hostname)
}

func loadWorker(path, extProver string, getenv func(string) string, hostname func() (string, error)) (*Config, error) {
	c, err := readWorker(path, extProver, getenv, hostname)
	if err == nil {
		c.Warnings = append(c.Warnings, gpuLocks(slices.Concat(c.Cards, c.Winning))...)
	}
	return c, err
}

func readWorker(path, extProver string, getenv func(string) string, hostname func() (string, error)) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var c *Config
	if isDamocles(data) {
		c, err = damocles(path, data, getenv, hostname)
	} else {
		c, err = load(path, getenv, hostname)
	}
	if err != nil || extProver == "" {
		return c, err
	}
	if data, err = os.ReadFile(extProver); err != nil {
		return nil, fmt.Errorf("reading the configuration of external provers: %w", err)
	}
	if err := c.useExtProver(extProver, data, getenv); err != nil {
		return nil, err
	}
	return c, nil
}

// isDamocles is whether a file is a damocles-worker's: it has tables that posthaste.toml has not.
func isDamocles(data []byte) bool {
	var parser unstable.Parser
	parser.Reset(data)
	for inTable := false; parser.NextExpression(); {
		node := parser.Expression()
		isTable := node.Kind == unstable.Table || node.Kind == unstable.ArrayTable
		if inTable = inTable || isTable; !isTable && (inTable || node.Kind != unstable.KeyValue) {
			continue // it stands in a table
		}
		if it := node.Key(); it.Next() && (string(it.Node().Data) == "sealing_thread" || string(it.Node().Data) == "sector_manager") {
			return true
		}
	}
	return false
}

// damocles makes a Config of a damocles-worker's file. What posthaste.toml would have and it has not is at its default.
func damocles(path string, data []byte, getenv func(string) string, hostname func() (string, error)) (*Config, error) {
	l, err := readLeaves(path, data, nil)
	if err != nil {
		return nil, err
	}
	c, err := build(path, nil, getenv, hostname)
	if err != nil {
		return nil, err
	}
	l.homeDir = getenv("HOME")
	if name := take[string](l, "worker.name", "a string"); name != nil {
		c.Worker.Name = l.fitName("worker.name", *name)
	}
	limit := l.limit()
	threads := l.threads(&c.Worker)
	c.WindowLimit = threads
	if limit > 0 {
		c.WindowLimit = min(threads, limit)
	}
	if n := l.list("processors.window_post"); n > 0 {
		c.Cards, c.AutoCards = nil, false
		for i := range n {
			c.Cards = append(c.Cards, l.damoclesCard(fmt.Sprintf("processors.window_post[%d]", i), "card"+strconv.Itoa(i), max(c.WindowLimit, 1)))
		}
	}
	c.Attached = l.attached()
	c.Metrics.Worker = l.damoclesMetrics(c.Metrics.Worker)
	l.nameUnused()
	if err := l.err(); err != nil {
		return nil, err
	}
	c.Warnings = append(c.Warnings, l.warned()...)
	return c, nil
}

var outsideNames = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// fitName makes a name of damocles, which may have any signs, one that fits into the names of queues and workflows.
func (l *leaves) fitName(key, name string) string {
	fit := outsideNames.ReplaceAllString(name, "-")
	if !nameForm.MatchString(fit) {
		fit = "worker" + fit
	}
	if fit != name {
		l.warn(key, "%q is %q here: a name is made of letters, digits, '.', '_' and '-'", name, fit)
	}
	return fit
}

// limit is how many proofs the file lets run at once; 0 if it does not say.
func (l *leaves) limit() int {
	table := "processors.limitation.concurrent"
	if !slices.ContainsFunc(l.entries, func(e *entry) bool { return within(e.path, table) }) {
		table = "processors.limit" // the older name
	}
	return l.atLeast(table+".window_post", take[int64](l, table+".window_post", "a whole number"), 1, 0)
}

// threads is how many sealing threads prove, each of which has one job at a time. They become the worker's rules, which any of its
// cards serves, as any processor serves any thread there.
func (l *leaves) threads(w *Worker) int {
	miners, sizes := l.allowed("sealing", nil, nil)
	threads, everything := 0, false
	for i := range l.list("sealing_thread") {
		key := fmt.Sprintf("sealing_thread[%d]", i)
		plan := take[string](l, key+".plan", "a string")
		if plan == nil || *plan != planWindow {
			l.warn(key, "is not applied: its plan is %q; this worker serves %q", or(plan, "sealer"), planWindow)
			l.drop(key)
			continue
		}
		threads++
		allowedMiners, allowedSizes := l.allowed(key+".sealing", miners, sizes)
		rule := l.rule(key+".sealing", allowedMiners, allowedSizes)
		everything = everything || len(rule.Miners)+len(rule.Sizes) == 0
		w.Rules = append(w.Rules, rule)
	}
	if threads == 0 {
		l.complain("sealing_thread", "none has plan = %q: this worker would prove nothing", planWindow)
	}
	if w.Rules = tidy(w.Rules); everything {
		w.Rules = nil
	}
	return threads
}

// allowed are the miners and sizes written at key, else those given.
func (l *leaves) allowed(key string, miners []any, sizes []string) ([]any, []string) {
	if written := take[[]any](l, key+".allowed_miners", "a list of numbers"); written != nil {
		miners = *written
	}
	if written := l.strings(key + ".allowed_sizes"); written != nil {
		sizes = written
	}
	return miners, sizes
}

// damoclesCard is the card at key. There, one without `concurrent` is without a limit of its own: the worker's is its limit.
func (l *leaves) damoclesCard(key, name string, most int) Card {
	card := newCard(name)
	card.Bin = l.home(key+".bin", or(take[string](l, key+".bin", "a string, the path of a program"), ""))
	args := l.strings(key + ".args")
	own := []string{"processor", "window_post"}
	switch {
	case card.Bin != "" && args == nil:
		card.Args = own // as damocles starts every processor that has no args
	case card.Bin != "":
		card.Args = args
	case args != nil && !slices.Equal(args, own):
		l.warn(key+".args", "is not applied: without a bin posthaste starts its own processor, with arguments of its own")
	}
	card.Envs = l.under(key + ".envs")
	l.checkEnvs(key+".envs", card.Envs)
	card.CPUs = l.cpus(key+".cgroup.cpuset", or(take[string](l, key+".cgroup.cpuset", "a string such as \"0-3,8\""), ""))
	card.Concurrent = min(l.atLeast(key+".concurrent", take[int64](l, key+".concurrent", "a whole number"), 1, most), most)
	card.ReadyTimeout = l.wait(key+".stable_wait", 0)
	card.AutoRestart = or(take[bool](l, key+".auto_restart", "true or false"), true)
	card.InheritEnvs = or(take[bool](l, key+".inherit_envs", "true or false"), true)
	return card
}

// attached are the stores of the file and those that it has the worker look for.
func (l *leaves) attached() []Store {
	var stores []Store
	for i := range l.list("attached") {
		key := fmt.Sprintf("attached[%d]", i)
		location := or(take[string](l, key+".location", "a string, the path of a folder"), "")
		name := or(take[string](l, key+".name", "a string"), location)
		if location != "" && !strings.HasPrefix(location, "~/") {
			if absolute, err := filepath.Abs(location); err == nil {
				location = absolute
			}
		}
		stores = l.store(stores, key, "location", name, location)
	}
	for _, key := range []string{"worker.scan_persist_stores", "worker.ScanPersistStores"} {
		if patterns := l.strings(key); len(patterns) > 0 {
			for _, found := range l.scan(key, patterns) {
				stores = l.store(stores, key, "", found.Name, found.Path)
			}
		}
	}
	return stores
}

// damoclesMetrics is where the file has its metrics served, else the address given.
func (l *leaves) damoclesMetrics(otherwise string) string {
	enabled := or(take[bool](l, "metrics.enable", "true or false"), false)
	address := take[string](l, "metrics.http_listen", "a string, host:port")
	if !enabled {
		return otherwise
	}
	l.warn("metrics.enable", "is applied, but the metrics have other names (docs/metrics.md), and without http_listen they are served on 127.0.0.1:9000 "+
		"only, not on every address as there")
	return l.listen("metrics.http_listen", or(address, "127.0.0.1:9000"))
}

// wait is the time at key, written as damocles does: "5s", "1min", "1h 30m".
func (l *leaves) wait(key string, otherwise time.Duration) time.Duration {
	written := take[string](l, key, "a string such as \"5s\"")
	if written == nil {
		return otherwise
	}
	took, err := parseHuman(*written)
	if err != nil || took <= 0 {
		l.complain(key, "%q is no time above zero, such as \"5s\"", *written)
	}
	return took
}

var humanForm = regexp.MustCompile(`^\s*([0-9]{1,9})\s*([a-z]+)`)

// parseHuman reads times as Rust's humantime writes them.
func parseHuman(text string) (time.Duration, error) {
	words := map[string]time.Duration{
		"ms": time.Millisecond, "msec": time.Millisecond, "s": time.Second, "sec": time.Second, "second": time.Second,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour,
	}
	var sum time.Duration
	for rest := text; ; {
		part := humanForm.FindStringSubmatch(rest)
		if part == nil {
			if strings.TrimSpace(rest) != "" || rest == text {
				return 0, fmt.Errorf("%q is no time such as \"5s\"", text)
			}
			return sum, nil
		}
		unit, known := words[part[2]]
		if !known {
			unit, known = words[strings.TrimSuffix(part[2], "s")]
		}
		n, _ := strconv.ParseInt(part[1], 10, 64)
		if !known || n > int64(1000*time.Hour/unit) {
			return 0, fmt.Errorf("%q is no time such as \"5s\"", text)
		}
		sum += time.Duration(n) * unit
		rest = rest[len(part[0]):]
	}
}
