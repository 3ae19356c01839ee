package db

import (
	"context"
	"database/sql"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
)

// within returns the backend if transactions of d can append to it, or nil. It asks
// the database until there was an answer.
func (d *DB) within(c *detach.Context) (backend.Transactional, error) {
	if known := d.asked.Load(); known != nil {
		return known.Transactional, nil
	}
	known := &appender{}
	if pub, ok := d.pub.(interface {
		Transactional() (backend.Transactional, bool)
	}); ok {
		if t, ok := pub.Transactional(); ok {
			defer c.Bound(d.opts.AnswerTimeout)()
			shares, err := t.Shares(c, d.db)
			if err != nil {
				return nil, fault.Errorf("db: ask whether the log is in this database: %w", c.Explain(err))
			}
			if shares {
				known.Transactional = t
			}
		}
	}
	d.asked.Store(known)
	return known.Transactional, nil
}

// appender is the backend, where the log is in the same database, or nil.
type appender struct{ backend.Transactional }

// store makes the events part of a transaction.
func store(ctx context.Context, t backend.Transactional, tx *sql.Tx, events []realtime.RenEvent) error {
	if t == nil || len(events) == 0 {
		return nil
	}
	entries := make([]backend.Entry, len(events))
	for i, ev := range events {
		var err error
		if entries[i], err = realtime.EventEntry(ctx, ev); err != nil {
			return fault.Errorf("db: %w", err)
		}
	}
	return t.AppendIn(ctx, tx, entries)
}

// flush has the events of a transaction that has committed appended now, so that what
// is published next comes after them. If it fails, they come a little later.
func flush(ctx context.Context, t backend.Transactional, events []realtime.RenEvent) {
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outbox.Patience)
	defer cancel()
	_ = t.Flush(ctx)
}
