package integration_test

import "testing"

// The same with the temporal command line, which can also pause and reset a single proof.
func TestTemporalCommandLine(t *testing.T) {
	t.Parallel()
	testTool(t, "temporal")
}
