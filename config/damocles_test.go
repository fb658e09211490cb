package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// home is an environment with a home folder.
func home(name string) string { return map[string]string{"HOME": "/home/p"}[name] }

const minimal = "[[attached]]\nname=\"a\"\nlocation=\"/a\"\n"

// fromFile loads a worker's configuration of a file with the text.
func fromFile(t *testing.T, text, extProver string) (*Config, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	c, err := loadWorker(path, extProver, home, host)
	return c, path, err
}

func TestDamoclesWorkerAsInTheDocuments(t *testing.T) {
	const path = "testdata/damocles-worker.toml"
	c, err := loadWorker(path, "", home, host)
	require.NoError(t, err)
	card := func(name, cpus string, envs map[string]string) Card {
		return Card{
			Name: name, Bin: "/home/p/my_algorithm", Args: []string{"window_post"}, Envs: envs, InheritEnvs: true,
			Concurrent: 1, Weight: 1, CPUs: cpus, Pool: "gpu", AutoRestart: true,
			Reads: Reads{Parallel: 32, Timeout: 10 * time.Minute},
		}
	}
	require.Equal(t, &Config{
		Path:     path,
		Temporal: Temporal{Address: "127.0.0.1:7233", Namespace: "default"},
		Worker: Worker{
			Name: "damocles-worker-USA-01", StopTimeout: 10 * time.Second, Pool: "gpu",
			Rules: []post.Rule{{Miners: []abi.ActorID{6666}}, {Miners: []abi.ActorID{7777}, Sizes: []abi.SectorSize{32 << 30}}},
		},
		Attached: []Store{{"miner-6666-store", "/mnt/miner-6666-store"}, {"miner-7777-store", "/mnt/miner-7777-store"}},
		Cards: []Card{
			card("card0", "10-19", map[string]string{"BELLMAN_GPU_INDEXS": "0", "CUDA_VISIBLE_DEVICES": "0", "TMPDIR": "/tmp/worker-prover1/"}),
			card("card1", "20-29", map[string]string{"CUDA_VISIBLE_DEVICES": "1", "TMPDIR": "/tmp/worker-prover2/"}),
		},
		WindowLimit: 2,
		Metrics:     Metrics{Daemon: "127.0.0.1:9464", Worker: "127.0.0.1:9465"},
		Alerts:      Alerts{Limits: post.DefaultLimits(), Repeat: defaultRepeat},
		Log:         Log{Format: "text"},
		Warnings: []string{
			path + ":4:12: sector_manager.rpc_client.addr: is replaced by the Temporal server's address (TEMPORAL_ADDRESS)",
			path + ":7:9: sealing_thread[0].sealing.recover_interval: is not applied: jobs are not asked for at intervals, they come at once by long polling",
		},
	}, c)
	require.NoError(t, c.ForWorker())

	_, err = load(path, home, host)
	require.EqualError(t, err, path+" is a damocles-worker's configuration, which only `posthaste worker run` reads")
}

// TestEveryKeyOfDamocles has each key applied or named, and none stops the worker.
func TestEveryKeyOfDamocles(t *testing.T) {
	const path = "testdata/damocles-everything.toml"
	c, err := loadWorker(path, "", home, host)
	require.NoError(t, err)
	require.Equal(t, "worker--1", c.Worker.Name)
	require.Equal(t, []post.Rule{
		{Miners: []abi.ActorID{7777, 9999}}, {Miners: []abi.ActorID{8888}, Sizes: []abi.SectorSize{32 << 30, 64 << 30}},
	}, c.Worker.Rules, "a thread has the general restrictions where it has none of its own; twins are one rule")
	require.Equal(t, 3, c.WindowLimit, "three threads prove, and the limit is five")
	require.Equal(t, []Store{{"/mnt/store", "/mnt/store"}}, c.Attached)
	require.Equal(t, "127.0.0.1:9000", c.Metrics.Worker)
	reads := Reads{Parallel: 32, Timeout: 10 * time.Minute}
	require.Equal(t, []Card{
		{Name: "card0", Concurrent: 3, Weight: 1, CPUs: "0-3,8", Pool: "gpu", ReadyTimeout: 90 * time.Second, Reads: reads},
		{Name: "card1", Bin: "/opt/prover", Args: []string{"processor", "window_post"}, InheritEnvs: true, Concurrent: 3, Weight: 1,
			Pool: "gpu", AutoRestart: true, Reads: reads},
	}, c.Cards)
	var named []string
	for _, warning := range c.Warnings {
		rest := strings.TrimPrefix(warning, path+":")
		place, text, _ := strings.Cut(rest, ": ")
		line, _, _ := strings.Cut(place, ":")
		key, why, _ := strings.Cut(text, ": ")
		named = append(named, line+" "+key)
		require.NotEmpty(t, why, warning)
	}
	require.Equal(t, []string{
		"3 worker.name", "4 worker.rpc_server", "6 worker.ping_interval", "7 worker.local_pieces_dirs",
		"10 metrics.enable",
		"14 sector_manager.rpc_client.addr", "15 sector_manager.rpc_client.headers", "16 sector_manager.piece_token",
		"20 sealing.enable_deals", "21 sealing.max_retries",
		"23 sealing_thread[0]",
		"27 sealing_thread[1].location", "30 sealing_thread[1].sealing.seal_interval", "31 sealing_thread[1].sealing.surprise",
		"43 attached[0].readonly",
		"46 processors.limit.window_post", "47 processors.limit.pc1",
		"50 processors.limitation.concurrent.pc1", "53 processors.limitation.staggered",
		"56 processors.ext_locks", "59 processors.static_tree_d", "62 processors.pc1[0]", "66 processors.pc2[0]",
		"69 processors.window_post[0].numa_preferred", "70 processors.window_post[0].cgroup.group_name", "72 processors.window_post[0].locks",
		"80 novelty",
	}, named)
}

func TestDamoclesRulesAndPlaces(t *testing.T) {
	thread := "[[sealing_thread]]\nplan=\"wdpost\"\n"
	card := "[[processors.window_post]]\n"
	for situation, c := range map[string]struct {
		text   string
		rules  int
		limit  int
		places []int
		auto   bool
	}{
		"a thread alone takes everything, on the cards that are found":     {thread, 0, 1, []int{1}, true},
		"one thread without restrictions outweighs the others":             {thread + thread + "sealing.allowed_miners=[1]\n" + card, 0, 2, []int{2}, false},
		"an empty list is no restriction":                                  {"[sealing]\nallowed_miners=[1]\n" + thread + "sealing.allowed_miners=[]\n", 0, 1, []int{1}, true},
		"the limit is below the threads":                                   {thread + thread + thread + "[processors.limitation.concurrent]\nwindow_post=2\n" + card, 0, 2, []int{2}, false},
		"the limit by its older name":                                      {thread + thread + thread + "[processors.limit]\nwindow_post=2\n" + card, 0, 2, []int{2}, false},
		"the newer name without window_post still takes the older's place": {thread + thread + thread + "[processors.limit]\nwindow_post=2\n[processors.limitation.concurrent]\npc1=1\n" + card, 0, 3, []int{3}, false},
		"cards with places of their own":                                   {thread + thread + card + "concurrent=1\n" + card + "concurrent=7\n", 0, 2, []int{1, 2}, false},
		"tables in braces":                                                 {"sealing_thread = [ { plan = \"wdpost\", sealing.allowed_miners = [5] } ]\n", 1, 1, []int{1}, true},
	} {
		t.Run(situation, func(t *testing.T) {
			got, _, err := fromFile(t, c.text+minimal, "")
			require.NoError(t, err)
			require.Len(t, got.Worker.Rules, c.rules)
			require.Equal(t, c.limit, got.WindowLimit)
			require.Equal(t, c.auto, got.AutoCards)
			var places []int
			for _, card := range got.Cards {
				places = append(places, card.Concurrent)
			}
			require.Equal(t, c.places, places)
		})
	}
}

func TestBadDamoclesFiles(t *testing.T) {
	thread := "[[sealing_thread]]\nplan=\"wdpost\"\n"
	for situation, c := range map[string]struct{ text, want string }{
		"nothing proves":             {"[sector_manager]\n", `1:1: sealing_thread: none has plan = "wdpost": this worker would prove nothing`},
		"a plan that is a number":    {thread + "[[sealing_thread]]\nplan=1", `4:1: sealing_thread[1].plan: want a string`},
		"a miner that is none":       {thread + "sealing.allowed_miners=[-1]", `3:9: sealing_thread[0].sealing.allowed_miners[0]: -1 is no miner; want a number such as 1000, or "f01000"`},
		"a miner of a wrong kind":    {thread + "sealing.allowed_miners=[1.5]", `3:9: sealing_thread[0].sealing.allowed_miners[0]: a value of this kind is no miner; want a number such as 1000, or "f01000"`},
		"a sector size that is none": {thread + "sealing.allowed_sizes=[\"32GB\"]", `3:9: sealing_thread[0].sealing.allowed_sizes[0]: "32GB" is no sector size; there are 2KiB, 8MiB, 512MiB, 32GiB and 64GiB`},
		"a size that is a number":    {thread + "sealing.allowed_sizes=[32]", `3:9: sealing_thread[0].sealing.allowed_sizes[0]: want a string`},
		"a limit of nothing":         {thread + "[processors.limitation.concurrent]\nwindow_post=0", `4:1: processors.limitation.concurrent.window_post: 0 must be from 1 to 1048576`},
		"a wait that is none":        {thread + "[[processors.window_post]]\nstable_wait=\"soon\"", `4:1: processors.window_post[0].stable_wait: "soon" is no time above zero, such as "5s"`},
		"CPUs that run backwards":    {thread + "[[processors.window_post]]\ncgroup.cpuset=\"9-3\"", `4:8: processors.window_post[0].cgroup.cpuset: "9-3": 9-3 runs backwards`},
		"an env that is a number":    {thread + "[[processors.window_post]]\nenvs={A=1}", `4:7: processors.window_post[0].envs.A: want a string`},
		"an env that is a table":     {thread + "[[processors.window_post]]\nenvs={A.B=\"1\"}", `4:9: processors.window_post[0].envs.A.B: want a string`},
		"args that are a string":     {thread + "[[processors.window_post]]\nargs=\"a\"", `4:1: processors.window_post[0].args: want a list of strings`},
		"a single attached":          {thread + "[attached]\nlocation=\"/a\"", `3:2: attached: write it as [[attached]]`},
		"an attached without place":  {thread + "[[attached]]\nname=\"a\"", `3:3: attached[0].location: "" is not an absolute path`},
		"no TOML":                    {thread + "x = = 1", `3:5: incomplete number`},
		"a key twice":                {thread + "plan=\"x\"", `3:1: sealing_thread[0].plan: given already in line 2`},
	} {
		t.Run(situation, func(t *testing.T) {
			_, path, err := fromFile(t, c.text, "")
			require.Error(t, err)
			require.Equal(t, "worker.toml:"+c.want, strings.ReplaceAll(err.Error(), path, "worker.toml"))
		})
	}
}

func TestStoresThatDamoclesLooksFor(t *testing.T) {
	dir := t.TempDir()
	for name, about := range map[string]string{"1": `{"ID":"123","Name":""}`, "2": `{"Name":"456"}`, "3": "", "4": "{}", "5": "no JSON"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		if about != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name, "sectorstore.json"), []byte(about), 0o600))
		}
	}
	for _, key := range []string{"scan_persist_stores", "ScanPersistStores"} {
		c, _, err := fromFile(t, "[worker]\n"+key+" = [\""+dir+"/*\"]\n[[sealing_thread]]\nplan=\"wdpost\"\n", "")
		require.NoError(t, err)
		four := filepath.Join(dir, "4")
		require.Equal(t, []Store{{"123", filepath.Join(dir, "1")}, {"456", filepath.Join(dir, "2")}, {four, four}}, c.Attached)
		require.Len(t, c.Warnings, 1)
		require.Contains(t, c.Warnings[0], filepath.Join(dir, "5", "sectorstore.json")+" is left out")
	}
}

func TestNamesAndMetricsOfDamocles(t *testing.T) {
	thread := "[[sealing_thread]]\nplan=\"wdpost\"\n"
	for written, want := range map[string]string{"worker-#1": "worker--1", "10.0.0.1": "10.0.0.1", "": "worker", "#1": "worker-1"} {
		c, _, err := fromFile(t, fmt.Sprintf("worker.name = %q\n%s", written, thread), "")
		require.NoError(t, err)
		require.Equal(t, want, c.Worker.Name)
		require.Equal(t, written != want, len(c.Warnings) == 1, "a changed name is told")
	}
	for text, want := range map[string]string{
		"": "127.0.0.1:9465", "metrics.enable = false\n": "127.0.0.1:9465",
		"metrics.enable = true\n": "127.0.0.1:9000", "metrics = { enable = true, http_listen = \"10.0.0.1:1\" }\n": "10.0.0.1:1",
	} {
		c, _, err := fromFile(t, text+thread, "")
		require.NoError(t, err)
		require.Equal(t, want, c.Metrics.Worker)
	}
}

func TestTimesAsDamoclesWritesThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "1min 30s": 90 * time.Second, "2 hours": 2 * time.Hour, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"1day": 24 * time.Hour, "": -1, "5": -1, "s": -1, "5 parsecs": -1, "1s x": -1, "999999999h": -1,
	} {
		got, err := parseHuman(text)
		require.Equal(t, want == -1, err != nil, text)
		require.Equal(t, max(want, 0), got, text)
	}
}

// FuzzDamocles: whatever a file holds, it is a Config that can work, or an error. (Give -fuzzminimizetime 10x: by default most of
// the time goes into making inputs smaller.)
func FuzzDamocles(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.*")
	require.NoError(f, err)
	for _, path := range seeds {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(string(data))
	}
	for _, text := range []string{
		"sealing_thread = [1, {plan=\"wdpost\"}]", "[sealing_thread.a]\n[[sealing_thread.b]]", "\"sealing_thread\".\"a.b\" = 0x1F",
		"[[sealing_thread]]\nplan='wdpost'\n[processors]\nwindow_post=[{envs={\"\"=\"\", \"A.B\"='x'}}]", "[[WdPost]]\nbin=''\nCONCURRENT=1_0",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "scan_persist_stores") || strings.Contains(text, "ScanPersistStores") {
			return // it reads the disk
		}
		isDamocles([]byte(text))
		c, err := damocles("f", []byte(text), home, host)
		if err == nil {
			require.NotEmpty(t, c.Cards)
			require.Positive(t, c.WindowLimit)
			for _, card := range c.Cards {
				require.Positive(t, card.Concurrent)
				require.LessOrEqual(t, card.Concurrent, c.WindowLimit)
			}
			require.Regexp(t, nameForm, c.Worker.Name)
		}
		if c, err = Default(); err == nil {
			if c.useExtProver("f", []byte(text), home) == nil {
				require.NotEmpty(t, c.Cards)
			}
		}
	})
}
