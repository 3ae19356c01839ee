package backend

import (
	"context"
	"database/sql"
)

// Transactional is implemented by a [Backend] that keeps the log in a database which
// the host may use as well. Transactions of the host can then append.
type Transactional interface {
	// Shares reports whether db is the database of the log. An error says that this is
	// not known now, or that the role of db lacks privileges that it needs.
	Shares(ctx context.Context, db *sql.DB) (bool, error)

	// AppendIn makes the entries part of tx. If tx commits, they are in the log soon
	// after, in the order of these calls where one transaction waited for another, and
	// each exactly once. If it rolls back, they never are.
	AppendIn(ctx context.Context, tx *sql.Tx, entries []Entry) error

	// Flush appends what transactions have committed before the call. Without it the
	// same happens a little later.
	Flush(ctx context.Context) error
}
