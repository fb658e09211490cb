package chain_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/chain"
)

// lines is a log that tests can read while others write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

func follow(t *testing.T, apiInfo string) (*chain.Follower, *lines) {
	t.Helper()
	n := dial(t, apiInfo, chain.Options{EpochDuration: 50 * time.Millisecond})
	log := &lines{}
	f := chain.NewFollower(n, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	return f, log
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestFollowerBySubscription(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	f, log := follow(t, d.Ready.FullnodeAPIInfo)
	head, err := f.WaitEpoch(within(t, 5*time.Second), 1010)
	require.NoError(t, err)
	require.GreaterOrEqual(t, int64(head.Height), int64(1010))
	epoch, ok := f.Epoch()
	require.True(t, ok)
	require.GreaterOrEqual(t, epoch, head.Height)
	require.Equal(t, 1, log.count("by=subscribed"))
	require.Zero(t, log.count("by=polling"))
}

// A node behind a proxy that offers no websockets is polled.
func TestFollowerByPolling(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	token, address, _ := strings.Cut(d.Ready.FullnodeAPIInfo, ":")
	target, err := url.Parse("http://127.0.0.1:" + strings.Split(address, "/")[4])
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			http.Error(w, "no websockets here", http.StatusNotImplemented)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	f, log := follow(t, token+":"+front.URL)
	_, err = f.WaitEpoch(within(t, 5*time.Second), 1005)
	require.NoError(t, err)
	require.Equal(t, 1, log.count("by=polling"))
	require.Zero(t, log.count("by=subscribed"))
}

func TestFollowerSurvivesANodeThatGoesAway(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	f, log := follow(t, d.Ready.FullnodeAPIInfo)
	_, err := f.WaitEpoch(within(t, 5*time.Second), 1003)
	require.NoError(t, err)
	d.PauseRPC(1500 * time.Millisecond)
	require.Eventually(t, func() bool { return log.count("lost the chain's head") == 1 }, 5*time.Second, 10*time.Millisecond)
	before, _ := f.Epoch()
	_, err = f.WaitEpoch(within(t, 10*time.Second), before+20)
	require.NoError(t, err)
	require.Equal(t, 1, log.count("lost the chain's head"), "one line when it goes, however often it is tried")
	require.Zero(t, log.count(strings.SplitN(d.Ready.FullnodeAPIInfo, ":", 2)[0]), "the token is never logged")
}

// The process may start before its node.
func TestFollowerStartsBeforeItsNode(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	d.PauseRPC(time.Second)
	f, log := follow(t, d.Ready.FullnodeAPIInfo)
	require.Nil(t, f.Head())
	_, err := f.WaitEpoch(within(t, 10*time.Second), 1001)
	require.NoError(t, err)
	require.Equal(t, 1, log.count("the node gives no head"))
}

func TestHeadsGivesTheNewestOnly(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	f, _ := follow(t, d.Ready.FullnodeAPIInfo)
	ctx, cancel := context.WithCancel(t.Context())
	heads := f.Heads(ctx)
	first := <-heads
	_, err := f.WaitEpoch(within(t, 5*time.Second), first.Height+10)
	require.NoError(t, err)
	<-heads // may be one that was on offer when the reader slept
	second := <-heads
	require.GreaterOrEqual(t, int64(second.Height), int64(first.Height+10))
	cancel()
	require.Eventually(t, func() bool { _, open := <-heads; return !open }, time.Second, time.Millisecond)
}

func TestWaitEpochEndsWithItsContext(t *testing.T) {
	d := serve(t, time.Hour)
	f, _ := follow(t, d.Ready.FullnodeAPIInfo)
	_, err := f.WaitEpoch(within(t, 100*time.Millisecond), 1_000_000)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "epoch 1000000")
}

func TestFollowerWithAWrongTokenSaysSoOnce(t *testing.T) {
	d := serve(t, 50*time.Millisecond)
	_, address, _ := strings.Cut(d.Ready.FullnodeAPIInfo, ":")
	f, log := follow(t, "eyJwrong:"+address)
	_, err := f.WaitEpoch(within(t, 500*time.Millisecond), 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, log.count("refused the token"))
	require.Zero(t, log.count("eyJwrong"))
}

// However often connections are lost, and when the follower ends, nothing of them stays.
func TestSubscriptionsLeaveNothing(t *testing.T) {
	running := func() int {
		buf := make([]byte, 1<<20)
		return strings.Count(string(buf[:runtime.Stack(buf, true)]), "chain.(*subscription).")
	}
	d := serve(t, 20*time.Millisecond)
	n := dial(t, d.Ready.FullnodeAPIInfo, chain.Options{EpochDuration: 20 * time.Millisecond})
	f := chain.NewFollower(n, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	for range 5 {
		before, _ := f.Epoch()
		_, err := f.WaitEpoch(within(t, 5*time.Second), before+2)
		require.NoError(t, err)
		require.LessOrEqual(t, running(), 4, "two routines of the connection that is open, and perhaps of one that is ending")
		d.PauseRPC(50 * time.Millisecond)
	}
	cancel()
	<-done
	require.Eventually(t, func() bool { return running() == 0 }, 5*time.Second, 10*time.Millisecond)
}
