package devnet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// controlMux is the control port: what a test or the demo asks of the chain itself, beside the node's RPC.
func (d *Devnet) controlMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.Report()) })
	mux.HandleFunc("POST /pause-rpc", d.pauseRPC)
	mux.HandleFunc("POST /stop-mining", func(w http.ResponseWriter, _ *http.Request) {
		d.SetMining(false)
		answer(w, map[string]bool{"mining": false})
	})
	mux.HandleFunc("POST /resume-mining", func(w http.ResponseWriter, _ *http.Request) {
		d.SetMining(true)
		answer(w, map[string]bool{"mining": true})
	})
	mux.HandleFunc("POST /stop-including", func(w http.ResponseWriter, _ *http.Request) {
		d.SetIncluding(false)
		answer(w, map[string]bool{"including": false})
	})
	mux.HandleFunc("POST /resume-including", func(w http.ResponseWriter, _ *http.Request) {
		d.SetIncluding(true)
		answer(w, map[string]bool{"including": true})
	})
	d.changeHandlers(mux)
	d.marketHandlers(mux)
	mux.HandleFunc("POST /shutdown", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]bool{"shutdown": true})
		d.once.Do(func() { close(d.closing) })
	})
	return mux
}

// pauseRPC lets the node be away for {"seconds": n}.
func (d *Devnet) pauseRPC(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Seconds float64 `json:"seconds"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Seconds <= 0 || ask.Seconds > 3600 {
		http.Error(w, `send {"seconds": n} with n above 0, at most 3600`, http.StatusBadRequest)
		return
	}
	d.PauseRPC(time.Duration(ask.Seconds * float64(time.Second)))
	answer(w, ask)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}

// checkParameters says what is wrong with the folder of proof parameters, before the library does in the middle of a deadline.
func checkParameters(dir string) error {
	const how = "run build/parameters.sh and set FIL_PROOFS_PARAMETER_CACHE to the folder that it prints"
	if dir == "" {
		return fmt.Errorf("FIL_PROOFS_PARAMETER_CACHE is not set, so the chain cannot verify proofs; %s", how)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "v28-proof-of-spacetime-fallback-*.vk"))
	if err != nil || len(keys) == 0 {
		if _, statErr := os.Stat(dir); statErr != nil {
			return fmt.Errorf("FIL_PROOFS_PARAMETER_CACHE: %w; %s", statErr, how)
		}
		return fmt.Errorf("FIL_PROOFS_PARAMETER_CACHE: %s has no verifying key of WindowPoSt (v28-proof-of-spacetime-fallback-*.vk); %s", dir, how)
	}
	return nil
}
