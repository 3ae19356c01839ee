package clusterfaults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// measured are the engines that are compared in one run, each as it comes, except that
// Redis has what it answered for on disk, as Postgres does.
var measured = []struct {
	name  string
	start func(testing.TB) *engine
}{
	{"NATS", oneNATS},
	{"NATS_of_three", threeNATS},
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

// each calls f once for each iteration, from so many goroutines, and reports how long
// the calls took.
func each(b *testing.B, callers int, f func(i int) error) {
	took := make([][]time.Duration, callers)
	next := make(chan int)
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range next {
				began := time.Now()
				if err := f(i); err != nil {
					b.Error(err)
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		next <- i
	}
	close(next)
	all.Wait()
	report(b, slices.Concat(took...))
}

// report reports the median and the 99th percentile, and the rate.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per-s")
}

// BenchmarkAppend appends 230 bytes, from callers of one node or of three.
func BenchmarkAppend(b *testing.B) {
	for _, e := range measured {
		for _, c := range []struct{ nodes, callers int }{{1, 1}, {1, 64}, {3, 64}} {
			b.Run(fmt.Sprintf("%s/nodes=%d/callers=%d", e.name, c.nodes, c.callers), func(b *testing.B) {
				nodes := nodesOf(b, e.start(b), c.nodes)
				data := make([]byte, 230)
				each(b, c.callers, func(i int) error {
					_, err := nodes[i%len(nodes)].Append(context.Background(), backend.Entry{Data: data})
					return err
				})
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
			each(b, 1, func(int) error {
				_, err := nodes[0].Append(context.Background(), backend.Entry{Data: make([]byte, 230)})
				if err == nil {
					<-delivered
				}
				return err
			})
			stop()
			following.Wait()
		})
	}
}

// BenchmarkJoinLeave has users join a channel and leave it at once, at one of two nodes.
// It counts pairs. Either half is a change of a record and its event, in one step.
func BenchmarkJoinLeave(b *testing.B) {
	for _, e := range measured {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", e.name, callers), func(b *testing.B) {
				var nodes []*realtime.Realtime
				for _, engine := range nodesOf(b, e.start(b), 2) {
					rt, err := realtime.New(realtime.AllowAll(), &realtime.Options{Backend: engine, Logger: silent})
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = rt.Close(context.Background()) })
					nodes = append(nodes, rt)
				}
				each(b, callers, func(i int) error {
					p := nodes[i%2].Presence()
					channel, user := fmt.Sprint("room:", i%100), fmt.Sprint("user", i)
					if err := p.Join(context.Background(), channel, user, nil); err != nil {
						return err
					}
					return p.Leave(context.Background(), channel, user)
				})
			})
		}
	}
}
