package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"posthaste/post"
)

// inNoFile is how errors begin of a file without a name: with a place that nobody can look at.
var inNoFile = regexp.MustCompile(`(?m)^:[0-9]+:[0-9]+: `)

// PolicySettings puts KEY=VALUE pairs, keys of [policy], over settings, as a posthaste.toml would. An error says which pair is wrong, and what
// is allowed.
func PolicySettings(s post.Settings, pairs []string) (post.Settings, error) {
	var text strings.Builder
	text.WriteString("[policy]\n")
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !found || !nameForm.MatchString(key) {
			return s, fmt.Errorf("%q is not KEY=VALUE, such as max_try=3", pair)
		}
		_, err := strconv.ParseFloat(value, 64)
		if number := err == nil && (strings.HasPrefix(key, "gas_over_") || !strings.ContainsAny(value, ".eExXpPnN_")); !number && value != "true" && value != "false" {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&text, "%s = %s\n", key, value)
	}
	f, d, err := read("", []byte(text.String()))
	if err == nil {
		s = d.settings("policy", s, f.Policy)
		err = d.err()
	}
	if err != nil {
		return s, errors.New(strings.ReplaceAll(inNoFile.ReplaceAllString(err.Error(), ""), "\n", "; "))
	}
	return s, nil
}
