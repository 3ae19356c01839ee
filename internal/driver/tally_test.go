package driver

import (
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/session"
)

// BenchmarkCounting measures what Stats costs a write to a client, beside what a write
// costs, which BenchmarkDeliver measures. Connections write at the same time.
func BenchmarkCounting(b *testing.B) {
	t := NewTally("ren", nil)
	buf := session.Buffer{Bytes: make([]byte, 200), Told: session.Told{Events: 1, Oldest: time.Now()}}
	b.RunParallel(func(pb *testing.PB) {
		by := t.Open()
		for pb.Next() {
			by.writing.Add(1)
			t.Sent(by, &buf, time.Now())
			by.writing.Add(-1)
		}
	})
}
