package prover

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACardThatDoesNotStartIsLoggedOnce(t *testing.T) {
	p := unmanned(t, PoolOptions{}, cardsOf("a")...)
	var log strings.Builder
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	fails := func(why string) {
		p.starting(p.cards[0], nil)
		p.ended(p.cards[0], nil, &CardError{Card: "a", Kind: ErrNotReady, Detail: why}, 0)
	}
	logged := func(want int, when string) {
		t.Helper()
		require.Equal(t, want, strings.Count(log.String(), "\n"), when+"\n"+log.String())
	}
	for second := range 8 {
		fails(fmt.Sprintf("exit status 3; its last log lines: 12:00:%02d no GPU", second))
	}
	logged(1, "the same again and again")
	fails("exit status 4")
	logged(2, "something else")
	p.launched(p.cards[0])
	p.gotReady(p.cards[0])
	p.dies(p.cards[0], ErrCardCrashed)
	logged(3, "it had worked")
	require.NoError(t, p.Unfence("a"))
	fails("exit status 4")
	require.Contains(t, log.String(), "does not get ready")
}
