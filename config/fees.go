package config

import "posthaste/post"

// Bounds of the factors on a node's estimates. Less gas than executing the message took is too little for sure; damocles's 0 for no factor on
// the premium is taken.
const (
	leastGas, mostGas         = 1, 10
	leastPremium, mostPremium = 0, 1000
)

// fees are the general ones with what is written at key put over them.
func (d *document) fees(key string, f post.Fees, p policyFile) post.Fees {
	amount := func(name string, written *string, empty bool, to *post.Atto) {
		if written == nil {
			return
		}
		if *written == "" && empty {
			*to = ""
			return
		}
		a, err := post.ParseFIL(*written)
		if err != nil {
			d.complain(key+"."+name, "%v", err)
		} else if a == "0" {
			d.complain(key+"."+name, "%q: with that, nothing could be sent", *written)
		}
		*to = a
	}
	amount("max_fee", p.MaxFee, false, &f.MaxFee)
	amount("gas_fee_cap", p.GasFeeCap, true, &f.GasFeeCap)
	amount("replace_max_fee", p.ReplaceMaxFee, true, &f.ReplaceMaxFee)
	factor := func(name string, written *float64, least, most float64, to *float64) {
		if written == nil {
			return
		}
		if !(*written >= least && *written <= most) { // which refuses what is no number, too
			d.complain(key+"."+name, "%v must be from %v to %v", *written, least, most)
		}
		*to = *written
	}
	factor("gas_over_estimation", p.GasOverEstimation, leastGas, mostGas, &f.GasOverEstimation)
	factor("gas_over_premium", p.GasOverPremium, leastPremium, mostPremium, &f.GasOverPremium)
	if f.ReplaceMaxFee != "" && f.MaxFee.Above(f.ReplaceMaxFee) && (p.ReplaceMaxFee != nil || p.MaxFee != nil) {
		at := "replace_max_fee"
		if p.ReplaceMaxFee == nil {
			at = "max_fee"
		}
		d.complain(key+"."+at, "replace_max_fee (%s) is below max_fee (%s): what does not land could not be replaced", f.ReplaceMaxFee, f.MaxFee)
	}
	return f
}
