package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
)

// pollEvery is how often a follower looks although nobody notified it.
const pollEvery = time.Second

// Follow implements [backend.Log]. It has a connection of its own, on which it is
// notified. After whatever goes wrong there is another one, which begins with the last
// record that was passed on, so that it can be compared.
func (b *Backend) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	f := &follower{Backend: b, last: backend.Record{Pos: after}, sink: sink}
	for {
		err := f.listen(ctx)
		var lost *backend.LostError
		if errors.As(err, &lost) {
			return lost
		}
		if err := b.life.Pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// follower is one call of Follow.
type follower struct {
	*Backend
	last    backend.Record // that was passed on; with Data nil only its position is known
	compare bool           // the next page begins with last, or it is lost
	sink    func([]backend.Record)
}

// listen passes on records until something goes wrong.
func (f *follower) listen(ctx context.Context) error {
	conn, err := f.dedicated(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if err := bounded(ctx, func(ctx context.Context) error {
		_, err := conn.Exec(ctx, in(f.schema, `listen "realtime"`))
		return err
	}); err != nil {
		return err
	}
	f.compare = f.last.Data != nil
	for {
		n, err := f.pass(ctx, conn)
		if err == nil && n == 0 {
			err = wait(ctx, conn, pollEvery)
		}
		if err != nil {
			return err
		}
	}
}

// pass reads a page and passes it on. It returns how many records there were.
func (f *follower) pass(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	after := f.last.Pos
	if f.compare {
		after.Seq--
	}
	var page backend.Page
	same := false
	if err := bounded(ctx, func(ctx context.Context) error {
		page, same, err = f.page(ctx, conn, after, pageMost)
		return err
	}); err != nil {
		return 0, err
	}
	if !same {
		return 1, f.fence(ctx) // and read again
	}
	if err := f.check(ctx, &page); err != nil {
		return 0, err
	}
	if len(page.Records) == 0 {
		return 0, nil
	}
	f.last = page.Records[len(page.Records)-1]
	f.writer.read(f.last.Pos)
	f.sink(page.Records)
	return len(page.Records), nil
}

// check holds a page to what was passed on: it must go on from there. It drops the
// record that is there to be compared.
func (f *follower) check(ctx context.Context, page *backend.Page) error {
	last := f.last.Pos
	if last == (backend.Position{}) && page.First.Seq == 1 {
		f.last.Pos.Epoch = page.Head.Epoch
		last = f.last.Pos
	}
	before := page.First
	before.Seq--
	switch {
	case page.Head.Epoch != last.Epoch:
		return &backend.LostError{Next: before}
	case page.Head.Seq < last.Seq && f.last.Data == nil: // from the future: nothing is lost
		return &backend.LostError{Next: page.Head}
	case page.Head.Seq < last.Seq:
		return errors.Join(f.raise(ctx, last.Epoch), errTail)
	case page.First.Compare(last.Next()) > 0:
		return &backend.LostError{Next: before}
	}
	if !f.compare {
		return nil
	}
	f.compare = false
	if len(page.Records) == 0 || page.Records[0].Pos != last {
		return nil // it was evicted meanwhile, or the page goes on after it
	}
	if r := page.Records[0]; r.ID != f.last.ID || string(r.Data) != string(f.last.Data) || !r.Time.Equal(f.last.Time) {
		return errors.Join(f.raise(ctx, last.Epoch), errTail)
	}
	page.Records = page.Records[1:]
	return nil
}

// errTail makes a follower begin again, and find a greater epoch.
var errTail = errors.New("postgres: the log has lost records that were read")

// bounded calls f, which must not take longer than a network that works.
func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	return f(ctx)
}

// dedicated returns a connection that is not of the pool, for notifications or locks.
func (b *Backend) dedicated(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	c, err := b.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return c.Hijack(), nil
}

// hangUp closes a dedicated connection.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), retryAfter)
	defer cancel()
	_ = conn.Close(ctx) // the connection is no longer of use
}

// wokenKey is where a connection keeps whether it was notified since the last wait.
const wokenKey = "notified"

// wait waits until the connection is notified, or for d.
func wait(ctx context.Context, conn *pgx.Conn, d time.Duration) error {
	data := conn.PgConn().CustomData()
	if data[wokenKey] == nil {
		waiting, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		if err := conn.PgConn().WaitForNotification(waiting); err != nil && (waiting.Err() == nil || ctx.Err() != nil) {
			return err
		}
	}
	delete(data, wokenKey)
	return nil
}
