package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"posthaste/activities"
	"posthaste/post"
	"posthaste/prover"
	"posthaste/workflows"
)

// checkedStores is a machine with stores of which some are lost, and sectors of which some have no files.
type checkedStores struct {
	lost  map[string]error
	gone  map[abi.SectorNumber]error
	hangs chan struct{} // what looking for a file in store "hanging" waits for
}

func (s checkedStores) Readable(_ context.Context, store string) error { return s.lost[store] }

func (s checkedStores) Provable(store string, _ abi.ActorID, sector post.Sector, _ abi.SectorSize) error {
	if store == "hanging" {
		<-s.hangs
		return errors.New("it has not answered")
	}
	return s.gone[sector.Number]
}

func (s checkedStores) Paths(store string, miner abi.ActorID, sector post.Sector) (string, string, error) {
	return fmt.Sprint(store, "/sealed/", sector.Number), fmt.Sprint(store, "/cache/", sector.Number), nil
}

func in(store string, numbers ...abi.SectorNumber) post.Sectors {
	var out post.Sectors
	for _, n := range numbers {
		out = append(out, post.Sector{Number: n, Store: store})
	}
	return out
}

// checks runs CheckSectors.
func checks(t *testing.T, c *activities.SectorCheck, sectors post.Sectors, strict bool) []post.BadSector {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(c.CheckSectors)
	value, err := env.ExecuteActivity(c.CheckSectors, workflows.CheckSectorsInput{
		Miner: 1000, ProofType: abi.RegisteredPoStProof_StackedDrgWindow2KiBV1_1, Sectors: sectors, Strict: strict})
	require.NoError(t, err)
	var checked workflows.CheckedSectors
	require.NoError(t, value.Get(&checked))
	return checked.Bad
}

func reasonsOf(bad []post.BadSector) map[abi.SectorNumber]string {
	out := map[abi.SectorNumber]string{}
	for _, b := range bad {
		out[b.Sector] = b.Store + ": " + b.Reason
	}
	return out
}

func TestCheckSectorsByTheirFiles(t *testing.T) {
	stores := checkedStores{lost: map[string]error{"b": errors.New("is it mounted?")}, gone: map[abi.SectorNumber]error{2: errors.New("p_aux does not exist")}}
	c := &activities.SectorCheck{Stores: stores, Read: func(context.Context, prover.Task, prover.Reading) (*prover.Vanillas, error) {
		t.Error("a sector was read")
		return nil, nil
	}}
	bad := checks(t, c, append(in("a", 1, 2, 3), in("b", 4, 5)...), false)
	assert.Equal(t, map[abi.SectorNumber]string{2: "a: p_aux does not exist", 4: "b: is it mounted?", 5: "b: is it mounted?"}, reasonsOf(bad))
}

func TestStrictCheckReadsWhatIsThere(t *testing.T) {
	stores := checkedStores{gone: map[abi.SectorNumber]error{2: errors.New("p_aux does not exist")}}
	var read []uint64
	c := &activities.SectorCheck{Stores: stores, Read: func(_ context.Context, task prover.Task, how prover.Reading) (*prover.Vanillas, error) {
		assert.NotZero(t, task.Seed)
		for i, r := range task.Replicas {
			read = append(read, r.SectorID)
			var bad *post.Skipped
			if r.SectorID == 3 {
				bad = &post.Skipped{Sector: 3, Reason: "is invalid"}
			}
			how.OnSector(i+1, len(task.Replicas), bad)
		}
		return &prover.Vanillas{}, nil
	}}
	bad := checks(t, c, in("a", 1, 2, 3), true)
	assert.Equal(t, []uint64{1, 3}, read)
	assert.Equal(t, map[abi.SectorNumber]string{2: "a: p_aux does not exist", 3: "a: is invalid"}, reasonsOf(bad))
}

func TestStrictCheckThatCannotRead(t *testing.T) {
	c := &activities.SectorCheck{Stores: checkedStores{}, Read: func(context.Context, prover.Task, prover.Reading) (*prover.Vanillas, error) {
		return nil, errors.New("the library is gone")
	}}
	assert.Equal(t, map[abi.SectorNumber]string{1: "a: it could not be read: the library is gone", 2: "a: it could not be read: the library is gone"},
		reasonsOf(checks(t, c, in("a", 1, 2), true)))
}

// More sectors than there are places are in a store whose disk hangs; those of the other store are looked at all the same.
func TestAHangingStoreHoldsNoneOfTheOthers(t *testing.T) {
	stores := checkedStores{gone: map[abi.SectorNumber]error{}, hangs: make(chan struct{})}
	var hanging []abi.SectorNumber
	for n := abi.SectorNumber(1000); n < 1300; n++ {
		hanging = append(hanging, n)
	}
	read := make(chan struct{})
	c := &activities.SectorCheck{Stores: stores, Every: 10 * time.Millisecond, Read: func(_ context.Context, task prover.Task, how prover.Reading) (*prover.Vanillas, error) {
		if task.Replicas[0].SectorID == 1 {
			close(read)
		}
		for i := range task.Replicas {
			how.OnSector(i+1, len(task.Replicas), nil)
		}
		return nil, nil
	}}
	go func() {
		<-read // the other store's sectors are through while every place of this one hangs
		close(stores.hangs)
	}()
	bad := checks(t, c, append(in("a", 1, 2), in("hanging", hanging...)...), true)
	assert.Len(t, bad, 300)
}
