package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/temporal"
	"go.uber.org/dig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// startLimit: a start takes about a second; a loaded machine may need much longer.
	startLimit = 2 * time.Minute
	// stopLimit: the server may drain for minutes. Everything confirmed is on disk, so nothing is lost by leaving.
	stopLimit = 8 * time.Second
	pollEvery = 20 * time.Millisecond
)

// run holds the database, starts server and Web UI, prints the line on out when both answer, and stops them when ctx ends.
func run(ctx context.Context, o options, out, errOut io.Writer) error {
	self := instance{Namespace: o.namespace, ServerVersion: serverVersion, PID: os.Getpid()}
	if o.postgres.Host != "" {
		return runPostgres(ctx, o, self, out, errOut)
	}
	dbFile, err := filepath.Abs(o.dbFile)
	if err != nil {
		return fmt.Errorf("--db-file: %w", err)
	}
	o.dbFile = dbFile
	lock, err := openDatabase(ctx, o.dbFile, self)
	if err != nil {
		return err
	}
	defer lock.release()
	return serve(ctx, serving{
		options: o, self: self, name: o.dbFile, stores: sqliteStores(o.dbFile), ready: lock.write, out: out, errOut: errOut,
		stopped: func(ctx context.Context) {
			if err := foldLog(ctx, o.dbFile); err != nil {
				fmt.Fprintf(errOut, "temporal-dev: the log stays beside %s, the next start reads it: %v\n", o.dbFile, err)
			}
		},
	})
}

// runPostgres is run on a PostgreSQL server, for as long as no other temporal-dev has taken the database.
func runPostgres(ctx context.Context, o options, self instance, out, errOut io.Writer) error {
	for _, w := range o.postgres.wanted() {
		if err := checkSchema(ctx, &o.postgres, w); err != nil {
			return err
		}
	}
	lock, err := acquirePgLock(ctx, o.postgres)
	if err != nil {
		return err
	}
	defer lock.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	go func() {
		lost <- lock.keep(ctx)
		cancel()
	}()
	err = serve(ctx, serving{
		options: o, self: self, name: o.postgres.where(), stores: postgresStores(&o.postgres), out: out, errOut: errOut,
		ready: func(instance) error { return nil }, stopped: func(context.Context) {},
	})
	cancel()
	return errors.Join(err, <-lost)
}

// serving is a server's work on a database that is there and its own.
type serving struct {
	options
	self        instance
	name        string // of the database, for people
	stores      stores
	ready       func(instance) error  // it answers
	stopped     func(context.Context) // it has stopped
	out, errOut io.Writer
}

func serve(ctx context.Context, s serving) error {
	p, err := choosePorts(s.options)
	if err != nil {
		return err
	}
	var stopping atomic.Bool
	server, err := newServer(s.options, p, s.stores, newLogger(s.logLevel, &stopping))
	if err != nil {
		return fmt.Errorf("set up the Temporal server on %s: %w", s.name, dig.RootCause(err)) // the rest is how fx came to it, with a stack
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the Temporal server on %s: %w", s.name, err)
	}
	defer func() {
		stopping.Store(true)
		stopServer(context.WithoutCancel(ctx), server, s.stopped, s.errOut)
	}()
	s.self.Address = hostPort(dialIP(s.ip), p.frontend)
	if !s.headless {
		ui := newUI(s.options, p)
		go func() { _ = ui.Start() }() // returns nil when stopped, and ends the process if it cannot listen
		defer ui.Stop()
		s.self.UI = uiURL(s.options, p)
	}
	if err := waitHealthy(ctx, s.self); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		return err
	}
	if err := s.ready(s.self); err != nil {
		return err
	}
	if _, err := s.out.Write(s.self.line()); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	<-ctx.Done()
	return nil
}

// openDatabase checks, locks and if need be creates the database. A file that is refused is looked at before the lock
// is taken, so that nothing is left beside somebody else's file; after it, because another process may just have made it.
func openDatabase(ctx context.Context, dbFile string, self instance) (*dbLock, error) {
	if _, err := inspect(dbFile); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dbFile), 0o755); err != nil {
		return nil, fmt.Errorf("create the database's folder: %w", err)
	}
	lock, err := acquireLock(dbFile, self)
	if err != nil {
		return nil, err
	}
	create, err := inspect(dbFile)
	if err == nil && create {
		err = createDatabase(ctx, dbFile)
	}
	if err == nil {
		err = checkWritable(dbFile)
	}
	if err != nil {
		lock.release()
		return nil, err
	}
	return lock, nil
}

func checkWritable(dbFile string) error {
	f, err := os.OpenFile(dbFile, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the database must be writable: %w", err)
	}
	return f.Close()
}

// stopServer stops the server, or leaves it after stopLimit, and then tidies the database up. Its ctx must outlive the signal
// that stops the process.
func stopServer(ctx context.Context, server temporal.Server, stopped func(context.Context), errOut io.Writer) {
	done := make(chan error, 1)
	go func() { done <- server.Stop() }()
	select {
	case err := <-done:
		if err != nil {
			fmt.Fprintf(errOut, "temporal-dev: the server stopped with an error, nothing is lost: %v\n", err)
		}
	case <-time.After(stopLimit):
		fmt.Fprintf(errOut, "temporal-dev: the server still drains after %s, leaving it; nothing is lost\n", stopLimit)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	stopped(ctx)
}

// waitHealthy waits until the frontend serves, the namespace is known to it, and the Web UI answers.
func waitHealthy(ctx context.Context, self instance) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	conn, err := grpc.NewClient(self.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the Temporal frontend at %s: %w", self.Address, err)
	}
	defer conn.Close()
	for {
		err := checkHealth(ctx, conn, self)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not healthy after %s: %w", startLimit, err)
		case <-time.After(pollEvery):
		}
	}
}

func checkHealth(ctx context.Context, conn *grpc.ClientConn, self instance) error {
	health, err := healthpb.NewHealthClient(conn).Check(ctx,
		&healthpb.HealthCheckRequest{Service: workflowservice.WorkflowService_ServiceDesc.ServiceName}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("the Temporal frontend at %s: %w", self.Address, err)
	}
	if health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the Temporal frontend at %s says %s", self.Address, health.GetStatus())
	}
	_, err = workflowservice.NewWorkflowServiceClient(conn).DescribeNamespace(ctx,
		&workflowservice.DescribeNamespaceRequest{Namespace: self.Namespace})
	if err != nil {
		return fmt.Errorf("namespace %q at %s: %w", self.Namespace, self.Address, err)
	}
	if self.UI == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, self.UI+"/", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the Web UI at %s: %w", self.UI, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the Web UI at %s answers %s", self.UI, resp.Status)
	}
	return nil
}
