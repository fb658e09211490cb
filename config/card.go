package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"posthaste/post"
)

// windowCards are those written, or one without a GPU in particular, and whether that is so.
func (d *document) windowCards(f *file, pool string) ([]Card, bool) {
	if len(f.Processors.WindowPoSt) == 0 {
		card := newCard("card0")
		card.Pool = pool
		return []Card{card}, true
	}
	var cards []Card
	for i, written := range f.Processors.WindowPoSt {
		card := d.card(fmt.Sprintf("processors.window_post[%d]", i), "card"+strconv.Itoa(i), pool, written, cards)
		cards = append(cards, card)
	}
	return cards, false
}

// winningCards are those written. Names differ from the window cards' too, since a card is known as worker/card.
func (d *document) winningCards(f *file, pool string, window []Card, auto bool) []Card {
	var cards []Card
	if auto {
		window = nil
	}
	for i, written := range f.Processors.WinningPoSt {
		key := fmt.Sprintf("processors.winning_post[%d]", i)
		card := d.card(key, "winning"+strconv.Itoa(i), pool, written, slices.Concat(window, cards))
		if auto && autoName.MatchString(card.Name) {
			d.complain(key+".name", "%q may be the name of a window card that is found at start; take another", card.Name)
		}
		cards = append(cards, card)
	}
	return cards
}

// autoName is the form of AutoCardsFor's names.
var autoName = regexp.MustCompile(`^(gpu[0-9]+|cpu0)$`)

// newCard is a card about which nothing is configured.
func newCard(name string) Card {
	return Card{
		Name: name, InheritEnvs: true, Concurrent: 1, Weight: 1, AutoRestart: true,
		Pool: post.DefaultPool, Reads: Reads{Parallel: defaultParallelReads, Timeout: defaultReadTimeout},
	}
}

// card is the one written at key; others are those before it.
func (d *document) card(key, name, pool string, w cardFile, others []Card) Card {
	card := Card{
		Name: or(w.Name, name), Bin: d.home(key+".bin", w.Bin), Args: w.Args, Envs: w.Envs,
		InheritEnvs:  or(w.InheritEnvs, true),
		Concurrent:   d.atLeast(key+".concurrent", w.Concurrent, 1, 1),
		Weight:       d.atLeast(key+".weight", w.Weight, 1, 1),
		CPUs:         d.cpus(key+".cgroup.cpuset", w.Cgroup.CPUSet),
		GPU:          w.GPU,
		Pool:         or(w.Pool, pool),
		ReadyTimeout: d.positive(key+".ready_timeout", w.ReadyTimeout, 0),
		AutoRestart:  or(w.AutoRestart, true),
		Reads: Reads{
			Parallel: d.atLeast(key+".parallel_reads", w.ParallelReads, 1, defaultParallelReads),
			Timeout:  d.positive(key+".read_timeout", w.ReadTimeout, defaultReadTimeout),
		},
	}
	d.checkName(key+".name", card.Name)
	if slices.ContainsFunc(others, func(c Card) bool { return c.Name == card.Name }) {
		d.complain(key+".name", "two cards are named %q", card.Name)
	}
	if w.Pool != nil {
		d.checkName(key+".pool", card.Pool)
	}
	if card.Bin == "" && len(card.Args) > 0 {
		d.complain(key+".args", "args need a bin; without one posthaste starts itself")
	}
	if w.Cgroup.GroupName != nil {
		d.warn(key+".cgroup.group_name", "is not applied: a card is bound to its CPUs without a control group")
	}
	d.checkEnvs(key+".envs", card.Envs)
	return card
}

func (d *document) cpus(key, set string) string {
	set = strings.ReplaceAll(set, " ", "")
	if set == "" {
		return ""
	}
	if err := checkCPUs(set); err != nil {
		d.complain(key, "%v", err)
	}
	return set
}

// checkEnvs checks the names, and expands the TMPDIR.
func (d *document) checkEnvs(key string, envs map[string]string) {
	for name, value := range envs {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			d.complain(key, "%q is not the name of an environment variable", name)
		}
		if strings.ContainsRune(value, 0) {
			d.complain(key+"."+name, "a value cannot hold a zero byte")
		}
		if name == "TMPDIR" {
			envs[name] = d.home(key+"."+name, value)
		}
	}
}

// HasGPU is whether the card must find a GPU, where the configuration has the last word. machine says whether the machine has one.
// A bin of one's own is taken for a GPU's: it is there because it is fast, and may take sectors of any size.
func (c Card) HasGPU(machine bool) bool {
	if c.GPU != nil {
		return *c.GPU
	}
	_, set := c.Envs["CUDA_VISIBLE_DEVICES"]
	switch {
	case c.Bin != "":
		return true
	case set:
		return c.namesGPU()
	}
	return machine
}

// WatchGPU is whether the card's process is found out when it does without its GPU. A bin of one's own of which nothing says that it
// has one is believed.
func (c Card) WatchGPU(machine bool) bool {
	return c.HasGPU(machine) && (c.Bin == "" || c.GPU != nil || c.namesGPU())
}

func (c Card) namesGPU() bool {
	devices := c.Envs["CUDA_VISIBLE_DEVICES"]
	return devices != "" && devices != "-1"
}

// AutoCardsFor is one card for each GPU that was found, or one on the CPU if none was. Each has a folder of its own under tmp for
// its TMPDIR, where the proofs' library locks its GPU: so it goes by the GPU's name, and all workers of a machine should have the same tmp.
//
// visible is the CUDA_VISIBLE_DEVICES that the worker itself was given, empty if none. The GPUs are then those that it names and no others; else all,
// in the order of the PCI bus, as nvidia-smi lists them.
func AutoCardsFor(devices []string, visible, tmp string) []Card {
	if len(devices) == 0 {
		card, gpu := newCard("cpu0"), false
		card.GPU = &gpu
		card.Envs = map[string]string{"TMPDIR": filepath.Join(tmp, card.Name)}
		return []Card{card}
	}
	ids := strings.Split(strings.ReplaceAll(visible, " ", ""), ",")
	given := visible != "" && len(ids) >= len(devices)
	numbers := !given || !slices.ContainsFunc(ids, func(id string) bool { return !autoName.MatchString("gpu" + id) }) // no UUIDs, nor parts of GPUs
	cards := make([]Card, len(devices))
	for i := range devices {
		id := strconv.Itoa(i)
		if given {
			id = ids[i]
		}
		card, gpu := newCard("gpu"+id), true
		card.GPU = &gpu
		card.Envs = map[string]string{"CUDA_VISIBLE_DEVICES": id, "TMPDIR": filepath.Join(tmp, strings.ReplaceAll(card.Name, "/", "-"))}
		if !given {
			card.Envs["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
		}
		if !numbers {
			card.Name = "gpu" + strconv.Itoa(i)
		}
		cards[i] = card
	}
	return cards
}

// UseDevices puts AutoCardsFor's cards, in the worker's pool, in the place of the one that stands for them. Without AutoCards it
// does nothing.
func (c *Config) UseDevices(devices []string, visible, tmp string) {
	if !c.AutoCards {
		return
	}
	c.Cards = AutoCardsFor(devices, visible, tmp)
	for i := range c.Cards {
		c.Cards[i].Pool = c.Worker.Pool
	}
}
