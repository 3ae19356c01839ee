package db_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

var errDown = errors.New("the log is down")

// diary is a database and a Publisher that write down, in order, what happens in
// both, and fail on command. The database has no tables: a statement is its text.
type diary struct {
	realtime.Publisher

	mu            sync.Mutex
	lines         []string
	failCommit    error
	failRollback  error
	panicRollback bool
	failEmit      map[string]error // by key
	commits       chan struct{}    // a commit waits for a receive, if there is one
	onCommit      func()           // called when the rows are there, and before the answer
	dead          error            // of a Ping
	failBegin     int              // that many find their connection dead
	hang          string           // "begin", "commit" or "rollback" ends with its context only
	attended      bool             // Emit ends with its context only
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// take returns what happened since the last call.
func (d *diary) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := strings.Join(d.lines, ", ")
	d.lines = nil
	return lines
}

func (d *diary) expect(t *testing.T, want string) {
	t.Helper()
	if got := d.take(); got != want {
		t.Errorf("it happened that %q, want %q", got, want)
	}
}

func (d *diary) Emit(ctx context.Context, ev realtime.RenEvent, _ ...realtime.EventOption) error {
	d.mu.Lock()
	err := d.failEmit[ev.Key]
	d.mu.Unlock()
	if d.attended {
		<-ctx.Done()
	}
	if err = errors.Join(ctx.Err(), err, ev.Validate()); err != nil {
		return err
	}
	d.write("emit " + strings.TrimPrefix(ev.Type, "db.document.") + " " + ev.Key)
	return nil
}

// The driver.

func (d *diary) Connect(context.Context) (driver.Conn, error) { return &conn{diary: d}, nil }
func (d *diary) Driver() driver.Driver                        { return nil }

// conn is a connection as those of pgx are: the context that a transaction was
// begun with is also that of its commit and rollback.
type conn struct {
	*diary
	ctx context.Context
}

func (c *conn) Prepare(query string) (driver.Stmt, error) { return &stmt{c, query}, nil }
func (c *conn) Close() error                              { return nil }
func (c *conn) Begin() (driver.Tx, error)                 { return nil, errors.ErrUnsupported }
func (c *conn) Ping(context.Context) error                { return c.dead }

func (c *conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if c.failBegin > 0 {
		c.failBegin--
		return nil, driver.ErrBadConn
	}
	c.ctx = ctx
	return c, c.answer("begin")
}

func (c *conn) Commit() error {
	c.write("commit")
	if c.commits != nil {
		<-c.commits
	}
	if c.onCommit != nil {
		c.onCommit()
	}
	return errors.Join(c.answer("commit"), c.failCommit)
}

func (c *conn) Rollback() error {
	c.write("rollback")
	if c.panicRollback {
		c.panicRollback = false
		panic("the driver's")
	}
	return errors.Join(c.answer("rollback"), c.failRollback)
}

// answer is the error of the context, for which it waits where it hangs.
func (c *conn) answer(call string) error {
	if c.hang == call {
		<-c.ctx.Done()
	}
	if call == "rollback" {
		return nil
	}
	return c.ctx.Err()
}

type stmt struct {
	*conn
	query string
}

func (s *stmt) Close() error                               { return nil }
func (s *stmt) NumInput() int                              { return 0 }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errors.ErrUnsupported }
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return s, s.exec() }
func (s *stmt) LastInsertId() (int64, error)               { return 0, nil }
func (s *stmt) RowsAffected() (int64, error)               { return 0, nil }

func (s *stmt) exec() error {
	s.write(s.query)
	return nil
}

// open returns a DB on a diary.
func open(t *testing.T) (*db.DB, *diary) { return openWith(t, nil) }

func openWith(t *testing.T, opts *db.Options) (*db.DB, *diary) {
	t.Helper()
	d := &diary{failEmit: map[string]error{}}
	sqlDB := sql.OpenDB(d)
	t.Cleanup(func() { sqlDB.Close() })
	return db.New(d, sqlDB, opts), d
}

// emit returns a transaction that executes a statement and emits updates of
// documents.
func emit(ids ...string) func(*db.Tx) error {
	return func(tx *db.Tx) error {
		if _, err := tx.Exec("write"); err != nil {
			return err
		}
		for _, id := range ids {
			if err := tx.Emit(realtime.DocumentUpdated("todos", id)); err != nil {
				return err
			}
		}
		return nil
	}
}
