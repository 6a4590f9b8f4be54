package promsession_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/promsession"
)

// The alerts are tried with Prometheus's own tool: they fire when they should, and not otherwise.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		out, err := exec.Command("promtool", args...).CombinedOutput()
		require.NoError(t, err, "promtool comes with Debian's package prometheus; make deps installs it\n%s", out)
	}
}

var (
	metricName = regexp.MustCompile(`\bsession_[a-z_]+\b`)
	suffix     = regexp.MustCompile(`_(count|bucket|sum)$`)
)

// What the alerts and the dashboard ask for is there.
func TestFiles_NameOnlyMetricsThatAreThere(t *testing.T) {
	known := map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() {
		c := promsession.New(promsession.Options{})
		c.WatchRedis("", nil)
		c.Describe(descs)
		close(descs)
	}()
	for desc := range descs {
		known[metricName.FindString(desc.String())] = true
	}
	require.Len(t, known, 14)
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range metricName.FindAllString(string(text), -1) {
			require.True(t, known[suffix.ReplaceAllString(name, "")], "%s asks for %s", file, name)
		}
	}
}

// Each query of the dashboard is one that Prometheus understands.
func TestDashboard_QueriesParse(t *testing.T) {
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*").Replace(target.Expr)
			quoted, err := json.Marshal(expr)
			require.NoError(t, err)
			rules += "  - record: x\n    expr: " + string(quoted) + "\n    labels: {panel: " + `"` + panel.Title + target.Expr[:4] + `"` + "}\n"
		}
	}
	file := t.TempDir() + "/rules.yml"
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	out, err := exec.Command("promtool", "check", "rules", "--lint=none", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
