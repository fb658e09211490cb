package devnet

import (
	"encoding/json"
	"net/http"

	"github.com/filecoin-project/go-state-types/abi"

	"posthaste/post"
)

// changeAsk is what a request to change a miner says. Each uses the fields that it needs.
type changeAsk struct {
	Miner     string           `json:"miner"`
	Role      string           `json:"role"` // of /change-key: owner, worker or control
	Away      bool             `json:"away"` // of /change-key: the node does not have the new key
	Deadline  uint64           `json:"deadline"`
	Partition uint64           `json:"partition"`
	Sector    abi.SectorNumber `json:"sector"`
}

// changeHandlers are the control port's ways to change a miner. Each answers with what holds from the next tipset on.
func (d *Devnet) changeHandlers(mux *http.ServeMux) {
	for path, change := range map[string]func(abi.ActorID, changeAsk) (any, error){
		"/change-key": func(miner abi.ActorID, ask changeAsk) (any, error) {
			key, err := d.ChangeKey(miner, ask.Role, !ask.Away)
			return map[string]string{ask.Role: key.String()}, err
		},
		"/add-partition": func(miner abi.ActorID, ask changeAsk) (any, error) {
			sectors, err := d.AddPartition(miner, ask.Deadline)
			return map[string]any{"deadline": ask.Deadline, "sectors": sectors}, err
		},
		"/compact": func(miner abi.ActorID, ask changeAsk) (any, error) {
			return map[string]any{"deadline": ask.Deadline, "partition": ask.Partition}, d.Compact(miner, ask.Deadline, ask.Partition)
		},
		"/upgrade": func(miner abi.ActorID, ask changeAsk) (any, error) {
			return map[string]any{"sector": ask.Sector}, d.Upgrade(miner, ask.Sector)
		},
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var ask changeAsk
			if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
				http.Error(w, `send {"miner": "f01000", …}: `+err.Error(), http.StatusBadRequest)
				return
			}
			miner, err := post.ParseMiner(ask.Miner)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			did, err := change(miner, ask)
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			answer(w, did)
		})
	}
}
