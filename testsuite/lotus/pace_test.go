package lotus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEpochFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		proof time.Duration
		epoch time.Duration
	}{
		{"a machine that proves at once", 10 * time.Millisecond, 150 * time.Millisecond},
		{"fast cores", 1400 * time.Millisecond, 200 * time.Millisecond},
		{"slow cores", 2100 * time.Millisecond, 300 * time.Millisecond},
		{"a machine that is busy with something else", time.Minute, 900 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.epoch, epochFor(c.proof)) })
	}
}
