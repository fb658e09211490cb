package post

// Fees bound what a message may cost and how its gas is reckoned from the node's estimate. The zero value is for messages whose workflow
// began before there was a choice: the node's own estimate and limits.
type Fees struct {
	MaxFee            Atto    `json:"max_fee,omitempty"`            // for the whole message: gas limit × fee cap never exceeds it
	GasFeeCap         Atto    `json:"gas_fee_cap,omitempty"`        // per unit of gas; empty: the highest that MaxFee allows
	GasOverEstimation float64 `json:"gas_over_estimation,omitzero"` // factor on the estimated gas limit; 0 is 1
	GasOverPremium    float64 `json:"gas_over_premium,omitzero"`    // factor on the estimated premium; 0 is 1
	ReplaceMaxFee     Atto    `json:"replace_max_fee,omitempty"`    // what MaxFee becomes for replacing a message that does not land; empty: MaxFee
}

// Atto is an amount of attoFIL (10⁻¹⁸ FIL) in decimal; empty: none is given. A text, so that settings can be compared.
type Atto string

// Recovery is how faulty sectors that can be proven again are declared recovered.
type Recovery struct {
	Off           bool `json:"off,omitempty"`           // they are not; the operator does it
	MaxSectors    int  `json:"max_sectors,omitzero"`    // of one deadline in one look; 0: no limit (lotus-miner's LOTUS_RECOVERING_SECTOR_LIMIT)
	MaxPartitions int  `json:"max_partitions,omitzero"` // in one message; 0: what the network allows (MaxPartitionsPerRecoveryMessage)
}
