package post

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseJobID(t *testing.T) {
	d := Deadline{Miner: 1000, PeriodStart: 2880, Index: 7}
	genesis := Deadline{Miner: 1000, PeriodStart: -60, Index: 3}
	for name, tt := range map[string]struct {
		in   string
		want JobID
		text string // what it prints as
	}{
		"a job":                        {"f01000-2880-7-2", d.JobID(2), "f01000-2880-7-2"},
		"a deadline":                   {"f01000-2880-7", d.JobIDs(), "f01000-2880-7"},
		"a deadline's workflow":        {"wdpost-f01000-2880-7", d.JobIDs(), "f01000-2880-7"},
		"as a test network writes it":  {"t01000-2880-7-0", d.JobID(0), "f01000-2880-7-0"},
		"a period from before genesis": {"f01000--60-3-1", genesis.JobID(1), "f01000--60-3-1"},
		"a deadline of that":           {"f01000--60-3", genesis.JobIDs(), "f01000--60-3"},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := ParseJobID(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, id)
			assert.Equal(t, tt.text, id.String())
		})
	}
	assert.Equal(t, d.WorkflowID(), d.JobID(2).WorkflowID())
	for _, bad := range []string{"", "f01000", "f01000-2880", "7-0", "f01000-2880-7-", "f01000-2880-7-0-0", "f01000-x-7-0", "worker-f01000-1-1", "f01000-99999999999999999999-7-0"} {
		_, err := ParseJobID(bad)
		assert.ErrorContains(t, err, "is not a job's ID", bad)
	}
}

func TestJobIDInJSON(t *testing.T) {
	text, err := json.Marshal(map[string]JobID{"job": Deadline{Miner: 1000, PeriodStart: 2880, Index: 7}.JobID(2)})
	require.NoError(t, err)
	assert.JSONEq(t, `{"job":"f01000-2880-7-2"}`, string(text))
	var back map[string]JobID
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, uint64(2), back["job"].Partition)
}
