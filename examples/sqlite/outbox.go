package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime"
)

const outboxSchema = `
CREATE TABLE IF NOT EXISTS outbox (
	id    INTEGER PRIMARY KEY AUTOINCREMENT,
	event TEXT NOT NULL                      -- a RenEvent, as JSON
)`

// Outbox is a table of events that are still to be emitted. Transactions write
// their events into it, so that none is lost if the process dies right after the
// commit.
type Outbox struct {
	db  *sql.DB
	pub realtime.Publisher
}

// NewOutbox returns the outbox of a database, and makes its table if it is not
// there.
func NewOutbox(ctx context.Context, db *sql.DB, pub realtime.Publisher) (*Outbox, error) {
	_, err := db.ExecContext(ctx, outboxSchema)
	return &Outbox{db, pub}, err
}

// Add has an event emitted if, and after, the transaction has committed.
func (o *Outbox) Add(ctx context.Context, tx *sql.Tx, ev realtime.RenEvent) error {
	if err := ev.Validate(); err != nil {
		return err
	}
	event, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO outbox (event) VALUES ($1)`, event)
	return err
}

// Emit emits what is in the outbox, in its order. One process calls it at a time,
// one call after another: after each commit, when the process starts, and every few
// seconds for what failed. What fails stays for the next call. An event whose
// answer was lost is emitted again under the same id, which the log recognises for
// two minutes.
func (o *Outbox) Emit(ctx context.Context) error {
	for {
		var id int64
		var event []byte
		err := o.db.QueryRowContext(ctx, `SELECT id, event FROM outbox ORDER BY id LIMIT 1`).Scan(&id, &event)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		var ev realtime.RenEvent
		if err := json.Unmarshal(event, &ev); err != nil {
			return err
		}
		if err := o.pub.Emit(ctx, ev, realtime.WithID(fmt.Sprintf("outbox-%d", id))); err != nil {
			return err
		}
		if _, err := o.db.ExecContext(ctx, `DELETE FROM outbox WHERE id = $1`, id); err != nil {
			return err
		}
	}
}
