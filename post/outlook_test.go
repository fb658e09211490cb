package post_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

// Of a daemon with several nodes, the alert about the one that is used says what is the matter with the others.
func TestNoOtherNodeIsAnyBetter(t *testing.T) {
	a, bad := post.JudgeNode(post.NodeOutlook{Endpoint: "http://a", Head: 5, At: lookedAt, Since: lookedAt, Nodes: []post.NodeStanding{
		{Endpoint: "http://a", Used: true, Verdict: "down"}, {Endpoint: "http://b", Verdict: "forked", Head: 7, Why: "its chain is another"},
	}}, lookedAt.Add(time.Hour), limits)
	require.True(t, bad)
	require.NotContains(t, a.Details, "last answer", "it is not away")
	require.Contains(t, a.Details, "Node http://b is no better: forked at epoch 7. its chain is another")
	require.NotContains(t, a.Details, "Node http://a")
}
