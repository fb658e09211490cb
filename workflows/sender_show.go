package workflows

import (
	"fmt"
	"strings"

	"posthaste/post"
)

// shownMessages bounds the messages that a sender shows: the latest.
const shownMessages = 20

// markdown is what the Web UI shows as a SenderWorkflow's current details: the messages that are on their way, and the latest that
// arrived or did not.
func (s SenderState) markdown() string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	put("Messages of **%s**: %d on their way, %d waiting to be signed.\n", cell(s.From), len(s.Pending), len(s.Queue)+len(s.Waiting))
	for _, w := range s.Waiting[:min(len(s.Waiting), shownMessages)] {
		put("\nFrom epoch %d: %s\n", max(w.Request.NotBefore, w.Again), cell(w.Request.ID))
		if w.Why != "" {
			put("\n**The node does not answer about it**: %s\n", cell(w.Why))
		}
	}
	if len(s.Pending) > 0 {
		b.WriteString("\n| nonce | for | age | messages | premium | costs at most | pushed at | latest message |\n|--|--|--|--|--|--|--|--|\n")
		for _, sent := range s.Pending[:min(len(s.Pending), shownMessages)] {
			premium, most := "the node's", "the node's"
			if sent.Gas != (post.Gas{}) {
				premium, most = sent.Gas.Premium.PerGas(), sent.Gas.Most().String()
			}
			age := ""
			if sent.First != 0 {
				age = fmt.Sprintf("%d epochs", s.Head-sent.First)
			}
			put("| %d | %s | %s | %d | %s | %s | %d | …%s |\n", sent.Nonce, cell(sent.Request.ID), age, len(sent.CIDs()), premium, most, sent.Pushed, end(sent.Message))
		}
	}
	for _, sent := range s.Pending {
		if sent.Stuck != "" {
			put("\n**Nonce %d is not replaced**: %s\n", sent.Nonce, cell(sent.Stuck))
		}
	}
	if len(s.Done) > 0 {
		b.WriteString("\n| nonce | for | outcome | messages | landed | message |\n|--|--|--|--|--|--|\n")
		for _, d := range s.Done[max(0, len(s.Done)-shownMessages):] {
			outcome := string(d.Settled.Outcome)
			if d.Settled.Reason != "" {
				outcome += ": " + d.Settled.Reason
			}
			landed := ""
			if d.Settled.Landed != 0 {
				landed = fmt.Sprint(d.Settled.Landed)
			}
			put("| %d | %s | %s | %d | %s | …%s |\n", d.Sent.Nonce, cell(d.Sent.Request.ID), cell(outcome), len(d.Sent.CIDs()), landed, end(d.Settled.Message))
		}
	}
	return b.String()
}

// end is a CID's end: the beginning is the same for all.
func end(cid string) string { return cid[max(0, len(cid)-10):] }
