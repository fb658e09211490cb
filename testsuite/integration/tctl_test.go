package integration_test

import "testing"

// Whatever an operator does with tctl, and whenever: each deadline is posted, once.
func TestTctl(t *testing.T) {
	t.Parallel()
	testTool(t, "tctl")
}
