package metricstest

import (
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/metrics"
	realtimeprom "github.com/maravilla-realtime/realtime/metrics/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// names returns the metrics that a query uses. They must be exported ones, with labels
// that they have.
func names(t *testing.T, query string) (used []string) {
	t.Helper()
	known := make(map[string]metrics.Metric)
	for _, m := range metrics.List() {
		known[realtimeprom.Name(m)] = m
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name := v.Name
		m, ok := known[name]
		if !ok {
			name = strings.TrimSuffix(name, "_bucket")
			if m, ok = known[name]; !ok || m.Kind != metrics.Histogram {
				t.Errorf("%s: there is no metric %s", query, v.Name)
			}
		}
		used = append(used, name)
		has := strings.Join(append([]string{"job", "instance", "le", "__name__"}, m.Labels...), " ")
		for _, l := range v.LabelMatchers {
			if !strings.Contains(" "+has+" ", " "+l.Name+" ") {
				t.Errorf("%s: %s has no label %s", query, name, l.Name)
			}
		}
		return nil
	})
	return used
}

// dashboard is the part of a Grafana dashboard that this test needs.
type dashboard struct {
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ RefID, Expr, LegendFormat string }
	}
}

// Each panel shows a run of a node, and each metric is on the dashboard.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("../../../metrics/prometheus/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	run := record(t, func(*realtime.Stats) {})
	shown := make(map[string]bool)
	ids, places := make(map[int]bool), make(map[[2]int]bool)
	for _, p := range d.Panels {
		place := [2]int{p.GridPos.X, p.GridPos.Y}
		if ids[p.ID] || places[place] || p.Title == "" || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d %q has an id or a place that another one has, or shows nothing", p.ID, p.Title)
		}
		ids[p.ID], places[place] = true, true
		for _, target := range p.Targets {
			query := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*").Replace(target.Expr)
			for _, name := range names(t, query) {
				shown[name] = true
			}
			got := run.ask(query)
			if len(got) == 0 || target.LegendFormat == "" {
				t.Errorf("%s: %s shows nothing", p.Title, query)
			}
			for _, sample := range got {
				legend(t, target.LegendFormat, sample.Metric)
				if math.IsInf(sample.F, 0) {
					t.Errorf("%s: %v", query, sample)
				}
			}
		}
	}
	for _, m := range metrics.List() {
		if !shown[realtimeprom.Name(m)] {
			t.Errorf("%s is on no panel", m.Name)
		}
	}
}

// legend checks that a series has the labels that its legend names.
func legend(t *testing.T, format string, has labels.Labels) {
	t.Helper()
	for part := range strings.SplitSeq(format, "{{") {
		if name, _, ok := strings.Cut(part, "}}"); ok && has.Get(name) == "" {
			t.Errorf("a series with the legend %q has only %v", format, has)
		}
	}
}

// faults are what each alert is for.
var faults = map[string]func(s *realtime.Stats){
	"RealtimePublishFails":     func(s *realtime.Stats) { s.Publish.Outcomes["timeout"] += 50 },
	"RealtimePublishSlow":      func(s *realtime.Stats) { observe(&s.Publish.Time, 3*time.Second, 50) },
	"RealtimeDeliverySlow":     func(s *realtime.Stats) { observe(&s.WebSocket.Latency, 3*time.Second, 500) },
	"RealtimeLogLags":          func(s *realtime.Stats) { observe(&s.Follow.Lag, 10*time.Second, 100) },
	"RealtimeLogFails":         func(s *realtime.Stats) { s.Follow.Failures++ },
	"RealtimeEventsLost":       func(s *realtime.Stats) { s.History.Resets["epoch"]++ },
	"RealtimeEphemeralLost":    func(s *realtime.Stats) { s.Ephemeral.Lost += 10 },
	"RealtimeHistoryShort":     func(s *realtime.Stats) { s.History.Age = 20 * time.Second; s.History.Evicted["bytes"] += 10 },
	"RealtimeResets":           func(s *realtime.Stats) { s.REN.Resets["evicted"] += 10 },
	"RealtimeSlowReaders":      func(s *realtime.Stats) { s.WebSocket.Ended["slow"] += 5 },
	"RealtimePanics":           func(s *realtime.Stats) { s.WebSocket.Ended["internal"]++ },
	"RealtimeRefusals":         func(s *realtime.Stats) { s.Refusals["rate_limited"] += 200 },
	"RealtimePolicyFails":      func(s *realtime.Stats) { s.Policy.Functions["allow"].Outcomes["timeout"] += 5 },
	"RealtimeBackendAbandoned": func(s *realtime.Stats) { s.Backend.Abandoned = 20 },
	"RealtimePresenceFails":    func(s *realtime.Stats) { s.Presence.Failures++ },
	"RealtimeNodeGivenUp":      func(s *realtime.Stats) { s.Presence.NodesGone++ },
	"RealtimeGroupLags":        func(s *realtime.Stats) { group(s, func(g *realtime.GroupStats) { g.LagTime = 2 * time.Minute }) },
	"RealtimeGroupNotHeld":     func(s *realtime.Stats) { group(s, func(g *realtime.GroupStats) { g.Held = false }) },
	"RealtimeDeadLetters":      func(s *realtime.Stats) { group(s, func(g *realtime.GroupStats) { g.DeadLetters++ }) },
	"RealtimeGroupMissed":      func(s *realtime.Stats) { group(s, func(g *realtime.GroupStats) { g.Missed["evicted"]++ }) },
}

// Each alert fires at the fault that it is for, and never on a usual day.
func TestAlerts(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile("../../../metrics/prometheus/alerts.yaml", false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	usual := record(t, func(*realtime.Stats) {})
	alerts := make(map[string]bool)
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			alerts[rule.Alert] = true
			t.Run(rule.Alert, func(t *testing.T) {
				if rule.Annotations["reason"] == "" || rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
					t.Errorf("%+v lacks its reason, summary or severity", rule)
				}
				names(t, rule.Expr)
				if got := usual.ask(rule.Expr); len(got) > 0 {
					t.Errorf("fires on a usual day: %v", got)
				}
				fault := faults[rule.Alert]
				if fault == nil {
					t.Fatal("no fault is known that it is for")
				}
				got := record(t, fault).ask(rule.Expr)
				if len(got) != 1 {
					t.Fatalf("the fault yields %v, want one alert", got)
				}
				for name := range strings.SplitSeq(rule.Annotations["summary"], "$labels.") {
					name, _, _ = strings.Cut(name, " ")
					if strings.HasPrefix(rule.Annotations["summary"], name) {
						continue // what comes before the first one
					}
					if got[0].Metric.Get(name) == "" {
						t.Errorf("the summary names the label %q, which %v has not", name, got[0].Metric)
					}
				}
			})
		}
	}
	for name := range faults {
		if !alerts[name] {
			t.Errorf("there is no alert %s", name)
		}
	}
}
