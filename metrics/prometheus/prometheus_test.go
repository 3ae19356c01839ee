package prometheus_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	realtimeprom "github.com/maravilla-realtime/realtime/metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Serve the figures of a Realtime where Prometheus scrapes them.
func Example() {
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		panic(err)
	}
	defer rt.Close(context.Background())

	registry := prometheus.NewRegistry()
	registry.MustRegister(realtimeprom.New(rt))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})

	_ = rt.Publish(context.Background(), "room:42", "hello")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, `maravilla_realtime_publishes_total{outcome="ok"}`) {
			fmt.Print(line)
		}
	}
	// Output: maravilla_realtime_publishes_total{outcome="ok"} 1
}

// fixed are figures that do not change.
type fixed realtime.Stats

func (f fixed) Stats() realtime.Stats { return realtime.Stats(f) }

func TestCollector(t *testing.T) {
	counts := make([]uint64, len(realtime.HistogramBounds())+1)
	counts[0], counts[3], counts[len(counts)-1] = 1, 2, 4
	s := fixed{
		REN:     realtime.ConnectionStats{Open: 3, Bytes: 99},
		History: realtime.HistoryStats{Age: 1500 * time.Millisecond, Evicted: map[string]uint64{"age": 7}},
		Publish: realtime.PublishStats{Time: realtime.Histogram{Counts: counts, Sum: 2 * time.Second}},
		Groups:  map[string]realtime.GroupStats{"work": {Held: true}, "other": {}},
	}
	want := `
# HELP maravilla_realtime_connections Open connections.
# TYPE maravilla_realtime_connections gauge
maravilla_realtime_connections{kind="ren"} 3
maravilla_realtime_connections{kind="websocket"} 0
# HELP maravilla_realtime_group_held 1 on the node that handles the events of the group, else 0.
# TYPE maravilla_realtime_group_held gauge
maravilla_realtime_group_held{group="other"} 0
maravilla_realtime_group_held{group="work"} 1
# HELP maravilla_realtime_history_age_seconds Time since the oldest event that the node keeps came.
# TYPE maravilla_realtime_history_age_seconds gauge
maravilla_realtime_history_age_seconds 1.5
# HELP maravilla_realtime_history_evicted_total Events that the history has no longer, by the bound that they exceeded.
# TYPE maravilla_realtime_history_evicted_total counter
maravilla_realtime_history_evicted_total{bound="age"} 7
# HELP maravilla_realtime_publish_duration_seconds Time from the call to the answer of the backend.
# TYPE maravilla_realtime_publish_duration_seconds histogram
maravilla_realtime_publish_duration_seconds_bucket{le="0.0001"} 1
maravilla_realtime_publish_duration_seconds_bucket{le="0.00025"} 1
maravilla_realtime_publish_duration_seconds_bucket{le="0.0005"} 1
maravilla_realtime_publish_duration_seconds_bucket{le="0.001"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.0025"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.005"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.01"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.025"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.05"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.1"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.25"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="0.5"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="1"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="2.5"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="5"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="10"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="30"} 3
maravilla_realtime_publish_duration_seconds_bucket{le="+Inf"} 7
maravilla_realtime_publish_duration_seconds_sum 2
maravilla_realtime_publish_duration_seconds_count 7
# HELP maravilla_realtime_sent_bytes_total Bytes that were written to clients.
# TYPE maravilla_realtime_sent_bytes_total counter
maravilla_realtime_sent_bytes_total{kind="ren"} 99
maravilla_realtime_sent_bytes_total{kind="websocket"} 0
`
	err := testutil.CollectAndCompare(realtimeprom.New(s), strings.NewReader(want),
		"maravilla_realtime_connections", "maravilla_realtime_group_held", "maravilla_realtime_history_age_seconds",
		"maravilla_realtime_history_evicted_total", "maravilla_realtime_publish_duration_seconds", "maravilla_realtime_sent_bytes_total")
	if err != nil {
		t.Error(err)
	}
}

// What Prometheus itself finds wrong with names, units and help.
func TestLint(t *testing.T) {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	problems, err := testutil.CollectAndLint(realtimeprom.New(rt))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if n := testutil.CollectAndCount(realtimeprom.New(rt)); n < 150 {
		t.Errorf("only %d series", n)
	}
}
