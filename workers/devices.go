package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"posthaste/config"
)

// devicesWithin is how long finding the GPUs may take: a driver that loads takes seconds, one that hangs takes for ever.
const devicesWithin = 30 * time.Second

// findDevices asks a process of its own which GPUs there are: what looks for them may crash, hang, and never lets go of them.
func findDevices(ctx context.Context) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, devicesWithin)
	defer cancel()
	cmd := exec.CommandContext(limited, self, "processor", "devices")
	out, err := outputOf(limited, cmd)
	if err != nil {
		return nil, fmt.Errorf("looking for GPUs: %w", err)
	}
	var devices []string
	if err := json.Unmarshal(out, &devices); err != nil {
		return nil, fmt.Errorf("looking for GPUs: the answer %q is not a list: %w", out, err)
	}
	return devices, nil
}

// outputOf runs a command, and does not wait for one that cannot even be killed: a process that waits for a driver.
func outputOf(limited context.Context, cmd *exec.Cmd) ([]byte, error) {
	type answer struct {
		out []byte
		err error
	}
	answered := make(chan answer, 1)
	cmd.WaitDelay = time.Second
	go func() {
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%w; it said: %s", err, strings.TrimSpace(said.String()))
		}
		answered <- answer{out, err}
	}()
	select {
	case a := <-answered:
		return a.out, a.err
	case <-limited.Done():
	}
	select {
	case a := <-answered:
		return a.out, a.err
	case <-time.After(2 * cmd.WaitDelay):
		return nil, fmt.Errorf("%w, and it cannot be ended; is the driver in trouble (see dmesg)?", limited.Err())
	}
}

// asksForDevices says whether the configuration leaves open which GPUs are used.
func asksForDevices(c *config.Config) bool {
	return c.AutoCards || slices.ContainsFunc(slices.Concat(c.Cards, c.Winning), func(card config.Card) bool {
		return card.HasGPU(true) != card.HasGPU(false)
	})
}

// settleCards finds out what the configuration leaves open about the cards, and says in one line what they are. It returns whether
// this machine has a GPU.
func settleCards(ctx context.Context, c *config.Config, log *slog.Logger) bool {
	var devices []string
	if asksForDevices(c) {
		var err error
		if devices, err = findDevices(ctx); err != nil {
			log.Error("whether this machine has GPUs could not be found out; it is taken for one without", "error", err)
		}
	}
	if c.AutoCards {
		c.UseDevices(devices, os.Getenv("CUDA_VISIBLE_DEVICES"), filepath.Join(os.TempDir(), "posthaste-cards-"+strconv.Itoa(os.Getuid())))
	}
	machine := len(devices) > 0
	what := "the cards are those of the configuration"
	switch {
	case c.AutoCards && machine:
		what = "no card is configured: one for each GPU that was found"
	case c.AutoCards:
		what = "no card is configured and no GPU was found: one card on the CPU"
	}
	log.Info(what, "cards", describeCards(c.Cards, devices), "winning", describeCards(c.Winning, devices))
	return machine
}

// describeCards lists cards for people: gpu0 (NVIDIA H200), cpu0 (CPU).
func describeCards(cards []config.Card, devices []string) string {
	said := make([]string, len(cards))
	for i, card := range cards {
		said[i] = fmt.Sprintf("%s (%s)", card.Name, deviceOf(card, devices))
	}
	return strings.Join(said, ", ")
}

// deviceOf names what a card computes on, as far as it is known before it runs.
func deviceOf(card config.Card, devices []string) string {
	visible, set := card.Envs["CUDA_VISIBLE_DEVICES"]
	index, err := strconv.Atoi(visible)
	switch {
	case card.Bin != "" && set:
		return fmt.Sprintf("%s, CUDA_VISIBLE_DEVICES=%s", filepath.Base(card.Bin), visible)
	case card.Bin != "":
		return filepath.Base(card.Bin)
	case !card.HasGPU(len(devices) > 0):
		return "CPU"
	case err == nil && index < len(devices):
		return devices[index]
	case set:
		return "GPU " + visible
	default:
		return "GPU"
	}
}
