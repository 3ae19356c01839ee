package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

// transaction is a transaction that ends with its context, and the connection that
// it uses alone. BEGIN, COMMIT and ROLLBACK have deadlines of their own.
type transaction struct {
	*sql.Tx
	ctx  *detach.Context
	conn *sql.Conn
	most time.Duration // for an answer
	// The driver has panicked. Package sql then keeps the lock of the connection, so that
	// closing it would never return.
	panicked bool
}

// begin begins a transaction. Like [sql.DB.BeginTx], it tries again if a connection
// of the pool turns out to be dead.
func (d *DB) begin(c *detach.Context, opts *sql.TxOptions) (t *transaction, err error) {
	defer c.Bound(d.opts.AnswerTimeout)()
	for range 3 {
		if t, err = d.beginOnce(c, opts); !errors.Is(err, driver.ErrBadConn) {
			break
		}
	}
	return t, c.Explain(err)
}

func (d *DB) beginOnce(c *detach.Context, opts *sql.TxOptions) (*transaction, error) {
	conn, err := d.db.Conn(c)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(c, opts)
	if err != nil {
		_ = conn.Close() // the error of BEGIN is the one to return
		return nil, err
	}
	return &transaction{Tx: tx, ctx: c, conn: conn, most: d.opts.AnswerTimeout}, nil
}

// commit commits and releases the connection. An error means that the database did
// not commit, unless it matches [ErrMaybeCommitted].
func (t *transaction) commit() error {
	defer t.ctx.Bound(t.most)()
	defer t.release()
	err := t.call(t.Commit)
	if err == nil {
		return nil
	}
	if t.panicked || lost(err) || t.conn.PingContext(t.ctx) != nil {
		return fault.Errorf("%w: %w", ErrMaybeCommitted, detach.Opaque(t.ctx.Explain(err)))
	}
	return err
}

// end rolls back and releases the connection, unless commit has released it.
func (t *transaction) end() error {
	defer t.ctx.Bound(t.most)()
	defer t.release()
	return t.call(t.Rollback)
}

// call calls a method of the driver, whose panic is an error: nobody else could tell what
// became of the transaction.
func (t *transaction) call(f func() error) error {
	err := guard.Call(f)
	t.panicked = t.panicked || errors.Is(err, guard.ErrPanic)
	return err
}

func (t *transaction) release() {
	if !t.panicked {
		_ = t.conn.Close() // the connection goes back to the pool, or is gone
	}
}

// rollback rolls back because of err.
func (t *transaction) rollback(err error) error {
	if failed := t.end(); failed != nil && !errors.Is(failed, sql.ErrTxDone) {
		return errors.Join(err, fault.Errorf("db: rollback: %w", failed))
	}
	return err
}

// lost reports whether the outcome of a COMMIT is unknown: its error says that the
// request or the answer was lost, or that the function has ended the transaction
// itself, or the connection is dead. On a live connection any other error is the
// answer of the database, which did not commit.
func lost(err error) bool {
	for _, cause := range []error{
		context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
		driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	var broken net.Error // also the system's, such as "connection reset by peer"
	return errors.As(err, &broken)
}
