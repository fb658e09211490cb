package config

import (
	"strings"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestWorkerKeys(t *testing.T) {
	c, err := parse(`
[policy]
pool = "big"
[[miners]]
id = "f01000"
[[miners]]
id = "f01001"
pool = ""
[worker]
pool = "h200"
allowed_miners = [1001, "f01000", 1001] # a number and a name
allowed_sizes = ["64GiB", "32GiB"]
memory_per_proof = "40GiB"
memory = "1TiB"
drain = true
large_sectors_on_cpu = true
[processors.limitation.concurrent]
window_post = 3
winning_post = 1
[[processors.window_post]]
weight = 3
cgroup.cpuset = "0-3,8"
gpu = false
[[processors.window_post]]
pool = "small"
cgroup = { cpuset = "4", group_name = "g" }
[[processors.winning_post]]
[metrics]
daemon = "off"
worker = "0.0.0.0:9000"
`)
	require.NoError(t, err)
	require.Equal(t, "big", c.Miners[0].Settings.Pool)
	require.Equal(t, "", c.Miners[1].Settings.Pool)
	require.Equal(t, []post.Rule{{Miners: []abi.ActorID{1000, 1001}, Sizes: []abi.SectorSize{32 << 30, 64 << 30}}}, c.Worker.Rules)
	require.EqualValues(t, 40<<30, c.Worker.MemoryPerProof)
	require.EqualValues(t, 1<<40, c.Worker.Memory)
	require.True(t, c.Worker.Drain && c.Worker.LargeOnCPU)
	require.Equal(t, 3, c.WindowLimit)
	require.Equal(t, 1, c.WinningLimit)
	require.False(t, c.AutoCards)
	no := false
	first, second, winning := newCard("card0"), newCard("card1"), newCard("winning0")
	first.Weight, first.CPUs, first.GPU, first.Pool = 3, "0-3,8", &no, "h200"
	second.CPUs, second.Pool = "4", "small"
	winning.Pool = "h200"
	require.Equal(t, []Card{first, second}, c.Cards)
	require.Equal(t, []Card{winning}, c.Winning)
	require.Equal(t, Metrics{Worker: "0.0.0.0:9000"}, c.Metrics)
	require.Equal(t, []string{"posthaste.toml:26:26: processors.window_post[1].cgroup.group_name: is not applied: a card is bound to its CPUs without a control group"}, c.Warnings)
}

func TestSeveralRulesAreInOneOrder(t *testing.T) {
	want := []post.Rule{{Sizes: []abi.SectorSize{32 << 30}}, {Miners: []abi.ActorID{7}}}
	for _, text := range []string{
		"[[worker.rules]]\nallowed_miners=[7]\n[[worker.rules]]\nallowed_sizes=[\"32GiB\"]\n",
		"worker.rules = [{ allowed_sizes = [\"32 gib\"] }, { allowed_miners = [\"t07\"] }, { allowed_miners = [7] }]",
	} {
		c, err := parse(text)
		require.NoError(t, err)
		require.Equal(t, want, c.Worker.Rules)
	}
}

func TestHomeIsExpanded(t *testing.T) {
	text := "[[stores]]\nname=\"a\"\npath=\"~/a\"\n[[processors.window_post]]\nbin=\"~/bin/p\"\nargs=[\"~/x\"]\nenvs={TMPDIR=\"~/tmp\", OTHER=\"~/o\"}\n"
	c, err := build("posthaste.toml", []byte(text), home, host)
	require.NoError(t, err)
	require.Equal(t, []Store{{"a", "/home/p/a"}}, c.Stores)
	require.Equal(t, "/home/p/bin/p", c.Cards[0].Bin)
	require.Equal(t, []string{"~/x"}, c.Cards[0].Args, "arguments are passed as they are")
	require.Equal(t, map[string]string{"TMPDIR": "/home/p/tmp", "OTHER": "~/o"}, c.Cards[0].Envs)

	_, err = parse("[[processors.window_post]]\nbin=\"~/p\"")
	require.EqualError(t, err, `posthaste.toml:2:1: processors.window_post[0].bin: "~/p": the environment's HOME is not set`)
}

func TestBadWorkers(t *testing.T) {
	for situation, c := range map[string]struct{ text, want string }{
		"a miner of a wrong kind":    {"worker.allowed_miners=[true]", `1:8: worker.allowed_miners[0]: want a miner such as 1000 or "f01000"`},
		"a miner that is none":       {"worker.allowed_miners=[1, \"f3\"]", `1:8: worker.allowed_miners[1]: "f3" is not a miner actor; write its ID address, such as f01000`},
		"a negative miner":           {"worker.allowed_miners=[-1]", `1:8: worker.allowed_miners[0]: -1 is no miner; want a number such as 1000, or "f01000"`},
		"miners that are no list":    {"worker.allowed_miners=1000", `1:8: worker.allowed_miners: want a list such as [1000, "f01001"]`},
		"a sector size that is none": {"worker.allowed_sizes=[\"1GiB\"]", `1:8: worker.allowed_sizes[0]: "1GiB" is no sector size; there are 2KiB, 8MiB, 512MiB, 32GiB and 64GiB`},
		"a size that is a number":    {"worker.allowed_sizes=[32]", `1:8: worker.allowed_sizes[0]: want a string`},
		"rules twice": {
			"[worker]\nallowed_miners=[1]\n[[worker.rules]]\nallowed_miners=[2]",
			`3:10: worker.rules[0]: worker.allowed_miners or worker.allowed_sizes is given too; write that as a rule of its own`,
		},
		"a rule of nothing":          {"[[worker.rules]]", `1:10: worker.rules[0]: allows everything; give it allowed_miners or allowed_sizes, or have no rules at all`},
		"a pool's odd name":          {"worker.pool=\"a b\"", `1:8: worker.pool: "a b": a name is made of letters, digits, '.', '_' and '-'`},
		"a card's pool without name": {"[[processors.window_post]]\npool=\"\"", `2:1: processors.window_post[0].pool: "": a name is made of letters, digits, '.', '_' and '-'`},
		"a miner's odd pool":         {"policy.pool=\"a b\"", `1:8: policy.pool: "a b": a name is made of letters, digits, '.', '_' and '-'`},
		"memory as a number":         {"worker.memory=64", `1:8: worker.memory: want a string such as "64GiB", of MiB, GiB or TiB`},
		"memory in decimals":         {"worker.memory_per_proof=\"64GB\"", `1:8: worker.memory_per_proof: want a string such as "64GiB", of MiB, GiB or TiB`},
		"more memory than there is":  {"worker.memory=\"9999999999TiB\"", `1:8: worker.memory: want a string such as "64GiB", of MiB, GiB or TiB`},
		"no memory":                  {"worker.memory=\"0GiB\"", `1:8: worker.memory: want a string such as "64GiB", of MiB, GiB or TiB`},
		"a proof above the memory":   {"[worker]\nmemory=\"1GiB\"\nmemory_per_proof=\"2GiB\"", `3:1: worker.memory_per_proof: is more than worker.memory: no proof would ever fit`},
		"drain as a string":          {"worker.drain=\"yes\"", `1:8: worker.drain: want true or false`},
		"a limit of nothing":         {"[processors.limitation.concurrent]\nwindow_post=0", `2:1: processors.limitation.concurrent.window_post: 0 must be from 1 to 1048576`},
		"an unknown limit":           {"[processors.limitation.concurrent]\npc1=1", `2:1: processors.limitation.concurrent.pc1: unknown key; in processors.limitation.concurrent there may be window_post, winning_post`},
		"a weight of nothing":        {"[[processors.window_post]]\nweight=0", `2:1: processors.window_post[0].weight: 0 must be from 1 to 1048576`},
		"CPUs that are none":         {"[[processors.window_post]]\ncgroup.cpuset=\"all\"", `2:8: processors.window_post[0].cgroup.cpuset: "all" is no CPU set such as "0-3,8"`},
		"CPUs as a number":           {"[[processors.window_post]]\ncgroup.cpuset=3", `2:8: processors.window_post[0].cgroup.cpuset: want a string such as "0-3,8"`},
		"an unknown key of a cgroup": {"[[processors.window_post]]\ncgroup={cpus=\"1\"}", `2:9: processors.window_post[0].cgroup.cpus: unknown key (did you mean cpuset?); in processors.window_post[0].cgroup there may be cpuset, group_name`},
		"a name of both kinds":       {"[[processors.window_post]]\nname=\"a\"\n[[processors.winning_post]]\nname=\"a\"", `4:1: processors.winning_post[0].name: two cards are named "a"`},
		"a name of a found card":     {"[[processors.winning_post]]\nname=\"gpu0\"", `2:1: processors.winning_post[0].name: "gpu0" may be the name of a window card that is found at start; take another`},
		"metrics without port":       {"metrics.worker=\"localhost\"", `1:9: metrics.worker: "localhost" is neither host:port, such as "127.0.0.1:9464", nor "off"`},
		"metrics at no port":         {"metrics.daemon=\":99999\"", `1:9: metrics.daemon: ":99999" is neither host:port, such as "127.0.0.1:9464", nor "off"`},
	} {
		t.Run(situation, func(t *testing.T) {
			_, err := parse(c.text)
			require.EqualError(t, err, "posthaste.toml:"+c.want)
		})
	}
}

func TestWhichCardsHaveAGPU(t *testing.T) {
	yes, no := true, false
	cuda := func(devices string) map[string]string { return map[string]string{"CUDA_VISIBLE_DEVICES": devices} }
	for situation, c := range map[string]struct {
		card          Card
		without, with bool // on a machine without a GPU, and with
	}{
		"nothing said: as the machine":      {Card{}, false, true},
		"said so":                           {Card{GPU: &yes, Envs: cuda("")}, true, true},
		"said not":                          {Card{GPU: &no, Bin: "/p", Envs: cuda("0")}, false, false},
		"a program of its own":              {Card{Bin: "/p"}, true, true},
		"a device":                          {Card{Envs: cuda("1")}, true, true},
		"a device by its name":              {Card{Envs: cuda("GPU-8f1")}, true, true},
		"devices hidden":                    {Card{Envs: cuda("")}, false, false},
		"devices hidden by the usual means": {Card{Envs: cuda("-1")}, false, false},
	} {
		t.Run(situation, func(t *testing.T) {
			require.Equal(t, c.without, c.card.HasGPU(false))
			require.Equal(t, c.with, c.card.HasGPU(true))
		})
	}
}

func TestCardsForTheGPUsThatAreFound(t *testing.T) {
	c, err := parse("worker.pool = \"big\"")
	require.NoError(t, err)
	require.True(t, c.AutoCards)
	c.UseDevices([]string{"NVIDIA H200", "NVIDIA H200"}, "", "/tmp/p")
	yes := true
	want := newCard("gpu1")
	want.Pool, want.GPU = "big", &yes
	want.Envs = map[string]string{"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1", "TMPDIR": "/tmp/p/gpu1"}
	require.Len(t, c.Cards, 2)
	require.Equal(t, "gpu0", c.Cards[0].Name)
	require.Equal(t, want, c.Cards[1])

	c.UseDevices(nil, "", "/tmp/p")
	require.Len(t, c.Cards, 1)
	require.Equal(t, "cpu0", c.Cards[0].Name)
	require.False(t, c.Cards[0].HasGPU(true))
	require.Equal(t, map[string]string{"TMPDIR": "/tmp/p/cpu0"}, c.Cards[0].Envs)

	c, err = parse("[[processors.window_post]]\nname = \"mine\"")
	require.NoError(t, err)
	c.UseDevices([]string{"NVIDIA H200"}, "", "/tmp/p")
	require.Equal(t, "mine", c.Cards[0].Name, "what is written stays")
}

// Whoever gives a worker some of the machine's GPUs keeps the others for something else.
func TestAutoCardsAreThoseThatTheWorkerMaySee(t *testing.T) {
	for visible, want := range map[string][]string{ // name, CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER, TMPDIR
		"":                              {"gpu0 0 PCI_BUS_ID /t/gpu0", "gpu1 1 PCI_BUS_ID /t/gpu1"},
		"2, 3":                          {"gpu2 2  /t/gpu2", "gpu3 3  /t/gpu3"},
		"7,1,9":                         {"gpu7 7  /t/gpu7", "gpu1 1  /t/gpu1"}, // there is no 9
		"GPU-ab,GPU-cd":                 {"gpu0 GPU-ab  /t/gpuGPU-ab", "gpu1 GPU-cd  /t/gpuGPU-cd"},
		"MIG-GPU-ab/1/0,MIG-GPU-ab/2/0": {"gpu0 MIG-GPU-ab/1/0  /t/gpuMIG-GPU-ab-1-0", "gpu1 MIG-GPU-ab/2/0  /t/gpuMIG-GPU-ab-2-0"},
		"1,GPU-cd":                      {"gpu0 1  /t/gpu1", "gpu1 GPU-cd  /t/gpuGPU-cd"},
		"5":                             {"gpu0 0 PCI_BUS_ID /t/gpu0", "gpu1 1 PCI_BUS_ID /t/gpu1"}, // who has found these does not go by it
	} {
		var got []string
		for _, card := range AutoCardsFor([]string{"NVIDIA H200", "NVIDIA H200"}, visible, "/t") {
			got = append(got, strings.Join([]string{card.Name, card.Envs["CUDA_VISIBLE_DEVICES"], card.Envs["CUDA_DEVICE_ORDER"], card.Envs["TMPDIR"]}, " "))
		}
		require.Equal(t, want, got, visible)
	}
}
