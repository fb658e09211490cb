package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what this binary was built from.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built with changes that are not in Commit
	FFI      string `json:"filecoin_ffi"`
	Go       string `json:"go"`
}

const ffiModule = "github.com/filecoin-project/filecoin-ffi"

// readVersion reads what the Go tool stamped into the binary.
func readVersion(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: cmp.Or(info.Main.Version, "(devel)"), Commit: "unknown", FFI: "unknown", Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == ffiModule { // replaced by a built copy, which has no version of its own
			v.FFI = dep.Version
		}
	}
	return v
}

func (v versionInfo) String() string {
	modified := ""
	if v.Modified {
		modified = ", modified"
	}
	return fmt.Sprintf("posthaste %s (commit %s%s)\nfilecoin-ffi %s\n%s", v.Version, v.Commit, modified, v.FFI, v.Go)
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say what this binary was built from",
		Example: `  posthaste version --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return fmt.Errorf("this binary was built without build information; build it with go build")
			}
			v := readVersion(info)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			fmt.Fprintln(cmd.OutOrStdout(), v)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return cmd
}
