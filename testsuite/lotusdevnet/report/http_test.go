package report

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHandler(t *testing.T) {
	stopped := false
	h := Handler(opened(), func() { stopped = true })
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}

	require.JSONEq(t, `{
		"epoch": 0,
		"deadlines": [{
			"miner": "f01000", "period_start": -2222, "index": 39, "open": 118, "close": 178, "closed": false,
			"partitions": [
				{"index": 0, "sectors": 2, "posted": false, "verified": false, "skipped": [], "faulty_after": 0, "landed_epoch": 0, "message": ""},
				{"index": 1, "sectors": 2, "posted": false, "verified": false, "skipped": [], "faulty_after": 0, "landed_epoch": 0, "message": ""}
			]
		}],
		"messages": {"posts": 0, "failed": 0, "sent_twice": 0},
		"disputes": {"tried": 0, "refused": 0},
		"power": {"start": "", "now": "", "quality_start": "", "quality_now": ""},
		"faults": 0
	}`, ask(http.MethodGet, "/report").Body.String())

	require.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodGet, "/shutdown").Code)
	require.False(t, stopped)
	require.Equal(t, http.StatusAccepted, ask(http.MethodPost, "/shutdown").Code)
	require.True(t, stopped)
}
