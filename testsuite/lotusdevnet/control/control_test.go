package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type ask struct {
	Count int `json:"count"`
}

func TestCommand(t *testing.T) {
	mux := http.NewServeMux()
	Command(mux, "/double", func(_ context.Context, a ask) (ask, error) {
		switch a.Count {
		case -1:
			return a, Refuse("count %d: must not be negative", a.Count)
		case -2:
			return a, errors.New("the node is gone")
		}
		return ask{2 * a.Count}, nil
	})
	cases := []struct {
		name, method, body string
		status             int
		want               string
	}{
		{"done", http.MethodPost, `{"count":3}`, http.StatusOK, `{"count":6}`},
		{"no body is a zero one", http.MethodPost, "", http.StatusOK, `{"count":0}`},
		{"cannot be done", http.MethodPost, `{"count":-1}`, http.StatusBadRequest, "POST /double: count -1: must not be negative"},
		{"went wrong", http.MethodPost, `{"count":-2}`, http.StatusInternalServerError, "POST /double: the node is gone"},
		{"a misspelt field", http.MethodPost, `{"cuont":3}`, http.StatusBadRequest, `it takes {count}`},
		{"no JSON", http.MethodPost, `count=3`, http.StatusBadRequest, `it takes {count}`},
		{"asked with GET", http.MethodGet, "", http.StatusMethodNotAllowed, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(c.method, "/double", strings.NewReader(c.body)))
			require.Equal(t, c.status, w.Code)
			require.Contains(t, w.Body.String(), c.want)
		})
	}
}

// gated serves "here" behind a gate, and returns how it is asked.
func gated(t *testing.T) (*Gate, func() error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gate := NewGate(l)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })}
	go func() { _ = server.Serve(gate) }()
	t.Cleanup(func() { _ = server.Close() })
	return gate, func() error {
		answer, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		_, err = io.ReadAll(answer.Body) // to its end, so that the connection is used again
		return err
	}
}

func TestAShutGateClosesConnectionsUntilItIsOpened(t *testing.T) {
	gate, get := gated(t)
	require.NoError(t, get())
	gate.Shut()
	require.Error(t, get(), "the connection that was kept, or a new one")
	require.Error(t, get())
	gate.Open()
	require.NoError(t, get())
}

func TestAPausedGateOpensByItself(t *testing.T) {
	gate, get := gated(t)
	gate.Pause(time.Hour)
	require.Error(t, get())
	gate.Pause(0)
	require.NoError(t, get())
}

func TestAPauseDoesNotOpenAShutGate(t *testing.T) {
	gate, get := gated(t)
	gate.Shut()
	gate.Pause(0)
	require.Error(t, get())
}
