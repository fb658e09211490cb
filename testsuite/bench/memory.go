package main

import (
	"context"
	"fmt"
	"time"

	"posthaste/testsuite/rig"
)

// Goals, in MB of 10^6 bytes.
const (
	temporalMost = 200
	programMost  = 80
)

// quiet is how long a program may use to finish what it was doing before its memory is looked at.
const quiet = 5 * time.Second

// memory looks at the resident memory of a rig's programs.
type memory struct {
	rig     *rig.Rig
	figures []figure
}

func memoryOf(r *rig.Rig) *memory { return &memory{rig: r} }

// idle is temporal-dev alone.
func (m *memory) idle(ctx context.Context) error {
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	return m.look("memory, temporal-dev idle at start", m.rig.Temporal, residentNow, temporalMost)
}

// afterwards is all programs when the chain has stopped and nothing is left to do.
func (m *memory) afterwards(ctx context.Context) error {
	m.rig.Chain.Stop()
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	for _, l := range []struct {
		name  string
		of    *rig.Process
		field string
		most  float64
	}{
		{"memory, temporal-dev idle after the proofs", m.rig.Temporal, residentNow, temporalMost},
		{"memory, daemon", m.rig.Daemon, residentNow, programMost},
		{"memory, worker without the card's child", m.rig.Worker, residentNow, programMost},
		{"memory, temporal-dev at most", m.rig.Temporal, residentPeak, 0},
		{"memory, daemon at most", m.rig.Daemon, residentPeak, 0},
		{"memory, worker at most", m.rig.Worker, residentPeak, 0},
	} {
		if err := m.look(l.name, l.of, l.field, l.most); err != nil {
			return err
		}
	}
	return nil
}

// Fields of /proc/PID/status (proc(5)), in kB of 1024 bytes. Both count shared file pages, such as the program's own text.
const (
	residentNow  = "VmRSS"
	residentPeak = "VmHWM"
)

func (m *memory) look(name string, of *rig.Process, field string, most float64) error {
	value, err := statusOf(of.Pid(), field)
	if err != nil {
		return fmt.Errorf("the memory of %s: %w", of.Name, err)
	}
	m.figures = append(m.figures, figure{name: name, value: value, unit: "MB", most: most})
	return nil
}
