//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// sourced starts a server of its own, with fsync, and a source of a table.
func sourced(b *testing.B) *followed {
	w := newFollowed(b, pgserver.Start(b, "wal_level=logical", "max_connections=200"), published("orders", orders)...)
	w.source(postgres.SourceOptions{})
	w.streaming()
	w.log = enginetest.Follow(b, w.b, head(b, w.b))
	return w
}

// BenchmarkSource inserts a row, and waits for its event at another node than the one
// that follows the slot.
func BenchmarkSource(b *testing.B) {
	w := sourced(b)
	var took []time.Duration
	id := 0
	for b.Loop() {
		id++
		w.do(fmt.Sprintf(`insert into orders values (%d)`, id))
		began := time.Now() // it has committed
		w.log.Next(b)
		took = append(took, time.Since(began))
	}
	report(b, took)
}

// BenchmarkSourceRows inserts rows by one statement, and waits for the event of the last.
func BenchmarkSourceRows(b *testing.B) {
	w := sourced(b)
	const rows = 5000
	ended := make(chan struct{}, 1)
	count := 0
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_ = w.b.Follow(ctx, head(b, w.b), func(recs []backend.Record) {
			if count += len(recs); count >= rows {
				count -= rows
				ended <- struct{}{}
			}
		})
	}()
	id := 0
	for b.Loop() {
		w.do(fmt.Sprintf(`insert into orders select generate_series(%d, %d)`, id, id+rows-1))
		id += rows
		<-ended
	}
	b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
}
