package workers_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"posthaste/config"
	"posthaste/workers"
)

func TestProcessesCanBePutTogether(t *testing.T) {
	c, err := config.Default()
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	for name, process := range map[string]fx.Option{"daemon": workers.Daemon(c, log), "worker": workers.Worker(c, log)} {
		require.NoError(t, fx.ValidateApp(process, fx.NopLogger), name)
	}
}
