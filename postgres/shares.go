package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
)

var _ backend.Transactional = (*Backend)(nil)

// identity is where a log is: in which database, and which one of copies that have
// another name.
type identity struct{ installation, database string }

const whoAreYou = `select installation::text, current_database()::text from "realtime".state`

// Shares implements [backend.Transactional].
func (b *Backend) Shares(ctx context.Context, db *sql.DB) (bool, error) {
	var own, theirs identity
	if err := b.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, in(b.schema, whoAreYou)).Scan(&own.installation, &own.database)
	}); err != nil {
		return false, err
	}
	err := db.QueryRowContext(ctx, in(b.schema, whoAreYou)).Scan(&theirs.installation, &theirs.database)
	var refused interface{ SQLState() string } // of every driver for Postgres
	switch {
	case err == nil:
		if own != theirs {
			return false, nil
		}
		return true, b.mayInsert(ctx, db)
	case errors.As(err, &refused):
		switch code := refused.SQLState(); code {
		case insufficientPrivilege:
			return false, b.needsGrants(ctx, db, err)
		case "42P01", "3F000": // there is no such table, or schema
			return false, nil
		}
		return false, fmt.Errorf("postgres: %w", err)
	case db.PingContext(ctx) == nil: // it answers, and is something else
		return false, nil
	}
	return false, fmt.Errorf("postgres: %w", err)
}

func (b *Backend) mayInsert(ctx context.Context, db *sql.DB) error {
	var may bool
	if err := db.QueryRowContext(ctx, in(b.schema, `select has_table_privilege('"realtime".outbox', 'insert')`)).Scan(&may); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if !may {
		return b.needsGrants(ctx, db, errors.New("no insert on outbox"))
	}
	return nil
}

// needsGrants returns an error that says what to grant to the role of db.
func (b *Backend) needsGrants(ctx context.Context, db *sql.DB, cause error) error {
	var role string
	if err := db.QueryRowContext(ctx, `select current_user::text`).Scan(&role); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	statements, err := PublisherGrants(b.schema, role)
	return errors.Join(fmt.Errorf("postgres: the role %q must be able to publish; the owner of the schema %s grants it with\n%s%w", role, b.schema, statements, cause), err)
}

// AppendIn implements [backend.Transactional].
func (b *Backend) AppendIn(ctx context.Context, tx *sql.Tx, entries []backend.Entry) error {
	for _, e := range entries {
		if len(e.Data) > backend.MaxData {
			return backend.ErrTooLarge
		}
		if err := (Outbox{b.schema}).insert(ctx, SQL(tx), e); err != nil {
			return err
		}
	}
	return nil
}

// Flush implements [backend.Transactional].
func (b *Backend) Flush(ctx context.Context) error { return b.fence(ctx) }
