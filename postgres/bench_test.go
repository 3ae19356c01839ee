//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// large keeps as many records as there are by default.
func large(o *postgres.Options) { o.Events = 1 << 16 }

// BenchmarkAppend appends 230 bytes, from callers of one node or of three.
func BenchmarkAppend(b *testing.B) {
	url := pgserver.Start(b).URL("postgres")
	for _, c := range []struct{ nodes, callers int }{{1, 1}, {1, 64}, {3, 3}, {3, 64}, {3, 192}} {
		b.Run(fmt.Sprintf("nodes=%d/callers=%d", c.nodes, c.callers), func(b *testing.B) {
			schema := migrated(b, url)
			nodes := make([]*postgres.Backend, c.nodes)
			for i := range nodes {
				nodes[i] = open(b, url, schema, large)
			}
			data := make([]byte, 230)
			took := make([][]time.Duration, c.callers)
			next := make(chan struct{})
			var all sync.WaitGroup
			for i := range c.callers {
				all.Go(func() {
					for range next {
						began := time.Now()
						if _, err := nodes[i%len(nodes)].Append(context.Background(), backend.Entry{Data: data}); err != nil {
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

// report reports the median and the 99th percentile.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per-s")
}

// BenchmarkTransaction publishes in a transaction, and waits for the record at another
// node than the one that is elected.
func BenchmarkTransaction(b *testing.B) {
	url := pgserver.Start(b).URL("postgres")
	box := postgres.Outbox{Schema: migrated(b, url)}
	open(b, url, box.Schema, large)
	there := open(b, url, box.Schema, large)
	pool := database(b, url)
	f := follow(b, there, head(b, there))
	var took []time.Duration
	for b.Loop() {
		if err := pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error { return box.Publish(b.Context(), tx, "room", 1) }); err != nil {
			b.Fatal(err)
		}
		began := time.Now() // it has committed
		f.next(b)
		took = append(took, time.Since(began))
	}
	report(b, took)
}

// BenchmarkDelivery appends at one node and waits for the record at another.
func BenchmarkDelivery(b *testing.B) {
	url := pgserver.Start(b).URL("postgres")
	schema := migrated(b, url)
	here, there := open(b, url, schema, large), open(b, url, schema, large)
	f := follow(b, there, head(b, there))
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := here.Append(b.Context(), backend.Entry{Data: []byte("x")}); err != nil {
			b.Fatal(err)
		}
		f.next(b)
		took = append(took, time.Since(began))
	}
	report(b, took)
}
