package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// lookEvery is how often the elected node looks into the outbox, whose rows come
	// without a notification.
	lookEvery = 10 * time.Millisecond
	// helpEvery is how often the others do, and try to be elected: the elected one may
	// hang.
	helpEvery = time.Second
)

// tend looks after the outbox, and ages the log, until the backend is closed.
func (b *Backend) tend() {
	for !b.life.Ended() {
		_ = b.tendOnce(b.life.Context()) // of a connection; appends and reads tell their callers
		_ = b.life.Pause(b.life.Context(), retryAfter)
	}
}

// tendOnce does so until something goes wrong. A lock of its connection says who is
// elected, so that the server ends an election as soon as it sees the node gone.
func (b *Backend) tendOnce(ctx context.Context) error {
	conn, err := b.dedicated(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	elected, aged := false, time.Now()
	for {
		if !elected {
			if elected, err = b.flag(ctx, conn, `select pg_try_advisory_lock(hashtextextended('maravilla realtime outbox "realtime"', 0))`); err != nil {
				return err
			}
		}
		waiting, err := b.flag(ctx, conn, `select exists (select from "realtime".outbox)`)
		if err != nil {
			return err
		}
		if waiting || elected && time.Since(aged) > b.options.Age/4 {
			aged = time.Now()
			if err := bounded(ctx, b.fence); err != nil {
				return err
			}
		}
		pause := helpEvery
		if elected {
			pause = lookEvery
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flag asks for a truth.
func (b *Backend) flag(ctx context.Context, conn *pgx.Conn, sql string) (yes bool, err error) {
	err = bounded(ctx, func(ctx context.Context) error { return conn.QueryRow(ctx, in(b.schema, sql)).Scan(&yes) })
	return yes, err
}
