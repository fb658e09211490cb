package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A report as the chain's program writes it: two deadlines of ours, one of Lotus's, and one that is not over.
const turnsText = `{"deadlines":[
 {"poster":"posthaste","challenge":80,"closed":true,"partitions":[{"posted":true,"landed_epoch":105,"seconds":7.5},{"posted":true,"landed_epoch":106,"seconds":7.8}]},
 {"poster":"lotus","challenge":140,"closed":true,"partitions":[{"posted":true,"landed_epoch":166,"seconds":7.8},{"posted":true,"landed_epoch":166,"seconds":7.8}]},
 {"poster":"posthaste","challenge":200,"closed":true,"partitions":[{"posted":true,"landed_epoch":227,"seconds":8.1}]},
 {"poster":"lotus","challenge":260,"closed":false,"partitions":[{"posted":false}]}],
 "rpc":{"posthaste":{"calls":110,"bytes_sent":4000,"bytes_received":2000,"methods":{}},"lotus":{"calls":90,"bytes_sent":8000,"bytes_received":500}}}`

func TestTurns(t *testing.T) {
	var report turnsReport
	require.NoError(t, json.Unmarshal([]byte(turnsText), &report))
	turns := report.turns()
	assert.Equal(t, []turn{
		{poster: ours, partitions: 2, posted: 2, epochs: 26, took: 7800 * time.Millisecond},
		{poster: theirs, partitions: 2, posted: 2, epochs: 26, took: 7800 * time.Millisecond},
		{poster: ours, partitions: 1, posted: 1, epochs: 27, took: 8100 * time.Millisecond},
	}, turns)
	text := lines(compared(turns, map[poster]traffic{ours: {Calls: 10, Sent: 1000, Received: 1000}}, report.RPC))
	assert.Contains(t, text, "turns, lotus, deadlines\t1\tdeadlines\t-\tok")
	assert.Contains(t, text, "turns, posthaste, challenge to landed p50\t26\tepochs\t<= 26\tok")
	assert.Contains(t, text, "turns, posthaste, challenge to landed worst\t27\tepochs\t<= 26\tshort")
	assert.Contains(t, text, "turns, posthaste, challenge to landed worst\t8.1\ts\t<= 7.8\tshort")
	assert.Contains(t, text, "turns, posthaste, partitions missed\t0\tpartitions\t0\tok")
	assert.Contains(t, text, "turns, posthaste, calls to the node per deadline\t50\tcalls\t-\tok")
	assert.Contains(t, text, "turns, lotus, bytes to and from the node per deadline\t8500\tbytes\t-\tok")
}

// What was missed has no time, and is counted.
func TestComparedCountsWhatWasMissed(t *testing.T) {
	text := lines(compared([]turn{
		{poster: ours, partitions: 2, posted: 1, epochs: 30}, {poster: ours, partitions: 1, posted: 1, epochs: 26, took: time.Second},
	}, nil, nil))
	assert.Contains(t, text, "turns, posthaste, partitions missed\t1\tpartitions\t0\tshort")
	assert.Contains(t, text, "turns, posthaste, challenge to landed worst\t26\tepochs")
}

func lines(figures []figure) string {
	var text strings.Builder
	for _, f := range figures {
		text.WriteString(f.String() + "\n")
	}
	return text.String()
}
