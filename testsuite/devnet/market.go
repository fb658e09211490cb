package devnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/big"
)

// PoolMessage is a message that waits in the pool: an entry of the answer of GET /pool.
type PoolMessage struct {
	From    string          `json:"from"`
	Nonce   uint64          `json:"nonce"`
	Message string          `json:"message"` // CID
	Premium abi.TokenAmount `json:"premium"` // attoFIL per unit of gas
	FeeCap  abi.TokenAmount `json:"fee_cap"`
}

// SetBaseFee has messages pay so many times the configured base fee, from the next tipset on.
func (c *Chain) SetBaseFee(times float64) (abi.TokenAmount, error) {
	const precision = 1000
	if !(times > 0 && times <= 1e12) {
		return big.Zero(), fmt.Errorf("%v times is not between 0 and 10^12", times)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.baseFee = big.Div(big.Mul(c.cfg.BaseFee, big.NewInt(int64(times*precision))), big.NewInt(precision))
	return c.baseFee, nil
}

// DropMempool forgets all messages that are not in blocks, as a node that was started anew, and says how many those were.
func (c *Chain) DropMempool() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	dropped := len(c.pool.all())
	c.pool = newPool()
	return dropped
}

// Pool are the messages that wait, by sender and nonce.
func (c *Chain) Pool() ([]PoolMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []PoolMessage{}
	for _, m := range c.pool.all() {
		name, err := m.Cid()
		if err != nil {
			return nil, err
		}
		out = append(out, PoolMessage{From: m.Message.From.String(), Nonce: m.Message.Nonce, Message: name.String(),
			Premium: m.Message.GasPremium, FeeCap: m.Message.GasFeeCap})
	}
	return out, nil
}

// marketHandlers are the control port's ways to change what messages cost, and the pool.
func (d *Devnet) marketHandlers(mux *http.ServeMux) {
	mux.HandleFunc("GET /pool", func(w http.ResponseWriter, _ *http.Request) {
		pool, err := d.Pool()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, pool)
	})
	mux.HandleFunc("POST /drop-mempool", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]int{"dropped": d.DropMempool()}) })
	mux.HandleFunc("POST /base-fee", func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Times float64 `json:"times"`
		}
		err := json.NewDecoder(r.Body).Decode(&ask)
		var fee abi.TokenAmount
		if fee, err = d.setBaseFee(ask.Times, err); err != nil {
			http.Error(w, `send {"times": x}: `+err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"times": ask.Times, "base_fee": fee})
	})
}

func (d *Devnet) setBaseFee(times float64, err error) (abi.TokenAmount, error) {
	if err != nil {
		return big.Zero(), errors.New("that is no JSON")
	}
	return d.SetBaseFee(times)
}
