package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// silentCommands are those that give an order or run until they are stopped, by their last word: what they print is for people.
var silentCommands = map[string]bool{
	"up": true, "demo": true, "run": true, "init": true, "schema": true, "test": true,
	"pause": true, "resume": true, "drain": true, "unfence": true, "forget": true,
	"add": true, "remove": true, "remove-all": true, "reset": true,
	"backup": true, "restore": true, "current": true,
}

// leaves are the commands that do something, without cobra's own and those that only programs call.
func leaves(cmd *cobra.Command) (all []*cobra.Command) {
	if cmd.Hidden || cmd.Name() == "completion" || cmd.Name() == "help" {
		return nil
	}
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	for _, sub := range cmd.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

func TestEveryCommandIsExplained(t *testing.T) {
	commands := leaves(newRoot(&app{stdout: io.Discard, stderr: io.Discard}))
	require.NotEmpty(t, commands)
	for _, cmd := range commands {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, cmd.Short)
			require.Contains(t, cmd.Example, cmd.CommandPath(), "an example shows the command itself")
			for line := range strings.Lines(cmd.Example) {
				require.True(t, strings.HasPrefix(line, "  "), "examples stand two columns in: %q", line)
			}
			if !silentCommands[cmd.Name()] {
				require.NotNil(t, cmd.Flags().Lookup("json"), "what shows something shows it to programs, too; an order belongs among silentCommands")
			}
			if takesNames(cmd) {
				require.NotNil(t, cmd.ValidArgsFunction, "its arguments can be completed")
			}
		})
	}
}

// takesNames says whether a command's usage has an argument.
func takesNames(cmd *cobra.Command) bool {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	return arguments != "" && !strings.HasPrefix(arguments, "[flags]")
}
