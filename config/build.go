package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/filecoin-project/go-address"
	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// Defaults that are not in post.DefaultSettings.
const (
	defaultAddress       = "127.0.0.1:7233"
	defaultNamespace     = "default"
	defaultStopTimeout   = 10 * time.Second // measured: hand-over on SIGTERM takes 0.1 s when there is any time for it at all
	defaultParallelReads = 32               // as Lotus's ParallelCheckLimit
	defaultReadTimeout   = 10 * time.Minute // as Lotus's SingleCheckTimeout
)

// Bounds of epochs, those of mainnet; test networks have shorter ones. With more, every deadline would be missed.
const (
	window   = 60  // epochs in which a deadline is open
	toLand   = 10  // of these, that a post has to land and to be replaced, at least
	finality = 900 // after so many, the chain does not change any more
)

// maxNodes is how many nodes a daemon can use.
const maxNodes = 16

// names of workers and cards stand in workflow IDs, task queues and metrics.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// build makes a Config of a file's text, the environment and the defaults.
func build(path string, data []byte, getenv func(string) string, hostname func() (string, error)) (*Config, error) {
	f, d, err := read(cmp.Or(path, DefaultFile), data)
	if err != nil {
		return nil, err
	}
	d.homeDir = getenv("HOME")
	c := &Config{Path: path}
	c.Temporal = Temporal{
		Address:   or(f.Temporal.Address, cmp.Or(getenv("TEMPORAL_ADDRESS"), defaultAddress)),
		Namespace: or(f.Temporal.Namespace, cmp.Or(getenv("TEMPORAL_NAMESPACE"), defaultNamespace)),
	}
	if _, port, err := net.SplitHostPort(c.Temporal.Address); err != nil || port == "" {
		d.complain("temporal.address", "%q is not host:port, such as %q", c.Temporal.Address, defaultAddress)
	}
	if c.Temporal.Namespace == "" {
		d.complain("temporal.namespace", "want a name, such as %q", defaultNamespace)
	}
	c.Versioning = Versioning{On: f.Temporal.Versioning, BuildID: f.Temporal.BuildID}
	if c.Versioning.BuildID != "" {
		d.checkName("temporal.build_id", c.Versioning.BuildID)
	}
	c.Temporal.UI = strings.TrimSuffix(or(f.Temporal.UI, ""), "/")
	if c.Temporal.UI != "" && !strings.HasPrefix(c.Temporal.UI, "http://") && !strings.HasPrefix(c.Temporal.UI, "https://") {
		d.complain("temporal.ui", "%q is not the URL of a Web UI, such as %q", c.Temporal.UI, "http://127.0.0.1:8233")
	}
	c.Chain = d.chain(f, getenv)
	c.Miners = d.miners(f)
	for i, s := range f.Stores {
		c.Stores = d.store(c.Stores, fmt.Sprintf("stores[%d]", i), "path", s.Name, s.Path)
	}
	for i, a := range f.Attached {
		c.Attached = d.store(c.Attached, fmt.Sprintf("attached[%d]", i), "location", a.Name, a.Location)
	}
	if len(c.Attached) == 0 {
		c.Attached = slices.Clone(c.Stores) // one machine, one file
	}
	c.Worker = d.worker(f, hostname)
	c.Cards, c.AutoCards = d.windowCards(f, c.Worker.Pool)
	c.Winning = d.winningCards(f, c.Worker.Pool, c.Cards, c.AutoCards)
	limits := f.Processors.Limitation.Concurrent
	c.WindowLimit = d.atLeast("processors.limitation.concurrent.window_post", limits.WindowPoSt, 1, 0)
	c.WinningLimit = d.atLeast("processors.limitation.concurrent.winning_post", limits.WinningPoSt, 1, 0)
	c.Metrics = d.metrics(f)
	c.Alerts = d.alerts(f, getenv)
	c.Log = d.log(f)
	if err := d.err(); err != nil {
		return nil, err
	}
	c.Warnings = d.warned()
	return c, nil
}

// or is what was written, else the default.
func or[T any](written *T, otherwise T) T {
	if written == nil {
		return otherwise
	}
	return *written
}

// chain gathers the nodes: that of api_info first, then the others. Only where the file names none is the environment asked.
func (d *document) chain(f *file, getenv func(string) string) Chain {
	c := Chain{EpochDuration: d.positive("chain.epoch_duration", f.Chain.EpochDuration, 0)}
	add := func(key string, lists ...string) {
		for _, list := range lists {
			for _, info := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '\n' }) {
				if info = strings.TrimSpace(info); info == "" || strings.HasPrefix(info, "#") {
					continue
				}
				where := info // without its token
				if hasToken(info) {
					_, where, _ = strings.Cut(info, ":")
				}
				if slices.ContainsFunc(c.Nodes, func(known Secret) bool { return strings.HasSuffix(string(known), where) }) {
					d.complain(key, "%s is named twice, here or in another list of nodes; once is enough", where)
				}
				c.Nodes = append(c.Nodes, Secret(info))
				c.inFile = c.inFile || !strings.HasSuffix(key, "_file") && hasToken(info)
			}
		}
	}
	switch {
	case f.Chain.APIInfo != "" && f.Chain.APIInfoFile != "":
		d.complain("chain.api_info_file", "api_info is given too; keep one of them")
	case f.Chain.APIInfoFile != "":
		text := d.text("chain.api_info_file", f.Chain.APIInfoFile)
		if text != "" && len(strings.Fields(text)) != 1 {
			d.complain("chain.api_info_file", "%s must hold one line such as TOKEN:/ip4/127.0.0.1/tcp/1234/http", f.Chain.APIInfoFile)
		}
		add("chain.api_info_file", text)
	}
	add("chain.api_info", f.Chain.APIInfo)
	switch {
	case len(f.Chain.Nodes) > 0 && f.Chain.NodesFile != "":
		d.complain("chain.nodes_file", "nodes is given too; keep one of them")
	case f.Chain.NodesFile != "":
		add("chain.nodes_file", d.text("chain.nodes_file", f.Chain.NodesFile))
	}
	add("chain.nodes", f.Chain.Nodes...)
	if len(c.Nodes) == 0 {
		add("chain.api_info", getenv("FULLNODE_API_INFO"))
		c.inFile = false
	}
	if len(c.Nodes) > maxNodes {
		d.complain("chain.nodes", "there are %d nodes; at most %d", len(c.Nodes), maxNodes)
	}
	return c
}

// text is what a file of secrets holds.
func (d *document) text(key, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		d.complain(key, "%v", err)
	}
	if strings.TrimSpace(string(text)) == "" && err == nil {
		d.complain(key, "%s must hold a line such as TOKEN:/ip4/127.0.0.1/tcp/1234/http", path)
	}
	return string(text)
}

// hasToken says whether a node's address has a token before it.
func hasToken(info string) bool {
	token, _, found := strings.Cut(info, ":")
	return found && token != "" && !slices.Contains([]string{"http", "https", "ws", "wss"}, token) && !strings.HasPrefix(info, "/")
}

func (d *document) miners(f *file) []Miner {
	general := d.settings("policy", post.DefaultSettings(), f.Policy)
	seen := map[abi.ActorID]bool{}
	var miners []Miner
	for i, m := range f.Miners {
		key := fmt.Sprintf("miners[%d]", i)
		id, err := post.ParseMiner(m.ID)
		switch {
		case err != nil:
			d.complain(key+".id", "%v", err)
		case seen[id]:
			d.complain(key+".id", "%s is listed twice", post.MinerName(id))
		}
		seen[id] = true
		miners = append(miners, Miner{ID: id, Enabled: or(m.Enabled, true), Settings: d.settings(key, general, m.policy())})
	}
	return miners
}

// settings are the general ones with what is written at key put over them.
func (d *document) settings(key string, s post.Settings, p policyFile) post.Settings {
	epochs := func(name string, written *int64, least, most int64, to *abi.ChainEpoch) {
		if written == nil {
			return
		}
		if *written < least {
			d.complain(key+"."+name, "%d is too few epochs; at least %d", *written, least)
		}
		if *written > most {
			d.complain(key+"."+name, "%d is too many epochs; at most %d", *written, most)
		}
		*to = abi.ChainEpoch(*written)
	}
	epochs("challenge_confidence", p.ChallengeConfidence, 0, window-1, &s.ChallengeConfidence)
	epochs("submit_confidence", p.SubmitConfidence, 0, window-toLand, &s.SubmitConfidence)
	epochs("confidence", p.Confidence, 1, finality, &s.Confidence)
	epochs("submit_reserve", p.SubmitReserve, 0, window-1, &s.SubmitReserve)
	if p.MaxTry != nil {
		s.MaxTry = d.atLeast(key+".max_try", p.MaxTry, 1, 0)
	}
	s.RetryUntilClose = or(p.RetryUntilClose, s.RetryUntilClose)
	if n := p.PartitionsPerPost; n != nil {
		if *n < 1 || *n > post.MaxPartitionsPerPost {
			d.complain(key+".partitions_per_post", "%d must be from 1 to %d, what the network takes in one message", *n, post.MaxPartitionsPerPost)
		}
		s.PartitionsPerPost = int(*n)
	}
	s.RecoverAlone = or(p.RecoverAlone, s.RecoverAlone)
	s.JobLifetime = d.positive(key+".job_lifetime", p.JobLifetime, s.JobLifetime)
	if s.Pool = or(p.Pool, s.Pool); p.Pool != nil && s.Pool != "" {
		d.checkName(key+".pool", s.Pool)
	}
	s.Fees = d.fees(key, s.Fees, p)
	if p.Recover != nil {
		s.Recovery.Off = !*p.Recover
	}
	s.Recovery.MaxSectors = d.atLeast(key+".max_recover_sectors", p.MaxRecoverSectors, 0, s.Recovery.MaxSectors)
	s.Recovery.MaxPartitions = d.atLeast(key+".max_recover_partitions", p.MaxRecoverPartitions, 0, s.Recovery.MaxPartitions)
	if p.Sender != nil {
		s.Sender = ""
		if *p.Sender != "auto" {
			a, err := address.NewFromString(*p.Sender)
			if err != nil || a == address.Undef {
				d.complain(key+".sender", "%q is neither \"auto\" (chosen among the miner's addresses) nor an address", *p.Sender)
			}
			s.Sender = *p.Sender
		}
	}
	return s
}

func (d *document) store(stores []Store, key, pathKey, name, path string) []Store {
	at := func(same func(Store) bool) int { return slices.IndexFunc(stores, same) }
	if name == "" {
		d.complain(key+".name", "missing; a store needs a name")
	} else if at(func(s Store) bool { return s.Name == name }) >= 0 {
		d.complain(key+".name", "two stores are named %q", name)
	}
	path = d.home(key+"."+pathKey, path)
	if !filepath.IsAbs(path) {
		d.complain(key+"."+pathKey, "%q is not an absolute path", path)
		return append(stores, Store{name, path})
	}
	path = filepath.Clean(path)
	if i := at(func(s Store) bool { return s.Path == path }); i >= 0 {
		d.complain(key+"."+pathKey, "%s is store %q already", path, stores[i].Name)
	}
	return append(stores, Store{name, path})
}

func (d *document) log(f *file) Log {
	l := Log{Level: slog.LevelInfo, Format: or(f.Log.Format, "text")}
	if f.Log.Level != nil {
		level, err := ParseLevel(*f.Log.Level)
		if err != nil {
			d.complain("log.level", "%v", err)
		}
		l.Level = level
	}
	if l.Format != "text" && l.Format != "json" {
		d.complain("log.format", "%q is neither text nor json", l.Format)
	}
	return l
}

// ParseLevel reads a log level: debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[s]
	if !ok {
		return 0, fmt.Errorf("%q is no log level; there are debug, info, warn and error", s)
	}
	return level, nil
}

func (d *document) checkName(key, name string) {
	if !nameForm.MatchString(name) {
		d.complain(key, "%q: a name is made of letters, digits, '.', '_' and '-'", name)
	}
}

// positive is a written duration above zero, or the default.
func (d *document) positive(key string, written *duration, otherwise time.Duration) time.Duration {
	if written == nil {
		return otherwise
	}
	if *written <= 0 {
		d.complain(key, "%s must be above zero", time.Duration(*written))
	}
	return time.Duration(*written)
}

// atLeast is a written number that is not below least, or the default.
func (d *document) atLeast(key string, written *int64, least, otherwise int) int {
	if written == nil {
		return otherwise
	}
	if *written < int64(least) || *written > 1<<20 {
		d.complain(key, "%d must be from %d to %d", *written, least, 1<<20)
	}
	return int(*written)
}

// sorted puts faults in the order of the file.
func sorted(faults []fault) []fault {
	slices.SortStableFunc(faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.column, b.at.column))
	})
	return faults
}
