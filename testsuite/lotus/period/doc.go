// Package period plans what goes wrong in a proving period on a real chain, and judges what came of it: from the chain's own
// report and from what was really done to it, never from what posthaste says of itself. It does no I/O.
package period
