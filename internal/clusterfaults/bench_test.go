package clusterfaults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// measured are the engines that are compared in one run: one server each, as it comes,
// except that Redis has what it answered for on disk, as Postgres does.
var measured = []struct {
	name  string
	start func(testing.TB) *engine
}{
	{"NATS", oneNATS},
	{"Redis", oneRedis},
	{"Postgres", func(t testing.TB) *engine { return onlyPostgres(t, "fsync=on") }},
}

// nodesOf returns nodes of an engine that are in this process.
func nodesOf(b *testing.B, e *engine, n int) (nodes []backend.Backend) {
	b.Helper()
	for range n {
		node, err := e.config(e.proxied).open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = node.Close(context.Background()) })
		nodes = append(nodes, node)
	}
	return nodes
}

// report reports the median and the 99th percentile, and the rate.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per-s")
}

// BenchmarkAppend appends 230 bytes at one node.
func BenchmarkAppend(b *testing.B) {
	for _, e := range measured {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", e.name, callers), func(b *testing.B) {
				node := nodesOf(b, e.start(b), 1)[0]
				data := make([]byte, 230)
				took := make([][]time.Duration, callers)
				next := make(chan struct{})
				var all sync.WaitGroup
				for i := range callers {
					all.Go(func() {
						for range next {
							began := time.Now()
							if _, err := node.Append(context.Background(), backend.Entry{Data: data}); err != nil {
								b.Error(err)
							}
							took[i] = append(took[i], time.Since(began))
						}
					})
				}
				for b.Loop() {
					next <- struct{}{}
				}
				close(next)
				all.Wait()
				report(b, slices.Concat(took...))
			})
		}
	}
}

// BenchmarkDelivery appends at one node and waits for the record at another.
func BenchmarkDelivery(b *testing.B) {
	for _, e := range measured {
		b.Run(e.name, func(b *testing.B) {
			nodes := nodesOf(b, e.start(b), 2)
			page, err := nodes[1].Read(b.Context(), backend.Position{}, 0)
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			delivered := make(chan struct{}, 1)
			var following sync.WaitGroup
			following.Go(func() {
				_ = nodes[1].Follow(ctx, page.Head, func(recs []backend.Record) { // until it is stopped
					for range recs {
						delivered <- struct{}{}
					}
				})
			})
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := nodes[0].Append(b.Context(), backend.Entry{Data: make([]byte, 230)}); err != nil {
					b.Fatal(err)
				}
				<-delivered
				took = append(took, time.Since(began))
			}
			stop()
			following.Wait()
			report(b, took)
		})
	}
}
