package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// Tx is a transaction of the host: a pgx.Tx, of a connection or of a pool, or what
// [SQL] returns.
type Tx interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// SQL returns a transaction of database/sql as a [Tx]. The driver must be one for
// Postgres.
func SQL(tx *sql.Tx) Tx { return sqlTx{tx} }

type sqlTx struct{ *sql.Tx }

func (tx sqlTx) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	_, err := tx.ExecContext(ctx, sql, arguments...)
	return pgconn.CommandTag{}, err
}

// Publish publishes to a channel when tx commits. If tx rolls back, nothing is
// published. It needs no Backend in this process: a node of the deployment delivers
// what it finds. Errors are those of [realtime.MessageEntry] and of the database; after one of
// the latter tx can only be rolled back.
//
// It is one plain INSERT, which waits for nobody. The order of two messages is that of
// the calls where they are in one transaction, or where the second transaction waited for the first
// before it published, for example for a row that both change. So publish after the
// change.
//
// A message is in the log once. [realtime.WithID] works as elsewhere.
func Publish(ctx context.Context, tx Tx, channel string, data any, opts ...realtime.EventOption) error {
	return Outbox{}.Publish(ctx, tx, channel, data, opts...)
}

// Emit announces an event when tx commits, as [Publish] does a message.
func Emit(ctx context.Context, tx Tx, ev realtime.RenEvent, opts ...realtime.EventOption) error {
	return Outbox{}.Emit(ctx, tx, ev, opts...)
}

// Outbox is where transactions leave what they publish. The zero Outbox is that of
// [DefaultSchema].
type Outbox struct {
	Schema string // of the deployment; "": DefaultSchema
}

// Publish is [Publish] to the deployment of o.
func (o Outbox) Publish(ctx context.Context, tx Tx, channel string, data any, opts ...realtime.EventOption) error {
	e, err := realtime.MessageEntry(ctx, channel, data, opts...)
	if err != nil {
		return err
	}
	return o.insert(ctx, tx, e)
}

// Emit is [Emit] to the deployment of o.
func (o Outbox) Emit(ctx context.Context, tx Tx, ev realtime.RenEvent, opts ...realtime.EventOption) error {
	e, err := realtime.EventEntry(ctx, ev, opts...)
	if err != nil {
		return err
	}
	return o.insert(ctx, tx, e)
}

func (o Outbox) insert(ctx context.Context, tx Tx, e backend.Entry) error {
	schema, err := schemaOr(o.Schema)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, in(schema, `insert into "realtime".outbox (id, data) values ($1, $2)`), []byte(e.ID), e.Data); err != nil {
		return fmt.Errorf("postgres: publish in a transaction: %w", err)
	}
	return nil
}
