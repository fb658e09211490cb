package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSteeringJobs(t *testing.T) {
	for situation, c := range map[string]struct {
		args   []string
		change func(*jobsTemporal)
		orders []string
		out    string
		err    string
	}{
		"reset one that failed": {[]string{"reset", "f01000-96-8-0"}, nil, []string{"wdpost-f01000-96-8 Reset [{[0]}]"}, "f01000-96-8-0: runs again now, tries back at 0\n", ""},
		"reset two of a deadline and a typo": {[]string{"reset", "f01000-96-7-0", "f01000-96-7-1", "f01000-96-70"}, nil, []string{"wdpost-f01000-96-7 Reset [{[0 1]}]"},
			"f01000-96-7-0, f01000-96-7-1: runs again now, tries back at 0\n", "there is no job f01000-96-70; `posthaste wdpost list --all` shows those that there are"},
		"reset a whole deadline": {[]string{"reset", "f01000-96-8"}, nil, []string{"wdpost-f01000-96-8 Reset [{[0]}]"}, "f01000-96-8-0: runs again now, tries back at 0\n", ""},
		"reset what is posted":   {[]string{"reset", "wdpost-f01000-96-3"}, nil, nil, "", "job f01000-96-3-0: it is posted: there is nothing to run again"},
		"reset what is on its way": {[]string{"reset", "f01000-96-8-2"}, nil, nil, "",
			"job f01000-96-8-2: it is proven, and its sender has the post: to prove it again would not bring it to the chain sooner. What it leaves out is declared recovered by itself when it is back"},
		"reset one that was ended": {[]string{"reset", "f01000-96-9-0"}, nil, []string{"start wdpost-f01000-96-9 at 210: f01000 deadline 9: 1 partition, epochs 200 to 260"},
			"f01000-96-9-0: its workflow had ended (Terminated); a new run of it has begun, which proves what the chain does not have of the deadline\n", ""},
		"reset one that was ended, while nobody watches": {[]string{"reset", "f01000-96-9-0"}, func(f *jobsTemporal) { f.miner = nil },
			[]string{"start wdpost-f01000-96-9 at 190: f01000 deadline 9: 1 partition, epochs 200 to 260"},
			"f01000-96-9-0: its workflow had ended (Terminated); a new run of it has begun, which proves what the chain does not have of the deadline\n", ""},
		"reset after Close": {[]string{"reset", "f01000-96-8-0", "f01000-96-9-0"}, func(f *jobsTemporal) { f.head = 275 }, nil, "",
			"job f01000-96-8-0: its deadline closed at epoch 260, 15 epochs ago: the chain takes no proof any more\n" +
				"job f01000-96-9-0: its deadline closed at epoch 260, 15 epochs ago: the chain takes no proof any more"},
		"reset all that failed": {[]string{"reset", "--all-failed"}, nil, []string{"wdpost-f01000-96-8 Reset [{[0]}]", "start wdpost-f01000-96-9 at 210: f01000 deadline 9: 1 partition, epochs 200 to 260"},
			"f01000-96-8-0: runs again now, tries back at 0\nf01000-96-9-0: its workflow had ended (Terminated); a new run of it has begun, which proves what the chain does not have of the deadline\n", ""},
		"reset all that failed, too late": {[]string{"reset", "--all-failed"}, func(f *jobsTemporal) { f.head = 275 }, nil,
			"No job has failed whose deadline is open.\n", ""},
		"reset named ones of a miner": {[]string{"reset", "--miner", "f01000", "f01000-96-8-0"}, nil, nil, "",
			"--miner goes with --all-failed; a job's ID names its miner; usage: posthaste wdpost reset JOBID… [flags]"},
		"reset nothing":              {[]string{"reset"}, nil, nil, "", "name jobs, or give --all-failed; usage: posthaste wdpost reset JOBID… [flags]"},
		"reset without a daemon":     {[]string{"reset", "f01000-96-7-0", "f01000-96-8-0"}, func(f *jobsTemporal) { f.noDaemon = true }, []string{"wdpost-f01000-96-7 Reset [{[0]}]"}, "", "job f01000-96-7-0: no daemon answers: start one (`posthaste daemon run`) and give the order again"},
		"reset what is not an ID":    {[]string{"reset", "f01000"}, nil, nil, "", "\"f01000\" is not a job's ID; one looks like f01000-2880-7-0 (miner, period start, deadline, partition), and `posthaste wdpost list` shows them"},
		"remove a deadline":          {[]string{"remove", "f01000-96-7"}, nil, []string{"terminate wdpost-f01000-96-7 run"}, "f01000-96-7-0, f01000-96-7-1: removed; its miner's workflow issues it afresh in a few seconds, 50 epochs before Close\n", ""},
		"remove all its jobs":        {[]string{"remove", "f01000-96-7-1", "f01000-96-7-0"}, nil, []string{"terminate wdpost-f01000-96-7 run"}, "f01000-96-7-1, f01000-96-7-0: removed; its miner's workflow issues it afresh in a few seconds, 50 epochs before Close\n", ""},
		"remove one of several":      {[]string{"remove", "f01000-96-7-1"}, nil, nil, "", "job f01000-96-7-1: its deadline has other jobs that are not over, which would be ended with it: f01000-96-7-0; name them too, or the whole deadline, f01000-96-7"},
		"remove beside a posted one": {[]string{"remove", "f01000-96-8-0", "f01000-96-8-2"}, nil, []string{"terminate wdpost-f01000-96-8 run"}, "f01000-96-8-0, f01000-96-8-2: removed; its miner's workflow issues it afresh in a few seconds, 50 epochs before Close\n", ""},
		"remove what is over":        {[]string{"remove", "f01000-96-9-0"}, nil, nil, "", "job f01000-96-9-0: the workflow of its deadline is over already (Terminated): there is nothing to remove"},
		"remove while paused": {[]string{"remove", "f01000-96-7"}, func(f *jobsTemporal) { f.miner.Paused = "holidays" }, []string{"terminate wdpost-f01000-96-7 run"},
			"f01000-96-7-0, f01000-96-7-1: removed; miner f01000 is paused (holidays), so it is not issued again before `posthaste miner resume f01000`\n", ""},
		"remove of a removed miner": {[]string{"remove", "f01000-96-7"}, func(f *jobsTemporal) { f.miner.Removed = "sold" }, []string{"terminate wdpost-f01000-96-7 run"},
			"f01000-96-7-0, f01000-96-7-1: removed; miner f01000 was removed (sold), so it is not issued again before `posthaste miner add f01000`\n", ""},
		"remove after Close": {[]string{"remove", "f01000-96-7"}, func(f *jobsTemporal) { f.head = 261 }, []string{"terminate wdpost-f01000-96-7 run"},
			"f01000-96-7-0, f01000-96-7-1: removed; the deadline is closed, so it is not issued again\n", ""},
		"remove while nobody watches": {[]string{"remove", "f01000-96-7"}, func(f *jobsTemporal) { f.miner = nil }, []string{"terminate wdpost-f01000-96-7 run"},
			"f01000-96-7-0, f01000-96-7-1: removed; miner f01000 is not watched, so it is not issued again until a daemon has f01000 among its [[miners]]\n", ""},
		"remove all, unsure": {[]string{"remove-all"}, nil, nil, "", "this ends 5 jobs of 2 deadlines, and every proof that is being made for them begins anew; if you mean it, give --really-do-it"},
		"remove all": {[]string{"remove-all", "--really-do-it"}, nil, []string{"terminate wdpost-f01000-96-7 run", "terminate wdpost-f01000-96-8 run"},
			"f01000-96-7-0, f01000-96-7-1: removed; its miner's workflow issues it afresh in a few seconds, 50 epochs before Close\n" +
				"f01000-96-8-0, f01000-96-8-1, f01000-96-8-2: removed; its miner's workflow issues it afresh in a few seconds, 50 epochs before Close\n", ""},
		"remove all of nothing": {[]string{"remove-all", "--miner", "f01001", "--really-do-it"}, nil, nil, "No job is under way.\n", ""},
	} {
		t.Run(situation, func(t *testing.T) {
			f := operators(t)
			if c.change != nil {
				c.change(f)
			}
			out, err := f.command(t, append([]string{"wdpost"}, c.args...)...)
			require.Equal(t, c.out, out)
			require.Equal(t, c.orders, f.orders)
			fails(t, err, c.err)
		})
	}
}
