//go:build unix

package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// large keeps as many records as there are by default.
func large(o *postgres.Options) { o.Events = 1 << 16 }

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
	f := enginetest.Follow(b, there, head(b, there))
	var took []time.Duration
	for b.Loop() {
		if err := pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error { return box.Publish(b.Context(), tx, "room", 1) }); err != nil {
			b.Fatal(err)
		}
		began := time.Now() // it has committed
		f.Next(b)
		took = append(took, time.Since(began))
	}
	report(b, took)
}
