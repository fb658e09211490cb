package prover

// Limits are what several pools of one worker share.
type Limits struct {
	Tasks  int     // tasks at once in all pools that share these limits; 0 means no limit
	Memory *Memory // SNARKs at once on this host; nil means no limit
}
