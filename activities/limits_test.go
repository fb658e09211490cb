package activities_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/require"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/workflows"
)

// emptyIndex is that of a provider with very many stores, none of which has the sectors.
type emptyIndex struct{}

func (emptyIndex) Unlisted() []string { return nil }

func (emptyIndex) Find(_ context.Context, _ abi.ActorID, sectors post.Sectors) (found post.Sectors, missing []post.Skipped, err error) {
	reason := "in none of the 300 stores (" + strings.Repeat("rack-07-shelf-3-disk-11, ", 300) + ")"
	for _, s := range sectors {
		missing = append(missing, post.Skipped{Sector: s.Number, Reason: reason})
	}
	return nil, missing, nil
}

// Temporal takes no more than 2 MiB in one piece.
func TestLookupOfAPartitionThatIsGoneFitsIntoTemporal(t *testing.T) {
	all := make(post.Sectors, 2349)
	for i := range all {
		all[i].Number = abi.SectorNumber(1000000 + i)
	}
	located, err := (&activities.Sectors{Index: emptyIndex{}}).LookupSectors(t.Context(), workflows.PartitionInput{Sectors: all})
	require.NoError(t, err)
	require.Len(t, located.Missing, 2349)
	raw, err := json.Marshal(located)
	require.NoError(t, err)
	require.Less(t, len(raw), 1<<20)
	require.Contains(t, located.Missing[0].Reason, "in none of the 300 stores")
}
