package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.uber.org/fx"
	"google.golang.org/grpc"

	"posthaste/config"
	"posthaste/workflows"
)

// What ListWorkers shows of a process is this old at most. The server keeps it in memory; 5 s is the interval that was measured to be
// free. That of workers decides how soon a dead one is known, and jobs are routed round it.
const (
	otherBeats  = 5 * time.Second
	workerBeats = 2 * time.Second
)

// Dial makes a client of the configured Temporal server. It connects at its first use, so that a process can start before
// its server.
func Dial(c config.Temporal, identity string, log *slog.Logger) (client.Client, error) {
	temporal, _, err := dial(c, identity, otherBeats, nil, log)
	return temporal, err
}

// memoWarning is the size above which the SDK warns of a memo, in bytes. Boards and alerts live there: one of a few partitions is above
// the SDK's own 2 KiB, and would be warned of at each of its changes. The server takes 2 MiB.
const memoWarning = 512 << 10

// dial is Dial for a process that is heard of more often, or has metrics; or wants to know the server's clock.
func dial(c config.Temporal, identity string, beats time.Duration, m *metrics, log *slog.Logger) (client.Client, *serverClock, error) {
	clock := &serverClock{log: log}
	options := client.Options{
		HostPort: c.Address, Namespace: c.Namespace, Identity: identity,
		Logger:                  sdklog.NewStructuredLogger(newSparse(log)),
		WorkerHeartbeatInterval: beats,
		PayloadLimits:           client.PayloadLimitOptions{MemoSizeWarning: memoWarning},
		ConnectionOptions:       client.ConnectionOptions{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(clock.intercept)}},
	}
	if m != nil {
		options.MetricsHandler = m.temporal.handler()
	}
	temporal, err := client.NewLazyClient(options)
	if err != nil {
		return nil, nil, fmt.Errorf("client of the Temporal server at %s: %w", c.Address, err)
	}
	return temporal, clock, nil
}

// awaitTemporal returns when the server answers and has the namespace.
func awaitTemporal(ctx context.Context, c config.Temporal, temporal client.Client, log *slog.Logger) error {
	return until(ctx, log, "the Temporal server at "+c.Address, 5*time.Second, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := temporal.WorkflowService().DescribeNamespace(limited, &workflowservice.DescribeNamespaceRequest{Namespace: c.Namespace})
		var missing *serviceerror.NamespaceNotFound
		switch {
		case errors.As(err, &missing):
			return fmt.Errorf("it has no namespace %q; create it, or set temporal.namespace: %w", c.Namespace, err)
		case err != nil:
			return fmt.Errorf("it does not answer; is temporal-dev, or your cluster, running there (temporal.address)? %w", err)
		}
		return nil
	})
}

// registerAttributes makes sure that the search attributes exist by which people find deadlines.
func registerAttributes(ctx context.Context, c config.Temporal, temporal client.Client, log *slog.Logger) error {
	want := map[string]enums.IndexedValueType{}
	for _, name := range []string{workflows.AttributeMiner, workflows.AttributeDeadline, workflows.AttributeState} {
		want[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	return until(ctx, log, "registering search attributes", 5*time.Second, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		has, err := temporal.OperatorService().ListSearchAttributes(limited, &operatorservice.ListSearchAttributesRequest{Namespace: c.Namespace})
		if err != nil {
			return err
		}
		missing := map[string]enums.IndexedValueType{}
		for name, kind := range want {
			if _, known := has.GetCustomAttributes()[name]; !known {
				missing[name] = kind
			}
		}
		if len(missing) == 0 {
			return nil
		}
		_, err = temporal.OperatorService().AddSearchAttributes(limited, &operatorservice.AddSearchAttributesRequest{Namespace: c.Namespace, SearchAttributes: missing})
		var exists *serviceerror.AlreadyExists
		if errors.As(err, &exists) {
			return nil // another daemon was faster
		}
		return err
	})
}

// identity names a process in Temporal's lists, such as "worker w1@4711-9f3a2c": the process ID is for people, and the rest tells two
// processes apart that have the same, as all in containers do.
func identity(kind, name string) string {
	return fmt.Sprintf("%s %s@%d-%06x", kind, name, os.Getpid(), rand.IntN(1<<24))
}

// poll runs SDK workers until the context ends. A worker that cannot go on (its namespace is deleted, say) ends the process:
// whoever supervises it starts it again.
func poll(ctx context.Context, workers ...worker.Worker) error {
	for i, w := range workers {
		if err := w.Start(); err != nil {
			for _, started := range workers[:i] {
				started.Stop()
			}
			return fmt.Errorf("starting to poll Temporal: %w", err)
		}
	}
	<-ctx.Done()
	for _, w := range workers {
		w.Stop()
	}
	return nil
}

// closing closes a client after what uses it has stopped.
func closing(lc fx.Lifecycle, temporal client.Client) {
	lc.Append(fx.Hook{OnStop: func(context.Context) error { temporal.Close(); return nil }})
}
