package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"posthaste/workers"
)

func TestMayBeCurrent(t *testing.T) {
	known := []workers.DaemonVersion{{BuildID: "v2", Current: true, Polling: true}, {BuildID: "v1"}}
	for situation, c := range map[string]struct {
		versions []workers.DaemonVersion
		build    string
		force    bool
		want     string // empty: it may
	}{
		"one whose daemons run":         {known, "v2", false, ""},
		"one without daemons":           {known, "v1", false, "no daemon of version v1 runs, so everything would stand still: start one first, or give --force"},
		"one without daemons, forced":   {known, "v1", true, ""},
		"a misspelt one":                {known, "v11", true, `there is no version "v11"; there are v2, v1`},
		"back to unversioned":           {known, "", false, ""},
		"where versioning was never on": {nil, "v1", false, "versioning was never on here: there is nothing to choose from (temporal.versioning)"},
	} {
		t.Run(situation, func(t *testing.T) {
			err := mayBeCurrent(c.versions, c.build, c.force)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
		})
	}
	_, _, err := run(t, "temporal", "current")
	require.ErrorContains(t, err, "name one version, or give --unversioned")
}
