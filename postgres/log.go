package postgres

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
)

// Append implements [backend.Log].
func (b *Backend) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	r := &request{}
	if err := r.entry(&e); err != nil {
		return backend.Position{}, err
	}
	if err := b.writer.do(ctx, r); err != nil {
		return backend.Position{}, err
	}
	return r.pos, nil
}

// entry sets what r appends.
func (r *request) entry(e *backend.Entry) error {
	if e == nil {
		return nil
	}
	if len(e.Data) > backend.MaxData {
		return backend.ErrTooLarge
	}
	r.id, r.data = []byte(e.ID), e.Data
	if r.data == nil {
		r.data = []byte{}
	}
	return nil
}

// pageMost is how many records are read at once.
const pageMost = 512

// Read implements [backend.Log].
func (b *Backend) Read(ctx context.Context, after backend.Position, limit int) (page backend.Page, err error) {
	for {
		same := false
		err = b.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			page, same, err = b.page(ctx, conn, after, min(max(limit, 0), pageMost))
			return err
		})
		if err != nil || same {
			return page, err
		}
		if err := b.fence(ctx); err != nil {
			return page, err
		}
	}
}

// number is a part of a position as the database has it. Clients can make up greater
// ones: they stay in the future.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// fence has the epoch raised, if there is a reason, and what is in the outbox moved to
// the log.
func (b *Backend) fence(ctx context.Context) error { return b.writer.do(ctx, &request{}) }

// raise agrees with the other nodes on an epoch greater than known, since the log has
// lost what this node has read.
func (b *Backend) raise(ctx context.Context, known uint64) error {
	b.writer.read(backend.Position{Epoch: known + 1})
	return b.fence(ctx)
}

// rereads is how often a page with a gap is read again: a table of the ring that is
// truncated meanwhile seems empty to who began to read before.
const rereads = 3

// page reads records and bounds, as they are at one moment. same is false if the
// server is on another timeline than the epoch.
func (b *Backend) page(ctx context.Context, conn *pgx.Conn, after backend.Position, limit int) (page backend.Page, same bool, err error) {
	for range rereads {
		page, same, err = b.pageOnce(ctx, conn, after, limit)
		if err != nil || !gap(page, after, limit) {
			return page, same, err
		}
	}
	if len(page.Records) > 0 {
		page.Records = page.Records[:run(page.Records)]
		page.First = page.Records[0].Pos
	}
	return page, same, nil
}

// gap reports whether a page lacks records that its bounds promise.
func gap(page backend.Page, after backend.Position, limit int) bool {
	from := page.First
	if after.Compare(page.First) >= 0 {
		from = after.Next()
	}
	if len(page.Records) == 0 {
		return limit > 0 && from.Compare(page.Head) <= 0
	}
	return page.Records[0].Pos != from || run(page.Records) < len(page.Records)
}

// run returns how many records follow the first one without a gap, with it.
func run(records []backend.Record) int {
	for i := range records[1:] {
		if records[i+1].Pos != records[i].Pos.Next() {
			return i + 1
		}
	}
	return len(records)
}

func (b *Backend) pageOnce(ctx context.Context, conn *pgx.Conn, after backend.Position, limit int) (page backend.Page, same bool, err error) {
	rows, err := conn.Query(ctx, in(b.schema, `select * from "realtime".read($1, $2, $3)`), number(after.Epoch), number(after.Seq), limit)
	if err != nil {
		return page, false, err
	}
	var epoch, first, head int64
	var seq, recordEpoch, cause *int64
	var id, data []byte
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&epoch, &first, &head, &same, &seq, &recordEpoch, &id, &cause, &at, &data}, func() error {
		if seq == nil {
			return nil
		}
		page.Records = append(page.Records, backend.Record{
			Entry: backend.Entry{ID: string(id), Data: append([]byte{}, data...)},
			Pos:   backend.Position{Epoch: uint64(*recordEpoch), Seq: uint64(*seq)},
			Cause: backend.Revision(*cause), Time: *at,
		})
		return nil
	})
	page.First = backend.Position{Epoch: uint64(epoch), Seq: uint64(first)}
	page.Head = backend.Position{Epoch: uint64(epoch), Seq: uint64(head)}
	return page, same, err
}
