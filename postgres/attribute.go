package postgres

import (
	"context"
	"fmt"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// attributePrefix marks the logical messages of [Attribute].
const attributePrefix = "maravilla.realtime"

// Attribute says who causes the changes that tx makes from now on: the browser tab whose
// request ctx is of (see [realtime.Realtime.Attribute]), or [realtime.FromClient], and
// the user of [realtime.AsUser]. The events that a [Source] makes of them then have that
// tab as their source, so that it recognises them as its own, and that user. Call it before the
// changes. It needs Postgres 14, and no privilege.
//
// It is one statement, which writes a small message into the server's log of writes, and
// is gone if tx rolls back. Only a tag of the client's id is written.
//
// Errors are those of [realtime.EventEntry] for the options, and of the database; after
// one of the latter tx can only be rolled back.
func Attribute(ctx context.Context, tx Tx, opts ...realtime.EventOption) error {
	e, err := realtime.EventEntry(ctx, realtime.RenEvent{Type: backend.DB, Resource: backend.DB}, opts...)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `select pg_logical_emit_message(true, $1, $2::bytea)`, attributePrefix, e.Data); err != nil {
		return fmt.Errorf("postgres: attribute a transaction: %w", err)
	}
	return nil
}
