// Package memory is the backend of one process. Its log and records are in memory,
// and are lost when the process ends.
//
// It starts no goroutine and no timer. A follower runs in the goroutine that called
// Follow. Records that are too old are removed when the log is used next.
package memory

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Limits bound what a log retains. The first one reached counts.
type Limits struct {
	Records int           // 0: 65,536
	Bytes   int64         // of the records, with their overhead; 0: 64 MiB
	Age     time.Duration // 0: 5 minutes
}

func (l Limits) withDefaults() Limits {
	if l.Records <= 0 {
		l.Records = 1 << 16
	}
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Age <= 0 {
		l.Age = 5 * time.Minute
	}
	return l
}

// Backend implements [backend.Backend].
type Backend struct {
	*eventLog
	*store
}

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.SingleProcess = (*Backend)(nil)
)

// New returns an empty backend. Its epoch is the time in microseconds, so that
// positions grow from one process to the next.
func New(limits Limits) *Backend {
	l := newEventLog(limits.withDefaults())
	return &Backend{l, newStore(l)}
}

// SingleProcess implements [backend.SingleProcess].
func (b *Backend) SingleProcess() bool { return true }

// Close ends every running Follow and fails every later call. It does not wait for
// sinks to return. Closing again does nothing.
func (b *Backend) Close(context.Context) error {
	b.close()
	return nil
}
