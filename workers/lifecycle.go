package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.uber.org/fx"
)

// background runs f from the application's start until its stop. OnStart must not block, and what f waits for (a server that
// is away) may take long. If f fails, the application stops with its error.
func background(lc fx.Lifecycle, down fx.Shutdowner, log *slog.Logger, name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	lc.Append(fx.Hook{
		OnStart: func(context.Context) error {
			running.Go(func() {
				if err := f(ctx); err != nil && ctx.Err() == nil {
					log.Error(name+" failed", "error", err)
					_ = down.Shutdown(fx.ExitCode(1))
				}
			})
			return nil
		},
		OnStop: func(stop context.Context) error {
			cancel()
			done := make(chan struct{})
			go func() { running.Wait(); close(done) }()
			select {
			case <-done:
				return nil
			case <-stop.Done():
				return fmt.Errorf("%s did not stop in time", name)
			}
		},
	})
}

// until calls try, at growing intervals up to most, until it succeeds or the context ends. Trouble is logged when it begins and
// when it changes, not at every try.
func until(ctx context.Context, log *slog.Logger, what string, most time.Duration, try func(context.Context) error) error {
	said := ""
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, most) {
		err := try(ctx)
		if err == nil {
			if said != "" {
				log.Info(what + ": it works now")
			}
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if text := err.Error(); text != said {
			said = text
			log.Warn(what+": waiting for it", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
