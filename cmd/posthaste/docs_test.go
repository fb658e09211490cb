package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// A command that a guide names: in code, up to what ends it. Prose that is about posthaste has no code around it.
var commandInDocs = regexp.MustCompile("(?:^|[`\\s(|])(?:bin/)?posthaste ([a-z][^`#|\\n]*)")

// The commands that guides and the demo's briefings name exist, with their flags.
func TestCommandsInDocsExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	files = append(files, "../../README.md")
	require.Greater(t, len(files), 5)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, code := range codeOf(string(text)) {
				for _, found := range commandInDocs.FindAllStringSubmatch(code, -1) {
					checkCommand(t, found[1])
				}
			}
		})
	}
	t.Run("briefings", func(t *testing.T) {
		d := &demonstration{demoOptions: demoOptions{dir: "/tmp/d", workers: 1, cards: 2}}
		d.chain = chainReady{Miners: []string{"f01000", "f01001"}, Stores: []chainStore{{"a", "/x/f01000"}, {"b", "/x/f01001"}}}
		for _, f := range faults {
			b := f.tell(d)
			for _, h := range append(b.look, b.mend...) {
				if command, ours := strings.CutPrefix(h.command, self()+" "); ours {
					checkCommand(t, command)
				}
			}
		}
	})
}

// codeOf is what stands in backquotes and in fenced blocks.
func codeOf(text string) (code []string) {
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			if language, block, _ := strings.Cut(part, "\n"); language == "sh" {
				code = append(code, strings.Split(block, "\n")...)
			}
			continue
		}
		for j, piece := range strings.Split(part, "`") {
			if j%2 == 1 {
				code = append(code, strings.ReplaceAll(piece, "\n", " "))
			}
		}
	}
	return code
}

// checkCommand looks a command up as a shell would give it.
func checkCommand(t *testing.T, line string) {
	t.Helper()
	for _, end := range []string{"&&", ";", ">", " -> "} {
		line, _, _ = strings.Cut(line, end)
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	root := newRoot(&app{stdout: io.Discard, stderr: io.Discard})
	cmd, rest, err := root.Find(words)
	require.NoError(t, err, "posthaste %s", line)
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != "…" && rest[0] != "..." {
		for _, name := range regexp.MustCompile(`[|,]`).Split(rest[0], -1) { // list|info
			_, _, err := cmd.Find([]string{name})
			require.NoError(t, err, "posthaste %s", line)
			require.True(t, has(cmd, name), "posthaste %s: %s has no %s", line, cmd.CommandPath(), name)
		}
		return
	}
	if strings.ContainsAny(line, "[…") {
		rest = slices.DeleteFunc(rest, func(word string) bool { return !strings.HasPrefix(word, "--") && !strings.HasPrefix(word, "[--") })
	} else if err := cmd.ParseFlags(rest); err == nil && cmd.Flags().NArg() > 0 {
		require.NoError(t, cmd.Args(cmd, cmd.Flags().Args()), "posthaste %s", line)
	}
	for _, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		if name, _, _ = strings.Cut(strings.Trim(name, "[]"), "="); isFlag && name != "" {
			require.True(t, cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil || name == "help", "posthaste %s: %s has no --%s", line, cmd.CommandPath(), name)
		}
	}
}

// has says whether a command has a subcommand.
func has(cmd *cobra.Command, name string) bool {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name {
			return true
		}
	}
	return false
}
