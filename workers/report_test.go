package workers

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"posthaste/post"
)

func TestTwins(t *testing.T) {
	now := time.Now()
	self := post.WorkerReport{Name: "w", Host: "here", Instance: fmt.Sprintf("worker w@%d-000001", os.Getpid())}
	same := fmt.Sprintf("worker w@%d-000002", os.Getpid())
	here, there := post.WorkerReport{Host: "here"}, post.WorkerReport{Host: "there"}
	parent := fmt.Sprintf("worker w@%d-00c0de", os.Getppid()) // a process that is there for sure
	const dead = "worker w@999999999-dead00"
	seen := func(ago time.Duration, running bool) listedWorker {
		return listedWorker{running: running, beat: now.Add(-ago)}
	}
	for situation, c := range map[string]struct {
		last  post.WorkerReport
		other string
		seen  listedWorker
		want  bool
	}{
		"itself":                                  {here, self.Instance, seen(time.Second, true), false},
		"another worker":                          {here, "worker w2@1", seen(time.Second, true), false},
		"a daemon":                                {here, "daemon w@1", seen(time.Second, true), false},
		"another process on this machine":         {here, parent, seen(time.Second, true), true},
		"the one before, killed a moment ago":     {here, dead, seen(time.Second, true), false},
		"the one before, in this container":       {here, same, seen(time.Second, true), false},
		"one in a container elsewhere":            {there, same, seen(time.Second, true), true},
		"one on another machine":                  {there, dead, seen(time.Second, true), true},
		"one on another machine, that stopped":    {there, dead, seen(time.Second, false), false},
		"one on another machine, long unheard of": {there, dead, seen(time.Minute, true), false},
	} {
		t.Run(situation, func(t *testing.T) {
			require.Equal(t, c.want, isTwin(self, c.last, c.other, c.seen, now))
		})
	}
}
