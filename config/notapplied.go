package config

import (
	"regexp"
	"strings"
)

// Why keys of damocles do not apply here.
const (
	sealing  = "is not applied: it is for sealing, and this worker proves what is sealed"
	polling  = "is not applied: jobs are not asked for at intervals, they come at once by long polling"
	manager  = "is not applied: there is no manager, only the Temporal server (TEMPORAL_ADDRESS)"
	byQueues = "is not applied: the try of a job and its pauses are the workflow's ([policy] of the daemon)"
)

// notApplied says of each key of a damocles-worker file that has no effect here why that is so. A table's name stands for all in it.
var notApplied = map[string]string{
	"worker.rpc_server":        "is not applied: nothing listens here; `posthaste worker info` and pause work from any machine through Temporal",
	"worker.ping_interval":     manager,
	"worker.local_pieces_dir":  sealing,
	"worker.local_pieces_dirs": sealing,

	"sector_manager.rpc_client.addr":    "is replaced by the Temporal server's address (TEMPORAL_ADDRESS)",
	"sector_manager.rpc_client.headers": manager,
	"sector_manager.piece_token":        sealing,

	"sealing.enable_deals":             sealing,
	"sealing.disable_cc":               sealing,
	"sealing.max_deals":                sealing,
	"sealing.min_deal_space":           sealing,
	"sealing.verify_after_pc2":         sealing,
	"sealing.max_retries":              byQueues,
	"sealing.request_task_max_retries": byQueues,
	"sealing.seal_interval":            polling,
	"sealing.recover_interval":         polling,
	"sealing.rpc_polling_interval":     polling,
	"sealing.ignore_proof_check":       "is not applied: every proof is checked before it leaves the worker",

	"sealing_thread.location": "is not applied: proving needs no folder of its own, and a config.toml in it is not read",

	"attached.readonly":  "changes nothing: a worker only reads its stores",
	"attached_selection": sealing,
	"remote_store":       "is not applied, as in damocles itself since [[attached]] took its place",

	"processors.limitation.concurrent":      sealing,
	"processors.limitation.staggered":       "is not applied: jobs start as they come; memory_per_proof in posthaste.toml limits what is heavy",
	"processors.limit.window_post":          "is not applied: processors.limitation.concurrent takes its place",
	"processors.limit":                      sealing,
	"processors.ext_locks":                  "is not applied: cards with one TMPDIR take turns on their GPU by the lock in it",
	"processors.window_post.locks":          "is not applied: cards with one TMPDIR take turns on their GPU by the lock in it",
	"processors.static_tree_d":              sealing,
	"processors.add_pieces":                 sealing,
	"processors.tree_d":                     sealing,
	"processors.pc1":                        sealing,
	"processors.pc2":                        sealing,
	"processors.synth_proof":                sealing,
	"processors.c2":                         sealing,
	"processors.snap_encode":                sealing,
	"processors.snap_prove":                 sealing,
	"processors.transfer":                   sealing,
	"processors.unseal":                     sealing,
	"processors.sealing_daemons":            sealing,
	"processors.window_post.numa_preferred": "is not applied: bind the card to the node's CPUs (cgroup.cpuset), and its memory is taken there",

	"processors.window_post.cgroup.group_name": "is not applied: a card is bound to its CPUs without a control group",
}

// tablesKnown are the tables some of whose keys apply.
var tablesKnown = map[string]bool{
	"worker": true, "metrics": true, "sector_manager": true, "sector_manager.rpc_client": true, "sealing": true,
	"sealing_thread": true, "sealing_thread.sealing": true, "attached": true, "processors": true, "processors.limitation": true,
	"processors.limitation.concurrent": true, "processors.limit": true, "processors.window_post": true,
	"processors.window_post.cgroup": true, "processors.window_post.envs": true,
	"WdPost": true, "WdPost.Envs": true, "WinPost": true, "WinPost.Envs": true, // ext-prover.cfg
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// nameUnused warns of all that nobody has asked for: once for a table of which nothing applies.
func (l *leaves) nameUnused() {
	named := ""
	for _, e := range l.entries {
		form := index.ReplaceAllString(e.path, "")
		if e.used || named != "" && within(e.path, named) || e.value == nil && tablesKnown[form] {
			continue
		}
		path, why := l.reason(e.path)
		named = path
		l.warn(path, "%s", why)
	}
}

// reason finds why a key does not apply, and the part of its path that this is said of.
func (l *leaves) reason(path string) (part, why string) {
	for part = path; part != ""; part = parent(part) {
		form := index.ReplaceAllString(part, "")
		why, known := notApplied[strings.TrimPrefix(form, "sealing_thread.")]
		if !known {
			why, known = notApplied[form]
		}
		switch {
		case known && tablesKnown[form]:
			return path, why // a key in it does apply
		case known:
			return part, why
		}
	}
	return path, "is not applied: no such key is known"
}

// parent is a path without its last part; "" at the top.
func parent(path string) string {
	cut := strings.LastIndex(path, ".")
	if cut < 0 {
		return ""
	}
	return path[:cut]
}
