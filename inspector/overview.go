package inspector

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// sample is what the charts show of one moment. Rates are per second since the sample
// before it.
type sample struct {
	At        int64   `json:"at"` // milliseconds since the Unix epoch
	REN       int     `json:"ren"`
	WebSocket int     `json:"webSocket"`
	Writing   int     `json:"writing"`
	Published float64 `json:"published"`
	Delivered float64 `json:"delivered"`
	Refused   float64 `json:"refused"`
	Latency   float64 `json:"latency"` // p99, in milliseconds
}

const (
	sampleEvery = time.Second
	maxSamples  = 300
)

// history has the samples that were taken while somebody looked.
type history struct {
	mu      sync.Mutex
	samples []sample
	last    realtime.Stats
	at      time.Time
}

// add takes a sample, unless the last one is new, and returns all. The first has no rates:
// nobody knows how fast it was before.
func (h *history) add(s realtime.Stats, now time.Time) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := now.Sub(h.at)
	if since < sampleEvery {
		return slices.Clone(h.samples)
	}
	if h.at.IsZero() {
		h.last = s
	}
	if len(h.samples) == maxSamples {
		h.samples = slices.Delete(h.samples, 0, 1)
	}
	h.samples = append(h.samples, between(h.last, s, now, since.Seconds()))
	h.last, h.at = s, now
	return slices.Clone(h.samples)
}

// between returns the sample for the time between two snapshots.
func between(a, b realtime.Stats, now time.Time, seconds float64) sample {
	rate := func(a, b uint64) float64 { return math.Round(float64(b-a)/seconds*10) / 10 }
	return sample{
		At: now.UnixMilli(), REN: b.REN.Open, WebSocket: b.WebSocket.Open, Writing: b.REN.Writing + b.WebSocket.Writing,
		Published: rate(sum(a.Publish.Outcomes), sum(b.Publish.Outcomes)),
		Delivered: rate(a.REN.Delivered+a.WebSocket.Delivered, b.REN.Delivered+b.WebSocket.Delivered),
		Refused:   rate(sum(a.Refusals), sum(b.Refusals)),
		Latency:   quantile(0.99, counts(a), counts(b)),
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// counts are the buckets of the latency of both kinds of connections.
func counts(s realtime.Stats) []uint64 {
	all := slices.Clone(s.REN.Latency.Counts)
	for i, n := range s.WebSocket.Latency.Counts {
		all[i] += n
	}
	return all
}

// quantile returns the upper bound of the bucket with the q-th of the durations that
// came between two snapshots, in milliseconds; 0 if none came.
func quantile(q float64, before, after []uint64) float64 {
	var total, seen uint64
	for i := range after {
		total += after[i] - before[i]
	}
	bounds := realtime.HistogramBounds()
	for i := range after {
		seen += after[i] - before[i]
		if total > 0 && float64(seen) >= q*float64(total) {
			return float64(bounds[min(i, len(bounds)-1)].Microseconds()) / 1000
		}
	}
	return 0
}

// concern is something that an operator may have to look at.
type concern struct {
	Bad  bool   `json:"bad"`  // look now
	Text string `json:"text"` // in words
	View string `json:"view"` // of the page, that shows more
}

type overview struct {
	Node     string    `json:"node"`
	Nodes    []string  `json:"nodes"`
	Health   string    `json:"health"` // an error; "" if there is none
	Started  int64     `json:"started"`
	Users    int       `json:"users"`
	Channels int       `json:"channels"`
	Members  int       `json:"members"`
	Events   int       `json:"events"` // in the history
	Bytes    int64     `json:"bytes"`
	Age      float64   `json:"age"` // seconds
	Samples  []sample  `json:"samples"`
	Concerns []concern `json:"concerns"`
	Ended    []named   `json:"ended"`   // connections, by reason
	Refused  []named   `json:"refused"` // by code
}

type named struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
}

// overviewTime is the time for the questions to the backend.
const overviewTime = 2 * time.Second

func (in *inspector) overview(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), overviewTime)
	defer cancel()
	s := in.rt.Stats()
	o := overview{
		Node: in.rt.Node(), Started: s.Started.UnixMilli(), Users: s.Users, Channels: s.Channels, Members: s.Presence.Members,
		Events: s.History.Events, Bytes: s.History.Bytes, Age: s.History.Age.Seconds(),
		Samples: in.history.add(s, time.Now()), Ended: most(s.REN.Ended, s.WebSocket.Ended), Refused: most(s.Refusals),
	}
	if err := in.rt.Health(ctx); err != nil {
		o.Health = err.Error()
	}
	nodes, err := in.rt.Nodes(ctx)
	if err != nil && o.Health == "" && !errors.Is(err, context.Canceled) {
		o.Health = err.Error()
	}
	o.Nodes = nodes
	o.Concerns = concerns(s, o)
	answer(w, o)
}

// most lists what has happened, the most frequent first.
func most(maps ...map[string]uint64) (list []named) {
	total := map[string]uint64{}
	for _, m := range maps {
		for name, n := range m {
			total[name] += n
		}
	}
	for name, n := range total {
		if n > 0 {
			list = append(list, named{name, n})
		}
	}
	slices.SortFunc(list, func(a, b named) int {
		if a.N != b.N {
			return int(math.Copysign(1, float64(b.N)-float64(a.N)))
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}
