package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
	"posthaste/webhook"
)

func noEnv(string) string { return "" }

func host() (string, error) { return "gpu-box", nil }

// parse builds a configuration from text, as if it were posthaste.toml, in an empty environment.
func parse(text string) (*Config, error) { return build("posthaste.toml", []byte(text), noEnv, host) }

func TestEveryDefaultWorks(t *testing.T) {
	c, err := parse("")
	require.NoError(t, err)
	require.Equal(t, &Config{
		Path:     "posthaste.toml",
		Temporal: Temporal{Address: "127.0.0.1:7233", Namespace: "default"},
		Worker:   Worker{Name: "gpu-box", StopTimeout: 10 * time.Second, Pool: "gpu"},
		Cards: []Card{{
			Name: "card0", InheritEnvs: true, Concurrent: 1, Weight: 1, Pool: "gpu", AutoRestart: true,
			Reads: Reads{Parallel: 32, Timeout: 10 * time.Minute},
		}},
		AutoCards: true,
		Metrics:   Metrics{Daemon: "127.0.0.1:9464", Worker: "127.0.0.1:9465"},
		Alerts:    Alerts{Limits: post.DefaultLimits(), Repeat: 4 * time.Hour},
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
	}, c)
}

func TestCommentedIsTheDefaults(t *testing.T) {
	want, err := parse("")
	require.NoError(t, err)
	got, err := parse(Commented())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// uncomment takes the # from before keys and tables.
func uncomment(text string) string {
	return regexp.MustCompile(`(?m)^#(\[|[a-z_.]+ = )`).ReplaceAllString(text, "$1")
}

// TestCommentedShowsTheDefaults takes the # away: what is shown as a default must be it, and the examples must load.
func TestCommentedShowsTheDefaults(t *testing.T) {
	text := uncomment(Commented())
	text = withoutRules(text)
	for _, example := range []string{"api_info = ", "api_info_file = ", "nodes = ", "nodes_file = ", "epoch_duration = ", "bin = ", "args = ", "envs = ", `name = "worker-1"`,
		"cgroup.cpuset = ", "gpu = ", "ready_timeout = ", "allowed_miners = ", "allowed_sizes = ", "memory_per_proof = ", "memory = ", "window_post = ", "winning_post = ",
		"url_file = ", "url_env = ", "kinds = "} {
		require.Contains(t, text, "\n"+example, "the example is in the file")
		text = strings.ReplaceAll(text, "\n"+example, "\n#"+example)
	}
	got, err := parse(text)
	require.NoError(t, err)
	want, err := parse("")
	require.NoError(t, err)
	want.AutoCards = false
	want.Winning = []Card{newCard("winning0")}
	want.Miners = []Miner{{ID: 1000, Enabled: true, Settings: post.DefaultSettings()}}
	want.Stores = []Store{{"store-1", "/mnt/store-1"}}
	want.Attached = []Store{{"store-1", "/mnt/store-1"}}
	want.Alerts.Webhooks = []Webhook{{Name: "slack-1", Kind: webhook.Slack, URL: "https://hooks.slack.com/services/T000/B000/XXXX", Resolved: true, inFile: true}}
	require.Equal(t, want, got)

	text = uncomment(Commented())
	for _, other := range []string{"api_info_file", "nodes_file", "url_file", "url_env"} {
		text = strings.Replace(text, "\n"+other, "\n#"+other, 1)
	}
	_, err = parse(withoutRules(text))
	require.NoError(t, err, "the examples load too")
}

// withoutRules takes out the example that may not stand beside the keys of [worker].
func withoutRules(text string) string {
	before, after, _ := strings.Cut(text, "[[worker.rules]]\n")
	_, after, _ = strings.Cut(after, "\n\n")
	return before + "\n" + after
}

// TestCommentedHasEveryKey compares with what the schema says when it is asked for a key that does not exist.
func TestCommentedHasEveryKey(t *testing.T) {
	for _, table := range []string{"[temporal]", "[chain]", "[policy]", "[[stores]]", "[[attached]]", "[worker]", "[[worker.rules]]", "[processors]",
		"[processors.limitation]", "[processors.limitation.concurrent]", "[[processors.window_post]]", "[metrics]", "[alerts]", "[[alerts.webhook]]", "[log]", ""} {
		_, err := parse(table + "\nnot_a_key = 1\n")
		require.Error(t, err)
		_, allowed, _ := strings.Cut(err.Error(), "may be ")
		for key := range strings.SplitSeq(allowed, ", ") {
			require.Regexp(t, `(?m)^#?(\[+([a-z_]+\.)*`+key+`[\].]|`+key+`(\.[a-z]+)? = )`, Commented(), "%s %s", table, key)
		}
	}
}

func TestPolicyAndItsOverrides(t *testing.T) {
	c, err := parse(`
[policy]
confidence = 5
max_try = 3
partitions_per_post = 3
recover_alone = true
sender = "f3vvmn62lofvhjd2ugzca6sof2j2ubwok6cj4xxbfzz4yuxfkgobpihhd2thlanmsh3w2ptld2gqkn2jvlss4a"
[[miners]]
id = "f01000"
[[miners]]
id = "t01001"
enabled = false
sender = "auto"
confidence = 7
partitions_per_post = 2
recover_alone = false
retry_until_close = false
job_lifetime = "2h"
`)
	require.NoError(t, err)
	first := post.DefaultSettings()
	first.Confidence, first.MaxTry, first.PartitionsPerPost, first.RecoverAlone = 5, 3, 3, true
	first.Sender = "f3vvmn62lofvhjd2ugzca6sof2j2ubwok6cj4xxbfzz4yuxfkgobpihhd2thlanmsh3w2ptld2gqkn2jvlss4a"
	second := first
	second.PartitionsPerPost, second.RecoverAlone = 2, false
	second.Sender, second.Confidence, second.RetryUntilClose, second.JobLifetime = "", 7, false, 2*time.Hour
	require.Equal(t, []Miner{{1000, true, first}, {1001, false, second}}, c.Miners)
}

// One machine, one file: who has named the stores once should not prove nothing for want of a second list.
func TestAWorkerReadsTheDaemonsStoresUnlessItHasItsOwn(t *testing.T) {
	stores := "[[stores]]\nname=\"a\"\npath=\"/a\"\n"
	c, err := parse(stores)
	require.NoError(t, err)
	require.Equal(t, []Store{{"a", "/a"}}, c.Attached)
	require.NoError(t, c.ForWorker())
	c, err = parse(stores + "[[attached]]\nname=\"b\"\nlocation=\"/b\"\n")
	require.NoError(t, err)
	require.Equal(t, []Store{{"b", "/b"}}, c.Attached)
	c, err = parse("")
	require.NoError(t, err)
	require.ErrorContains(t, c.ForWorker(), "[[attached]] with name and location")
}

func TestCards(t *testing.T) {
	c, err := parse(`
processors.window_post = [
  { name = "gpu0", envs = { CUDA_VISIBLE_DEVICES = "0" }, concurrent = 2 }, # the big one
  { bin = "/opt/p", args = ["-x", "y"], inherit_envs = false, auto_restart = false, read_timeout = "1m" },
]
`)
	require.NoError(t, err)
	require.Len(t, c.Cards, 2)
	require.Equal(t, map[string]string{"CUDA_VISIBLE_DEVICES": "0"}, c.Cards[0].Envs)
	require.Equal(t, 2, c.Cards[0].Concurrent)
	require.Equal(t, Card{
		Name: "card1", Bin: "/opt/p", Args: []string{"-x", "y"}, Concurrent: 1, Weight: 1, Pool: "gpu",
		Reads: Reads{Parallel: 32, Timeout: time.Minute},
	}, c.Cards[1])

	c, err = parse("[[processors.window_post]]\nname = \"a\"\n[processors.window_post.envs]\nA = \"1\"\n[[processors.window_post]]\n[processors.window_post.envs]\nB = \"2\"\n")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"A": "1"}, c.Cards[0].Envs)
	require.Equal(t, map[string]string{"B": "2"}, c.Cards[1].Envs)
}

func TestEnvironmentFillsWhatIsLeftOut(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"TEMPORAL_ADDRESS": "t:1", "TEMPORAL_NAMESPACE": "n", "FULLNODE_API_INFO": "tok:/ip4/1.2.3.4/tcp/1/http\n"}[name]
	}
	c, err := build("f", nil, env, host)
	require.NoError(t, err)
	require.Equal(t, Temporal{"t:1", "n", ""}, c.Temporal)
	require.Equal(t, "tok:/ip4/1.2.3.4/tcp/1/http", c.Chain.Nodes[0].Reveal())

	c, err = build("f", []byte("temporal.address = \"h:2\"\nchain.api_info = \"x:/ip4/1.1.1.1/tcp/1/http\""), env, host)
	require.NoError(t, err)
	require.Equal(t, Temporal{"h:2", "n", ""}, c.Temporal)
	require.Equal(t, "x:/ip4/1.1.1.1/tcp/1/http", c.Chain.Nodes[0].Reveal())

	_, err = build("f", nil, func(string) string { return "nonsense" }, host)
	require.EqualError(t, err, `f:1:1: temporal.address: "nonsense" is not host:port, such as "127.0.0.1:7233"`)
}

func TestBadConfigurations(t *testing.T) {
	for situation, c := range map[string]struct{ text, want string }{
		"an unknown key in a table": {
			"[temporal]\n  adress = \"x\"", `2:3: temporal.adress: unknown key (did you mean address?); in temporal there may be address, namespace, ui, versioning, build_id`,
		},
		"an unknown table": {
			"[wroker]\nname = 1", `1:2: wroker: unknown key (did you mean worker?); at the top level there may be temporal, chain, policy, miners, stores, attached, worker, processors, metrics, alerts, log`,
		},
		"an unknown key in the second of a list": {
			"[[stores]]\nname=\"a\"\npath=\"/a\"\n[[stores]]\nname=\"b\"\nlocation=\"/b\"", `6:1: stores[1].location: unknown key; in stores[1] there may be name, path`,
		},
		"a key in the wrong case":    {"[log]\nLevel = \"info\"", `2:1: log.Level: unknown key (did you mean level?); in log there may be level, format`},
		"a number for a string":      {"[[miners]]\nid = 1000", `2:1: miners[0].id: want a string such as "f01000"`},
		"a string for a number":      {"policy.max_try = \"2\"", `1:8: policy.max_try: want a whole number`},
		"a fraction of an epoch":     {"policy.confidence = 1.5", `1:8: policy.confidence: want a whole number of epochs`},
		"a string for a truth":       {"[policy]\nretry_until_close = \"yes\"", `2:1: policy.retry_until_close: want true or false`},
		"a duration without a unit":  {"[worker]\nstop_timeout = \"15\"", `2:1: worker.stop_timeout: want a string such as "15s", "1m30s" or "25h"`},
		"a duration as a number":     {"[worker]\nstop_timeout = 15", `2:1: worker.stop_timeout: want a string such as "15s", "1m30s" or "25h"`},
		"a duration of nothing":      {"[worker]\nstop_timeout = \"0s\"", `2:1: worker.stop_timeout: 0s must be above zero`},
		"a negative epoch duration":  {"[chain]\nepoch_duration = \"-1s\"", `2:1: chain.epoch_duration: -1s must be above zero`},
		"a table for a list":         {"[stores]\nname=\"a\"", `1:2: stores: write it as [[stores]]`},
		"a list for a table":         {"[[temporal]]\naddress=\"a:1\"", `1:3: temporal: write it as [temporal]`},
		"a key as a table":           {"[log.level]\nx=1", `1:6: log.level: this is a key, not a table; write it as level = …`},
		"a list of mixed kinds":      {"[[processors.window_post]]\nbin=\"b\"\nargs=[\"a\",1]", `3:1: processors.window_post[0].args[1]: want a string`},
		"an env that is a number":    {"[[processors.window_post]]\nenvs={A=1}", `2:7: processors.window_post[0].envs.A: want a string`},
		"a miner that is none":       {"[[miners]]\nid=\"f3abc\"", `2:1: miners[0].id: "f3abc" is not a miner actor; write its ID address, such as f01000`},
		"a miner without an id":      {"\n[[miners]]\nenabled=true", `2:3: miners[0].id: "" is not a miner actor; write its ID address, such as f01000`},
		"a miner twice":              {"[[miners]]\nid=\"f01000\"\n[[miners]]\nid=\"t01000\"", `4:1: miners[1].id: f01000 is listed twice`},
		"a negative confidence":      {"[[miners]]\nid=\"f01000\"\nsubmit_confidence=-1", `3:1: miners[0].submit_confidence: -1 is too few epochs; at least 0`},
		"a post that could not land": {"[policy]\nsubmit_confidence = 59", `2:1: policy.submit_confidence: 59 is too many epochs; at most 50`},
		"a reserve without a window": {"[policy]\nsubmit_reserve = 60", `2:1: policy.submit_reserve: 60 is too many epochs; at most 59`},
		"a confidence without end":   {"[policy]\nconfidence = 99999999999999", `2:1: policy.confidence: 99999999999999 is too many epochs; at most 900`},
		"no tries":                   {"[policy]\nmax_try = 0", `2:1: policy.max_try: 0 must be from 1 to 1048576`},
		"a sender that is none":      {"[policy]\nsender = \"wallet\"", `2:1: policy.sender: "wallet" is neither "auto" (chosen among the miner's addresses) nor an address`},
		"an address without port":    {"[temporal]\naddress = \"localhost\"", `2:1: temporal.address: "localhost" is not host:port, such as "127.0.0.1:7233"`},
		"a Web UI without http":      {"[temporal]\nui = \"10.0.0.9:8233\"", `2:1: temporal.ui: "10.0.0.9:8233" is not the URL of a Web UI, such as "http://127.0.0.1:8233"`},
		"an empty namespace":         {"[temporal]\nnamespace = \"\"", `2:1: temporal.namespace: want a name, such as "default"`},
		"two nodes":                  {"[chain]\napi_info=\"a:/b\"\napi_info_file=\"/x\"", `3:1: chain.api_info_file: api_info is given too; keep one of them`},
		"a token file that is gone":  {"[chain]\napi_info_file=\"/none/x\"", `2:1: chain.api_info_file: open /none/x: no such file or directory`},
		"a store without a path":     {"[[stores]]\nname=\"a\"", `1:3: stores[0].path: "" is not an absolute path`},
		"a store without a name":     {"[[stores]]\npath=\"/a\"", `1:3: stores[0].name: missing; a store needs a name`},
		"two stores of a name":       {"[[attached]]\nname=\"a\"\nlocation=\"/a\"\n[[attached]]\nname=\"a\"\nlocation=\"/b\"", `5:1: attached[1].name: two stores are named "a"`},
		"two stores at a path":       {"[[stores]]\nname=\"a\"\npath=\"/a\"\n[[stores]]\nname=\"b\"\npath=\"/a/\"", `6:1: stores[1].path: /a is store "a" already`},
		"a worker's odd name":        {"[worker]\nname=\"my worker\"", `2:1: worker.name: "my worker": a name is made of letters, digits, '.', '_' and '-'`},
		"two cards of a name":        {"[[processors.window_post]]\nname=\"g\"\n[[processors.window_post]]\nname=\"g\"", `4:1: processors.window_post[1].name: two cards are named "g"`},
		"args without a bin":         {"[[processors.window_post]]\nargs=[\"x\"]", `2:1: processors.window_post[0].args: args need a bin; without one posthaste starts itself`},
		"a card that proves nothing": {"[[processors.window_post]]\nconcurrent=0", `2:1: processors.window_post[0].concurrent: 0 must be from 1 to 1048576`},
		"an unknown level":           {"[log]\nlevel=\"trace\"", `2:1: log.level: "trace" is no log level; there are debug, info, warn and error`},
		"an unknown format":          {"[log]\nformat=\"xml\"", `2:1: log.format: "xml" is neither text nor json`},
		"a value that never ends":    {"[log]\nlevel = \"info", `2:14: basic string not terminated by "`},
		"no value at all":            {"[log]\nlevel =\n", `2:8: incomplete number`},
		"a key twice":                {"[log]\nlevel = \"info\"\nlevel = \"warn\"", `3:1: log.level: given already in line 2`},
		"a table twice":              {"[log]\n[worker]\n[log]", `3:2: [log]: opened already in line 1`},
		"two faults, in the file's order": {
			"[log]\nlevel=\"x\"\n[temporal]\naddress=\"y\"",
			"2:1: log.level: \"x\" is no log level; there are debug, info, warn and error\nposthaste.toml:4:1: temporal.address: \"y\" is not host:port, such as \"127.0.0.1:7233\"",
		},
	} {
		t.Run(situation, func(t *testing.T) {
			_, err := parse(c.text)
			require.EqualError(t, err, "posthaste.toml:"+c.want)
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "posthaste.toml")
	_, err := load(path, noEnv, host)
	require.EqualError(t, err, "there is no configuration at "+path+"; `posthaste init` writes one")

	write := func(text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	for situation, c := range map[string]struct {
		text string
		mode os.FileMode
		warn bool
	}{
		"a token that everybody reads": {"chain.api_info = \"tok:/ip4/127.0.0.1/tcp/1/http\"", 0o644, true},
		"a token that we alone read":   {"chain.api_info = \"tok:/ip4/127.0.0.1/tcp/1/http\"", 0o600, false},
		"no token in it":               {"chain.api_info = \"http://127.0.0.1:1\"", 0o644, false},
		"an endpoint without a token":  {"chain.api_info = \"/ip4/127.0.0.1/tcp/1/http\"", 0o644, false},
	} {
		t.Run(situation, func(t *testing.T) {
			write(c.text, c.mode)
			got, err := load(path, noEnv, host)
			require.NoError(t, err)
			require.Equal(t, c.warn, len(got.Warnings) == 1, got.Warnings)
		})
	}

	secret := filepath.Join(dir, "api_info")
	require.NoError(t, os.WriteFile(secret, []byte("tok:/ip4/127.0.0.1/tcp/1/http\n"), 0o600))
	write(fmt.Sprintf("chain.api_info_file = %q", secret), 0o644)
	got, err := load(path, noEnv, host)
	require.NoError(t, err)
	require.Equal(t, "tok:/ip4/127.0.0.1/tcp/1/http", got.Chain.Nodes[0].Reveal())
	require.Empty(t, got.Warnings)
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c, err := parse("chain.api_info = \"hunter2:/ip4/127.0.0.1/tcp/1/http\"")
	require.NoError(t, err)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "info", c.Chain.Nodes[0], "config", c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "info", c.Chain.Nodes[0], "config", c)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", c, c, c, c.Chain.Nodes[0], c.Chain.Nodes[0])
	require.NoError(t, json.NewEncoder(&out).Encode(c))
	require.NotContains(t, out.String(), "hunter2")
	require.Contains(t, out.String(), "(secret)")
}

func TestForDaemon(t *testing.T) {
	c, err := parse("[[miners]]\nid=\"f01000\"\nenabled=false")
	require.NoError(t, err)
	require.EqualError(t, c.ForDaemon(), "posthaste.toml: a daemon needs a Filecoin node: chain.api_info, chain.api_info_file or the environment's FULLNODE_API_INFO; and a miner: [[miners]] with an id, enabled; and a store: [[stores]] with name and path")
	c, err = parse("chain.api_info=\"http://x\"\n[[miners]]\nid=\"f01000\"\n[[stores]]\nname=\"a\"\npath=\"/a\"")
	require.NoError(t, err)
	require.NoError(t, c.ForDaemon())
}

func TestWebUI(t *testing.T) {
	for situation, c := range map[string]struct{ text, want string }{
		"nothing is said":                  {"", "http://127.0.0.1:8233"},
		"another port on this machine":     {`temporal.address = "localhost:9000"`, "http://localhost:10000"},
		"another machine":                  {`temporal.address = "10.0.0.9:7233"`, ""},
		"another machine whose UI is told": {"temporal.address = \"10.0.0.9:7233\"\ntemporal.ui = \"https://ui.example.org/\"", "https://ui.example.org"},
	} {
		t.Run(situation, func(t *testing.T) {
			built, err := build("f", []byte(c.text), func(string) string { return "" }, func() (string, error) { return "h", nil })
			require.NoError(t, err)
			require.Equal(t, c.want, built.Temporal.WebUI())
		})
	}
}

// Where nodes may be named, and in which order they are preferred.
func TestNodes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nodes")
	require.NoError(t, os.WriteFile(file, []byte("# the second\nb:http://b\n\nc:http://c\n"), 0o600))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	env := func(string) string { return "x:http://x, y:http://y" }
	for situation, c := range map[string]struct {
		text string
		want []string
		err  string
	}{
		"none":                     {"", []string{"x:http://x", "y:http://y"}, ""},
		"one":                      {`api_info = "a:http://a"`, []string{"a:http://a"}, ""},
		"several with commas":      {`api_info = "a:http://a,b:http://b"`, []string{"a:http://a", "b:http://b"}, ""},
		"one and others":           {"api_info = \"a:http://a\"\nnodes = [\"b:http://b\", \"c:http://c\"]", []string{"a:http://a", "b:http://b", "c:http://c"}, ""},
		"one and a file of others": {fmt.Sprintf("api_info = \"a:http://a\"\nnodes_file = %q", file), []string{"a:http://a", "b:http://b", "c:http://c"}, ""},
		"others alone":             {`nodes = ["b:http://b"]`, []string{"b:http://b"}, ""},
		"a list and a file":        {fmt.Sprintf("nodes = [\"b:http://b\"]\nnodes_file = %q", file), nil, "chain.nodes_file: nodes is given too; keep one of them"},
		"a file that is not there": {`nodes_file = "/nowhere/nodes"`, nil, "chain.nodes_file: open /nowhere/nodes"},
		"a file without nodes":     {fmt.Sprintf("nodes_file = %q", empty), nil, "must hold a line"},
		"one node twice":           {`nodes = ["b:http://b", "b:http://b"]`, nil, "chain.nodes: http://b is named twice, here or in another list of nodes; once is enough"},
		"no list":                  {`nodes = "b:http://b"`, nil, "chain.nodes: want a list of strings"},
	} {
		t.Run(situation, func(t *testing.T) {
			got, err := build("f", []byte("[chain]\n"+c.text), func(name string) string {
				if name == "FULLNODE_API_INFO" {
					return env(name)
				}
				return ""
			}, host)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			var nodes []string
			for _, n := range got.Chain.Nodes {
				nodes = append(nodes, n.Reveal())
			}
			require.Equal(t, c.want, nodes)
		})
	}
}
