package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// options are the command line's, checked.
type options struct {
	dbFile      string
	postgres    postgresOptions // in the place of dbFile
	ip          string          // frontend's address; the internal services always stay on 127.0.0.1
	port        int             // 0: any free one
	uiIP        string
	uiPort      int // 0: any free one
	headless    bool
	namespace   string
	retention   time.Duration // of a namespace that is created now; an existing one keeps its own
	logLevel    string
	showVersion bool
}

// minRetention is the server's own lower bound for a local namespace (system.namespaceMinRetentionLocal).
const minRetention = time.Hour

var logLevels = []string{"debug", "info", "warn", "error"}

// parseFlags reads and checks the command line; help goes to out.
func parseFlags(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("temporal-dev", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.dbFile, "db-file", "", "SQLite `file` that holds everything; created when missing (this or --postgres is required)")
	o.postgres.flags(fs)
	fs.StringVar(&o.ip, "ip", "127.0.0.1", "`address` the Temporal frontend listens on")
	fs.IntVar(&o.port, "port", 7233, "`port` of the Temporal frontend, 0 = any free one")
	fs.StringVar(&o.uiIP, "ui-ip", "", "`address` the Web UI listens on (default: as --ip)")
	fs.IntVar(&o.uiPort, "ui-port", 8233, "`port` of the Web UI, 0 = any free one")
	fs.BoolVar(&o.headless, "headless", false, "no Web UI")
	fs.StringVar(&o.namespace, "namespace", "default", "`name` of the namespace, created when missing")
	fs.DurationVar(&o.retention, "retention", 7*24*time.Hour, "how `long` a closed workflow is kept, for a namespace that is created now")
	fs.StringVar(&o.logLevel, "log-level", "warn", "`level` of what goes to stderr: "+strings.Join(logLevels, ", "))
	fs.BoolVar(&o.showVersion, "version", false, "print the Temporal server's version and exit")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "temporal-dev: Temporal server and Web UI in one process, on one SQLite file or a PostgreSQL database")
			fmt.Fprintln(out, "temporal-dev schema|backup|restore --help: what else it does")
			fs.SetOutput(out)
			fs.PrintDefaults()
			return o, err
		}
		return o, fmt.Errorf("%w; see temporal-dev --help", err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood, only flags are; see temporal-dev --help", fs.Arg(0))
	}
	if o.uiIP == "" {
		o.uiIP = o.ip
	}
	if o.showVersion {
		return o, nil
	}
	if err := o.validate(); err != nil || o.postgres.Host == "" {
		return o, err
	}
	return o, o.postgres.complete(os.Getenv)
}

func (o options) validate() error {
	switch {
	case o.dbFile == "" && o.postgres.Host == "":
		return errors.New("--db-file is missing: name the SQLite file to use, for example --db-file ./temporal.db (or a PostgreSQL server with --postgres)")
	case o.dbFile != "" && o.postgres.Host != "":
		return errors.New("--db-file and --postgres are both given: keep one of them")
	}
	for _, a := range []struct{ flag, ip string }{{"--ip", o.ip}, {"--ui-ip", o.uiIP}} {
		if net.ParseIP(a.ip) == nil {
			return fmt.Errorf("%s %q is not an IP address, such as 127.0.0.1 or 0.0.0.0", a.flag, a.ip)
		}
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"--port", o.port}, {"--ui-port", o.uiPort}} {
		if p.port < 0 || p.port > 65535 {
			return fmt.Errorf("%s %d is not a port, 0 to 65535", p.flag, p.port)
		}
	}
	if !o.headless && o.port != 0 && o.port == o.uiPort {
		return fmt.Errorf("--port and --ui-port are both %d: give the Web UI a port of its own", o.port)
	}
	if o.namespace == "" {
		return errors.New("--namespace is empty: give it a name, such as default")
	}
	if o.retention < minRetention {
		return fmt.Errorf("--retention %s is too short, at least %s", o.retention, minRetention)
	}
	if !slices.Contains(logLevels, o.logLevel) {
		return fmt.Errorf("--log-level %q is not one of %s", o.logLevel, strings.Join(logLevels, ", "))
	}
	return nil
}
