// Package postgres keeps the log and the store of a realtime deployment in Postgres,
// 13 or later, and lets transactions publish.
//
//	err := postgres.Migrate(ctx, postgres.Options{URL: url}) // once for each release
//	…
//	b, err := postgres.NewBackend(ctx, postgres.Options{URL: url})
//	…
//	rt, err := realtime.New(policy, &realtime.Options{Backend: b})
//
// In a transaction of the host, with pgx or database/sql:
//
//	err := postgres.Publish(ctx, tx, "room:42", message)
//
// If the transaction commits, the message is delivered; if not, it never is.
//
// # How it works
//
// A node gathers the appends of its callers while one batch is under way, and writes
// them in one transaction, which takes the log's lock once. So there is no election, a
// position is known at once, and the rate grows with the number of callers.
// Transactions of the host only insert a row into an outbox. Whichever node writes
// next moves what is there to the log; an elected one looks a hundred times a second.
//
// Readers are woken by NOTIFY, once for each batch, and look once a second in case a
// notification is lost. They read from the primary only.
//
// A [Source] needs no call at all: it follows the replication of the database, so that
// whatever program writes a row, there is an event.
//
// # What nil from Publish means
//
// The event is on the disk of the primary, and of the standbys that Postgres is
// configured to wait for (synchronous_standby_names). A failover to another standby can
// lose the newest events. Such a loss is told: after each change of the server's
// timeline, and when a node finds the log shorter than it knows it, the log
// continues in a greater epoch, and clients are reset.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime/backend"
)

// Options say where Postgres is and what to keep there. Zero fields mean the defaults.
type Options struct {
	// URL is where the database is, as [pgxpool.ParseConfig] reads it. Required. It must lead to
	// the primary, and not through a pooler that shares connections between
	// transactions (such as PgBouncer in transaction mode): notifications and locks
	// need a connection of their own. Several hosts are tried in turn.
	URL string

	// Configure changes the configuration before anything connects: credentials that
	// expire, TLS, a tracer. Default: nothing.
	Configure func(*pgxpool.Config)

	// Schema is the schema of the tables. Deployments that share a database need
	// different ones. Default [DefaultSchema].
	Schema string

	// Events, Bytes and Age bound the log; the first bound reached counts. They should
	// be those of realtime.Options.History, and the same at all nodes. The log keeps
	// up to a quarter more. Bytes are those of the tables, with compression and
	// overhead. Defaults: 65,536, 64 MiB, 5 minutes.
	Events int64
	Bytes  int64
	Age    time.Duration
}

func (o *Options) check() (err error) {
	if o.Schema, err = schemaOr(o.Schema); err != nil {
		return err
	}
	if o.Events < 0 || o.Bytes < 0 || o.Age < 0 {
		return errors.New("postgres: Options.Events, Bytes or Age is negative")
	}
	if o.Events == 0 {
		o.Events = 1 << 16
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 20
	}
	if o.Age == 0 {
		o.Age = 5 * time.Minute
	}
	return nil
}

// connections are the most that a node has in its pool. Each follower has one
// beside it, and so has the node that looks after the outbox.
const connections = 4

// config returns how to connect. The sessions are set up for what this package does,
// whatever the role or the database has as its defaults.
func (o *Options) config() (*pgxpool.Config, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.URL == "" {
		return nil, errors.New("postgres: Options.URL is missing")
	}
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("postgres: Options.URL: %w", err)
	}
	config.MaxConns = connections
	config.ConnConfig.ConnectTimeout = requestTime
	config.ConnConfig.OnNotification = func(conn *pgconn.PgConn, _ *pgconn.Notification) { conn.CustomData()[wokenKey] = true }
	if config.ConnConfig.ValidateConnect == nil {
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name":              "maravilla realtime",
		"synchronous_commit":            "on", // nil from Publish must not mean less
		"default_transaction_isolation": "read committed",
		"enable_seqscan":                "off", // plans are made while the tables are small
		"jit":                           "off",
		"plan_cache_mode":               "force_generic_plan", // planning takes longer than a batch
	} {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	if o.Configure != nil {
		o.Configure(config)
	}
	return config, nil
}

const (
	// requestTime bounds one request, its answer included. Callers mostly have less.
	requestTime = 10 * time.Second
	// watchTime bounds a request of those who can begin again on another connection.
	watchTime = 4 * time.Second
	// retryAfter is how long after a failed request the next one is made.
	retryAfter = 50 * time.Millisecond
)

// Backend implements [backend.Backend]. Its methods may be called concurrently.
type Backend struct {
	pool    *pgxpool.Pool
	schema  string
	writer  *writer
	options Options

	life    *backend.Life
	workers sync.WaitGroup
	closed  chan struct{} // when everything has ended
}

var _ backend.Backend = (*Backend)(nil)

// NewBackend connects to Postgres, and checks that [Migrate] was called and that the
// role has the privileges that it needs. The owner calls [Backend.Close]. The error says what to
// change.
func NewBackend(ctx context.Context, o Options) (*Backend, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams["statement_timeout"] = fmt.Sprint(requestTime.Milliseconds())
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	b := &Backend{pool: pool, schema: o.Schema, options: o, life: backend.NewLife(), closed: make(chan struct{})}
	b.writer = newWriter(b)
	if err := b.start(ctx); err != nil {
		b.life.End(pool.Close)
		return nil, err
	}
	return b, nil
}

func (b *Backend) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if err := checkVersion(ctx, b.pool, b.schema); err != nil {
		return err
	}
	if err := b.checkPrivileges(ctx); err != nil {
		return err
	}
	b.workers.Go(b.writer.run)
	b.workers.Go(b.tend)
	return nil
}

// Close implements [backend.Backend]. It does not wait for sinks to return.
func (b *Backend) Close(ctx context.Context) error {
	b.life.End(func() {
		go func() {
			b.workers.Wait()
			b.pool.Close()
			close(b.closed)
		}()
	})
	select {
	case <-b.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask makes a request that changes nothing, on a connection of the pool, until it is
// answered or ctx ends.
func (b *Backend) ask(ctx context.Context, f func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	for {
		err := b.askOnce(ctx, f)
		if err == nil || answered(err) {
			return err
		}
		if ended := b.life.Pause(ctx, retryAfter); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
	}
}

func (b *Backend) askOnce(ctx context.Context, f func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	err := b.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return f(ctx, c.Conn()) })
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

const insufficientPrivilege = "42501"

// answered reports whether an error is the answer of a server that goes on: asking
// again would not change it. It has done nothing then.
//
// Classes 08, 53, 57 and 58 are those of connections, resources, operators and the
// system; of them only 57014 is an answer, of a statement that took too long. 40 and 55
// say that others were in the way, and 25006 that the server is a standby now.
func answered(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || len(refused.Code) != 5 {
		return false
	}
	switch refused.Code[:2] {
	case "08", "53", "57", "58", "40", "55":
		return false
	}
	return refused.Code != "25006"
}

// undone reports whether an error of a transaction says that nothing of it has
// happened, nor will.
func undone(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || len(refused.Code) != 5 {
		var unreachable *pgconn.ConnectError
		return pgconn.SafeToRetry(err) || errors.As(err, &unreachable)
	}
	return refused.Code == "57014" || refused.Code[:2] != "57" && refused.Code[:2] != "08" && refused.Code[:2] != "58"
}
