// Package deploy_test checks what is installed beside posthaste: Prometheus's rules and Grafana's dashboard.
package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"posthaste/post"
)

const (
	rulesFile     = "prometheus/posthaste.rules.yml"
	rulesTestFile = "prometheus/posthaste.rules.test.yml"
	dashboardFile = "grafana/posthaste.json"
)

// rule is one alert of Prometheus.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	read(t, rulesFile, yaml.Unmarshal, &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func read(t *testing.T, path string, decode func([]byte, any) error, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, decode(text, into), path)
}

// Every cause that webhooks are told of has an alert here under the same name, and what only Prometheus can see has one, too.
func TestRulesAreComplete(t *testing.T) {
	runbook, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	want := []string{"PosthasteNoDaemon", "PosthasteWorkerDown"}
	for _, kind := range post.AlertKinds {
		want = append(want, "Posthaste"+string(kind))
	}
	var have []string
	for _, r := range rules(t) {
		have = append(have, r.Alert)
		assert.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		for _, annotation := range []string{"summary", "description", "mend"} {
			assert.NotEmpty(t, r.Annotations[annotation], "%s: %s", r.Alert, annotation)
		}
		assert.Equal(t, "docs/operations.md#"+strings.ToLower(strings.TrimPrefix(r.Alert, "Posthaste")), r.Annotations["runbook"])
		assert.Contains(t, string(runbook), "\n### "+strings.TrimPrefix(r.Alert, "Posthaste")+"\n", "the runbook says what to do")
	}
	assert.ElementsMatch(t, want, have)
}

// Each alert is made to fire by a test of promtool's, and kept from it by another moment or another series.
func TestRulesAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Name  string `yaml:"name"`
			Cases []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	read(t, rulesTestFile, yaml.Unmarshal, &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			fires[c.Alert] = fires[c.Alert] || len(c.Fires) > 0
			silent[c.Alert] = silent[c.Alert] || len(c.Fires) == 0
		}
	}
	for _, r := range rules(t) {
		assert.True(t, fires[r.Alert] && silent[r.Alert], "%s has to fire in one test and not to fire in another", r.Alert)
	}
}

func TestPromtool(t *testing.T) {
	for _, args := range [][]string{{"test", "rules", rulesTestFile}, {"check", "rules", rulesFile}, {"check", "config", "prometheus/prometheus.yml"}} {
		promtool(t, args...)
	}
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: build/debian.sh test")
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), out)
}

// dashboard is what is looked at of Grafana's.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	ID            *int   `json:"id"`
	Templating    struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	} `json:"gridPos"`
	Datasource source `json:"datasource"`
	Targets    []struct {
		RefID      string `json:"refId"`
		Expr       string `json:"expr"`
		Datasource source `json:"datasource"`
	} `json:"targets"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Exprs are the queries of all panels, by their panels' titles, with Grafana's variables filled in.
func (d dashboard) exprs() map[string][]string {
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$miner", ".*")
	all := map[string][]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], fill.Replace(target.Expr))
		}
	}
	return all
}

// Grafana is not in Debian, so that it cannot be asked; these are the mistakes that it does not forgive, or forgives in silence.
func TestDashboardIsWellFormed(t *testing.T) {
	var d dashboard
	read(t, dashboardFile, json.Unmarshal, &d)
	assert.Equal(t, "posthaste", d.UID)
	assert.Nil(t, d.ID, "a fixed number would take another dashboard's place")
	assert.Equal(t, 38, d.SchemaVersion, "Grafana 10.0 and later read it")
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	assert.Equal(t, map[string]string{"datasource": "datasource", "miner": "query"}, variables)
	prometheus := source{Type: "prometheus", UID: "${datasource}"}
	ids, titles := map[int]bool{}, map[string]bool{}
	var taken [200][24]bool
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID], "panel %q has the number of another", p.Title)
		assert.False(t, titles[p.Title], "two panels are called %q", p.Title)
		ids[p.ID], titles[p.Title] = true, true
		assert.Contains(t, []string{"row", "stat", "table", "timeseries", "text"}, p.Type, p.Title)
		for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				require.Less(t, x, 24, "panel %q is beyond the right edge", p.Title)
				require.False(t, taken[y][x], "panel %q lies on another", p.Title)
				taken[y][x] = true
			}
		}
		if p.Type == "row" || p.Type == "text" {
			continue
		}
		assert.Equal(t, prometheus, p.Datasource, p.Title)
		assert.NotEmpty(t, p.Description, "%q: what does it mean, and what is bad?", p.Title)
		refs := map[string]bool{}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			assert.Equal(t, prometheus, target.Datasource, p.Title)
			assert.False(t, refs[target.RefID], "two queries of %q are called %s", p.Title, target.RefID)
			refs[target.RefID] = true
		}
	}
}

// The real parser takes every query of the dashboard.
func TestDashboardParses(t *testing.T) {
	var d dashboard
	read(t, dashboardFile, json.Unmarshal, &d)
	type recorded struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var all []recorded
	for _, exprs := range d.exprs() {
		for _, expr := range exprs {
			all = append(all, recorded{fmt.Sprintf("expr:%d", len(all)), expr})
		}
	}
	require.NotEmpty(t, all)
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	promtool(t, "check", "rules", file)
}

// Every metric of ours that a rule or a panel asks for is one of docs/metrics.md, which a test of package workers compares with what is
// registered.
func TestMetricsExist(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(posthaste_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(text), -1) {
		names := []string{row[1]}
		if row[2] == "histogram" {
			names = []string{row[1] + "_bucket", row[1] + "_sum", row[1] + "_count"}
		}
		for _, name := range names {
			known[name] = true
		}
	}
	require.Greater(t, len(known), 30)
	var d dashboard
	read(t, dashboardFile, json.Unmarshal, &d)
	all := d.exprs()
	for _, r := range rules(t) {
		all[r.Alert] = []string{r.Expr}
	}
	used := map[string]bool{}
	for title, exprs := range all {
		for _, expr := range exprs {
			for _, name := range regexp.MustCompile(`\bposthaste_[a-z_]+`).FindAllString(expr, -1) {
				assert.True(t, known[name], "%s asks for %s, which nobody tells", title, name)
				used[name] = true
			}
		}
	}
	assert.Greater(t, len(used), 25, "the dashboard shows what there is")
	var names []string
	for name := range used {
		names = append(names, name)
	}
	slices.Sort(names)
	t.Log(names)
}
