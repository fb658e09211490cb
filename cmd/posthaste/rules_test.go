package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Prometheus's alerts say to run is there: at three in the morning nobody wants to look for the right spelling.
func TestRulesNameCommands(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/prometheus/posthaste.rules.yml")
	require.NoError(t, err)
	named := 0
	for _, mend := range regexp.MustCompile(`(?m)^\s+mend: (.+)$`).FindAllStringSubmatch(string(rules), -1) {
		for _, command := range regexp.MustCompile(`\bposthaste ([a-z]+(?: [a-z-]+)?)`).FindAllStringSubmatch(mend[1], -1) {
			words := strings.Fields(command[1])
			cmd, _, err := newRoot(&app{stdout: io.Discard, stderr: io.Discard}).Find(words)
			require.NoError(t, err, command[0])
			require.True(t, cmd.Runnable() && !cmd.HasSubCommands(), "%s: posthaste has no such command", command[0])
			named++
		}
	}
	require.Greater(t, named, 10)
	for _, unit := range regexp.MustCompile(`systemctl [a-z]+ (posthaste-[a-z]+)`).FindAllStringSubmatch(string(rules), -1) {
		_, err := os.Stat("../../deploy/systemd/" + unit[1] + ".service")
		require.NoError(t, err, "%s starts what is not there", unit[0])
	}
}
