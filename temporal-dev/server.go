package main

import (
	"fmt"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	schema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	clusterName = "active"
	// historyShards is fixed for a file's life. Four instead of one, with one partition, brought an activity's pick-up
	// from 46 to 3 ms (p50).
	historyShards = 4
)

// dynamicSettings are the server's settings that differ from its defaults.
func dynamicSettings() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		// One partition and fairness: tasks of one queue start in exact priority order. With the default four the
		// order is only approximate, and each poll waits on one of them.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		dynamicconfig.MatchingEnableFairness.Key():              true,
		// The fleet's view: workers report themselves, ListWorkers tells (memory only).
		dynamicconfig.WorkerHeartbeatsEnabled.Key(): true,
		// A worker that stops polling is given nothing more, instead of a job that nobody hears of until its heartbeat timeout.
		dynamicconfig.EnableCancelWorkerPollsOnShutdown.Key(): true,
		// Commands are workflow Updates.
		dynamicconfig.FrontendEnableUpdateWorkflowExecution.Key():              true,
		dynamicconfig.FrontendEnableUpdateWorkflowExecutionAsyncAccepted.Key(): true,
		// Deadlines are pinned to the build that started them.
		dynamicconfig.EnableDeploymentVersions.Key(): true,
		// The default of 10 a second turns a Web UI and a few status commands at once into errors.
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 100,
		// A deadline's memo has its partitions, so that lists work without a daemon: a few hundred bytes each. The default of 2 KiB would
		// log a warning at every change of one with ten; the limit, of 2 MiB, stays.
		dynamicconfig.MemoSizeLimitWarn.Key(): 256 << 10,
		// A search attribute can be used as soon as it is registered; with one process the read costs next to nothing.
		dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key(): true,
	}
}

// sqlConfig opens an existing database file. One connection: with more, writers meet SQLITE_BUSY. WAL with
// synchronous=full: a write that was confirmed survives a power failure.
func sqlConfig(dbFile string) *config.SQL {
	return &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: uriPath(dbFile),
		MaxConns:     1,
		MaxIdleConns: 1,
		ConnectAttributes: map[string]string{
			"mode":         "rw",
			"journal_mode": "wal",
			"synchronous":  "full",
			"busy_timeout": "5000", // ms; somebody may look into the file with sqlite3
		},
	}
}

// stores are the databases of workflows and of their lists.
type stores struct{ workflows, lists *config.SQL }

func sqliteStores(dbFile string) stores {
	one := sqlConfig(dbFile)
	return stores{one, one}
}

func postgresStores(p *postgresOptions) stores {
	return stores{p.sql(p.Database), p.sql(p.Visibility)}
}

// serverConfig is the static configuration of all four services.
func serverConfig(o options, p ports, s stores) *config.Config {
	frontend := hostPort(dialIP(o.ip), p.frontend)
	internal := func(port int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: internalIP}}
	}
	cfg := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     "workflows",
			VisibilityStore:  "lists",
			NumHistoryShards: historyShards,
			DataStores:       map[string]config.DataStore{"workflows": {SQL: s.workflows}, "lists": {SQL: s.lists}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			string(primitives.FrontendService): {RPC: config.RPC{GRPCPort: p.frontend, BindOnIP: o.ip}},
			string(primitives.HistoryService):  internal(p.history),
			string(primitives.MatchingService): internal(p.matching),
			string(primitives.WorkerService):   internal(p.worker),
		},
		PublicClient: config.PublicClient{HostPort: frontend},
	}
	cfg.Archival.History.State = "disabled"
	cfg.Archival.Visibility.State = "disabled"
	cfg.NamespaceDefaults.Archival.History.State = "disabled"
	cfg.NamespaceDefaults.Archival.Visibility.State = "disabled"
	return cfg
}

// newServer makes the namespace when it is missing, and a server that is ready to be started.
func newServer(o options, p ports, s stores, logger log.Logger) (temporal.Server, error) {
	cfg := serverConfig(o, p, s)
	namespace, err := schema.NewNamespaceConfig(clusterName, o.namespace, false, nil)
	if err != nil {
		return nil, fmt.Errorf("namespace %q: %w", o.namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(o.retention)
	if err := schema.CreateNamespaces(s.workflows, namespace); err != nil { // it works on any SQL database
		return nil, fmt.Errorf("namespace %q: %w", o.namespace, err)
	}
	return temporal.NewServer(
		temporal.WithConfig(cfg),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(staticHosts(o, p)),
		temporal.WithLogger(logger),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
		temporal.WithDynamicConfigClient(dynamicSettings()),
	)
}

// staticHosts says where each service is. One process needs no gossip ring: no ports for it, no waiting to join it.
func staticHosts(o options, p ports) map[primitives.ServiceName]static.Hosts {
	return map[primitives.ServiceName]static.Hosts{
		primitives.FrontendService: static.SingleLocalHost(hostPort(dialIP(o.ip), p.frontend)),
		primitives.HistoryService:  static.SingleLocalHost(hostPort(internalIP, p.history)),
		primitives.MatchingService: static.SingleLocalHost(hostPort(internalIP, p.matching)),
		primitives.WorkerService:   static.SingleLocalHost(hostPort(internalIP, p.worker)),
	}
}
