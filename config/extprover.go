package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// extNames are the keys of ext-prover.cfg, in which case does not matter.
var extNames = []string{"WdPost", "WinPost", "Bin", "Args", "Envs", "Concurrent", "Weight", "ReadyTimeoutSecs"}

// foldExt is the usual spelling of a key of ext-prover.cfg. The names of environment variables are as written.
func foldExt(path, key string) string {
	if strings.HasSuffix(path, ".Envs") {
		return key
	}
	for _, name := range extNames {
		if strings.EqualFold(key, name) {
			return name
		}
	}
	return key
}

// useExtProver puts the cards of a damocles-manager's ext-prover.cfg in the place of those about which nothing is written.
func (c *Config) useExtProver(path string, data []byte, getenv func(string) string) error {
	l, err := readLeaves(path, data, foldExt)
	if err != nil {
		return err
	}
	l.homeDir = getenv("HOME")
	window, winning := l.extCards("WdPost", "card", c.Worker.Pool), l.extCards("WinPost", "winning", c.Worker.Pool)
	switch {
	case len(window)+len(winning) == 0:
		l.complain("WdPost", "there is neither a [[WdPost]] nor a [[WinPost]]")
	case len(window) > 0 && !c.AutoCards:
		l.complain("WdPost[0]", "%s has [[processors.window_post]] too; keep the cards of one file", c.name())
	case len(winning) > 0 && len(c.Winning) > 0:
		l.complain("WinPost[0]", "%s has [[processors.winning_post]] too; keep the cards of one file", c.name())
	}
	l.nameUnused()
	newest := "WinPost[0]"
	if len(window) > 0 {
		newest, c.Cards, c.AutoCards = "WdPost[0]", window, false
	}
	if len(winning) > 0 {
		c.Winning = winning
	}
	for _, card := range c.Winning {
		if !c.AutoCards && slices.ContainsFunc(c.Cards, func(other Card) bool { return other.Name == card.Name }) {
			l.complain(newest, "two cards are named %q", card.Name)
		}
	}
	if err := l.err(); err != nil {
		return err
	}
	c.Warnings = append(c.Warnings, l.warned()...)
	return nil
}

// extCards are the cards of one kind, with damocles-manager's defaults.
func (l *leaves) extCards(table, name, pool string) []Card {
	var cards []Card
	for i := range l.list(table) {
		key := fmt.Sprintf("%s[%d]", table, i)
		card := newCard(name + strconv.Itoa(i))
		card.Pool = pool
		card.Bin = l.home(key+".Bin", or(take[string](l, key+".Bin", "a string, the path of a program"), ""))
		card.Args = l.strings(key + ".Args")
		if card.Bin == "" && len(card.Args) > 0 {
			l.warn(key+".Args", "is not applied: without a Bin posthaste starts its own processor, with arguments of its own")
		}
		if card.Bin == "" {
			card.Args = nil
		}
		card.Envs = l.under(key + ".Envs")
		l.checkEnvs(key+".Envs", card.Envs)
		card.Concurrent = max(1, l.whole(key+".Concurrent", 1))
		if card.Weight = l.whole(key+".Weight", 1); card.Weight == 0 {
			l.warn(key+".Weight", "0 is taken as 1: a card that gets nothing is better left out")
			card.Weight = 1
		}
		if seconds := l.whole(key+".ReadyTimeoutSecs", 0); seconds > 0 {
			card.ReadyTimeout = time.Duration(seconds) * time.Second
		}
		cards = append(cards, card)
	}
	return cards
}

// whole is the number at key, which is not negative.
func (l *leaves) whole(key string, otherwise int) int {
	return l.atLeast(key, take[int64](l, key, "a whole number"), 0, otherwise)
}
