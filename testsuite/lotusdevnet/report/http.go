package report

import (
	"context"
	"encoding/json"
	"net/http"
)

// Handler serves the control port: GET /report, and POST /shutdown, which calls shutdown.
func Handler(l *Ledger, shutdown context.CancelFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(l.Report()) // the reader went away
	})
	mux.HandleFunc("POST /shutdown", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		shutdown()
	})
	return mux
}
