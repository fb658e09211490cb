package config

import _ "embed"

//go:embed posthaste.toml
var commented string

// Commented is the text of a posthaste.toml in which every key is explained and stands, behind a #, with its default, or
// with an example where it has none. Loading it gives the defaults.
func Commented() string { return commented }
