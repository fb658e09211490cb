package workers

import (
	"log/slog"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

// Poller lets tests drive a poller by itself.
type Poller = poller

// NewPoller makes one.
func NewPoller(temporal client.Client, places int, register func(worker.ActivityRegistry), log *slog.Logger) *Poller {
	return newPoller(temporal, places, register, func(error) {}, log)
}

// Busy is how many jobs of it run.
func (p *Poller) Busy() int { return p.slots.busy() }

// RegisterAttributes makes sure that the search attributes are there, as a daemon does.
var RegisterAttributes = registerAttributes
