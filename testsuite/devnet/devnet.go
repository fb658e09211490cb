package devnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	ffi "github.com/filecoin-project/filecoin-ffi"
	"github.com/filecoin-project/go-jsonrpc"
	"github.com/filecoin-project/go-jsonrpc/auth"
	"github.com/filecoin-project/go-state-types/abi"
	"golang.org/x/sync/errgroup"

	"posthaste/post"
)

// Ready is what others need to know of a chain that serves: the line that posthaste-devnet prints.
type Ready struct {
	FullnodeAPIInfo string   `json:"fullnode_api_info"`
	Control         string   `json:"control"`
	EpochSeconds    float64  `json:"epoch_seconds"`
	Miners          []string `json:"miners"`
	Stores          []Store  `json:"stores"`
	ParameterCache  string   `json:"parameter_cache"`
}

// Devnet is a chain with its servers, mining.
type Devnet struct {
	*Chain
	Ready Ready

	log      *slog.Logger
	listener *listener
	rpc      *http.Server
	control  *http.Server
	tokens   tokens
	running  errgroup.Group
	stop     context.CancelFunc

	mu      sync.Mutex
	mining  bool
	closing chan struct{} // closed by POST /shutdown
	once    sync.Once
}

// Start makes the chain's sectors, serves it and begins to mine. FIL_PROOFS_PARAMETER_CACHE has to name the parameters for 2 KiB
// sectors, unless the configuration brings a verifier that needs none. Stop ends it.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Devnet, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	parameters := os.Getenv("FIL_PROOFS_PARAMETER_CACHE")
	if cfg.Verify == nil {
		if err := checkParameters(parameters); err != nil {
			return nil, err
		}
		cfg.Verify = ffi.VerifyWindowPoSt
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("the chain's folder: %w", err)
	}
	source, stores, err := sealer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	w := wallet{}
	genesis, err := genesisState(cfg, w, source)
	if err != nil {
		return nil, err
	}
	tokens, err := loadTokens(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d := &Devnet{Chain: newChain(cfg, log, w, source, genesis), log: log, tokens: tokens, mining: true, closing: make(chan struct{})}
	d.Ready = Ready{EpochSeconds: cfg.EpochDuration.Seconds(), Stores: stores, ParameterCache: parameters}
	for i := range cfg.Miners {
		d.Ready.Miners = append(d.Ready.Miners, post.MinerName(firstMiner+abi.ActorID(i)))
	}
	if err := d.serve(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// serve opens the ports and starts serving and mining.
func (d *Devnet) serve(ctx context.Context) error {
	rpcListener, err := listen(d.cfg.Listen, "--listen")
	if err != nil {
		return err
	}
	controlListener, err := listen(d.cfg.ControlListen, "--control-listen")
	if err != nil {
		_ = rpcListener.Close()
		return err
	}
	d.listener = newListener(rpcListener)
	host, port, _ := net.SplitHostPort(rpcListener.Addr().String())
	family := "ip4"
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		family = "ip6"
	}
	d.Ready.FullnodeAPIInfo = fmt.Sprintf("%s:/%s/%s/tcp/%s/http", d.tokens.of(permAdmin), family, host, port)
	d.Ready.Control = "http://" + controlListener.Addr().String()

	server := jsonrpc.NewServer()
	server.Register("Filecoin", &rpcAPI{c: d.Chain, tokens: d.tokens})
	mux := http.NewServeMux()
	mux.Handle("/rpc/v1", &auth.Handler{Verify: d.tokens.verify, Next: server.ServeHTTP})
	const readHeader = 10 * time.Second
	ctx, d.stop = context.WithCancel(ctx)
	base := func(net.Listener) context.Context { return ctx }
	d.rpc = &http.Server{Handler: mux, ReadHeaderTimeout: readHeader, BaseContext: base}
	d.control = &http.Server{Handler: d.controlMux(), ReadHeaderTimeout: readHeader, BaseContext: base}
	d.running.Go(func() error { return served(d.rpc.Serve(d.listener)) })
	d.running.Go(func() error { return served(d.control.Serve(controlListener)) })
	d.running.Go(func() error { d.mine(ctx); return nil })
	return nil
}

func listen(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; name a free address, or port 0 for any", flag, addr, err)
	}
	return l, nil
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// mine adds a tipset an epoch until the context ends.
func (d *Devnet) mine(ctx context.Context) {
	ticker := time.NewTicker(d.cfg.EpochDuration)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.mu.Lock()
			mining := d.mining
			d.mu.Unlock()
			if mining {
				d.Mine()
			}
		case <-ctx.Done():
			return
		}
	}
}

// SetMining stops or resumes mining: a chain that stands still.
func (d *Devnet) SetMining(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mining = on
}

// PauseRPC lets the node be away for so long: connections are closed, new ones too.
func (d *Devnet) PauseRPC(seconds time.Duration) { d.listener.pause(seconds) }

// APIInfo is FULLNODE_API_INFO with the token of another permission: "read", "write", "sign" or "admin".
func (d *Devnet) APIInfo(permission string) string {
	return d.tokens.of(auth.Permission(permission)) + d.Ready.FullnodeAPIInfo[len(d.tokens.of(permAdmin)):]
}

// ShutdownAsked is closed when the control port was told to shut down.
func (d *Devnet) ShutdownAsked() <-chan struct{} { return d.closing }

// Stop ends mining and serving and waits for both.
func (d *Devnet) Stop() error {
	d.stop()
	err := errors.Join(d.rpc.Close(), d.control.Close())
	d.listener.pause(time.Hour) // websockets, which http.Server.Close leaves open
	return errors.Join(err, d.running.Wait())
}
