package workflows

import (
	"fmt"
	"strings"
)

// shownMessages bounds the messages that a sender shows: the latest.
const shownMessages = 20

// markdown is what the Web UI shows as a SenderWorkflow's current details: the messages that are on their way, and the latest that
// arrived or did not.
func (s SenderState) markdown() string {
	var b strings.Builder
	put := func(format string, args ...any) { b.WriteString(fmt.Sprintf(format, args...)) }
	put("Messages of **%s**: %d on their way, %d waiting to be signed.\n", cell(s.From), len(s.Pending), len(s.Queue))
	if len(s.Pending) > 0 {
		b.WriteString("\n| nonce | for | pushed at | message |\n|--|--|--|--|\n")
		for _, sent := range s.Pending[max(0, len(s.Pending)-shownMessages):] {
			put("| %d | %s | %d | …%s |\n", sent.Nonce, cell(sent.Request.ID), sent.Pushed, end(sent.Message))
		}
	}
	if len(s.Done) > 0 {
		b.WriteString("\n| nonce | for | outcome | landed | message |\n|--|--|--|--|--|\n")
		for _, d := range s.Done[max(0, len(s.Done)-shownMessages):] {
			outcome := string(d.Settled.Outcome)
			if d.Settled.Reason != "" {
				outcome += ": " + d.Settled.Reason
			}
			landed := ""
			if d.Settled.Landed != 0 {
				landed = fmt.Sprint(d.Settled.Landed)
			}
			put("| %d | %s | %s | %s | …%s |\n", d.Sent.Nonce, cell(d.Sent.Request.ID), cell(outcome), landed, end(d.Sent.Message))
		}
	}
	return b.String()
}

// end is a CID's end: the beginning is the same for all.
func end(cid string) string { return cid[max(0, len(cid)-10):] }
