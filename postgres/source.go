package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// SourceOptions say what a [Source] follows. Zero fields mean the defaults.
type SourceOptions struct {
	// URL is the database whose tables are followed, and Configure changes how it is
	// reached: see [Options]. The role needs what [SourceGrants] gives. Default: those of
	// the Backend.
	URL       string
	Configure func(*pgxpool.Config)

	// Publication is the name of the publication to follow. The host creates it:
	//
	//	create publication realtime for table orders, customers;
	//
	// Default: the name of the Backend's schema.
	Publication string

	// Slot is the name of the replication slot, which the Source creates. There is one for
	// a deployment. Default: the name of the Backend's schema.
	Slot string

	// Tables say more about tables, by the name of their collection: the name of the
	// table, with its schema and a dot before it if the schema is not public. Tables of
	// the publication that are not listed have events without data. NewSource fails if one
	// that is listed is not published, or has not the columns.
	Tables map[string]Table

	// Logger is told what goes wrong. Default: [slog.Default].
	Logger *slog.Logger
}

// Table says what the events of a table have.
type Table struct {
	// Collection is the namespace of the events. Default: the name of the table.
	Collection string

	// Key are the columns whose values are the key of the events, joined by ':'. If there is more
	// than one, ':' and '%' in a value become %3A and %25. Default: the columns of the
	// primary key; with REPLICA IDENTITY USING INDEX those of the index. Other columns need
	// REPLICA IDENTITY FULL, or deletions have no key.
	Key []string

	// Data are the columns that the data of created and updated events shows, a JSON
	// object. Everybody who is granted the data of an event sees them all. Numbers,
	// booleans and JSON are what they are, other types are text. A large value that an update has not
	// changed is absent, unless the table has REPLICA IDENTITY FULL. Default: no data.
	Data []string
}

func (o *SourceOptions) check(b *Backend) error {
	if o.Publication == "" {
		o.Publication = b.schema
	}
	if o.Slot == "" {
		o.Slot = b.schema
	}
	if !goodSlot.MatchString(o.Slot) {
		return fmt.Errorf("postgres: SourceOptions.Slot %.70q must be 1 to 63 of a-z, 0-9 and _", o.Slot)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for name, t := range o.Tables {
		for _, column := range slices.Concat(t.Key, t.Data) {
			if column == "" {
				return fmt.Errorf("postgres: SourceOptions.Tables[%.70q] has a column without a name", name)
			}
		}
	}
	return nil
}

// config returns how to reach the database that is followed.
func (o *SourceOptions) config(b *Backend) (*pgxpool.Config, error) {
	of := b.options
	if o.URL != "" {
		of.URL, of.Configure = o.URL, nil
	}
	if o.Configure != nil {
		of.Configure = o.Configure
	}
	return of.config()
}

// connConfig returns how to connect now, since credentials may expire.
func (s *Source) connConfig(ctx context.Context) (*pgx.ConnConfig, error) {
	config := s.config.ConnConfig.Copy()
	if s.config.BeforeConnect != nil {
		if err := s.config.BeforeConnect(ctx, config); err != nil {
			return nil, fmt.Errorf("postgres: before connecting: %w", err)
		}
	}
	return config, nil
}

// Source writes the changes of tables to the log: each row that any program inserts,
// updates or deletes becomes db.document.created, updated or deleted. It reads them from
// the logical replication of Postgres, in the order of the commits, without what was
// rolled back. The changes of a transaction are together in the log, up to 10,000 events
// or 8 MiB of them, and each is there exactly once: the place in the replication is
// stored in the same transaction.
//
// All nodes may have a Source. One of them at a time follows the replication slot, and
// another one takes over when it ends. Close leaves the slot, so that nothing is missed until a Source runs
// again: a slot that nobody follows keeps the server's disk filling up. The SQL
// select pg_drop_replication_slot('realtime') removes it for good.
//
// If the slot is lost (max_slot_wal_keep_size, a failover, somebody dropped it or made another one of
// its name), the Source makes
// another one, and all views of the domain db get one reset: clients read their
// data again. So they are after a TRUNCATE of a table.
type Source struct {
	backend *Backend
	options SourceOptions
	config  *pgxpool.Config
	log     *slog.Logger

	open    context.Context // ends with Close
	close   context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error // of the last try, until one succeeds
}

// NewSource begins to follow the publication: what commits after it has returned is told.
// It checks first that the server is set up for it; the error says what is missing, with
// the SQL that mends it. The first call of all makes the slot, for which the server waits until the
// transactions have ended that are under way; calls on other nodes meanwhile wait with it. If another
// program uses the slot, and no Source ever has, the error names that program; otherwise
// [Source.Err] does, and a line of the log. It needs Postgres
// 14 for [Attribute]; with 13 no event has a source. The owner calls [Source.Close]
// before it closes b.
func NewSource(ctx context.Context, b *Backend, o SourceOptions) (*Source, error) {
	if err := o.check(b); err != nil {
		return nil, err
	}
	config, err := o.config(b)
	if err != nil {
		return nil, err
	}
	s := &Source{backend: b, options: o, config: config, log: o.Logger}
	if err := s.try(ctx); err != nil {
		return nil, err
	}
	s.open, s.close = context.WithCancel(context.Background())
	s.running.Go(s.run)
	return s, nil
}

// try makes everything that is needed, on connections that it closes again.
func (s *Source) try(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.check(ctx); err != nil {
		return err
	}
	if c.unbounded {
		s.log.Warn("realtime: nothing bounds what the server keeps for a replication slot; set max_slot_wal_keep_size")
	}
	if err := c.checkTables(ctx); err != nil {
		return err
	}
	r, err := s.replicate(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	user := occupant{source: s, catalog: c}
	for {
		p, err := s.prepare(ctx, c, r)
		if !errors.Is(err, errTaken) || p.rev != 0 {
			if errors.Is(err, errTaken) {
				return nil // another node follows it
			}
			return err
		}
		// Another node is making the first slot, and may die before it has.
		slot, err := c.slot(ctx)
		if err != nil {
			return err
		}
		if err := user.look(ctx, slot); err != nil {
			return err
		}
		select {
		case <-time.After(takeEvery):
		case <-ctx.Done():
			return fmt.Errorf("postgres: another node is creating the replication slot, for which the server waits until all transactions have ended that are under way: %w", ctx.Err())
		}
	}
}

// Close ends the Source, and returns when it has ended. Another node takes over.
// Closing again does nothing.
func (s *Source) Close(ctx context.Context) error {
	s.close()
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Err returns nil while this node follows the slot, or waits for another one that does.
// Otherwise it returns what is wrong, and the Source keeps trying. That another program
// uses the slot is wrong too; the error names it.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// note keeps an error, and logs it if it is another one than before.
func (s *Source) note(err error) {
	s.mu.Lock()
	before := s.err
	s.err = err
	s.mu.Unlock()
	switch {
	case err == nil && before != nil:
		s.log.Info("realtime: the changes of tables are followed again")
	case err != nil && (before == nil || before.Error() != err.Error()):
		s.log.Error("realtime: the changes of tables cannot be followed; trying again", "error", err)
	}
}

// run follows the slot until the Source is closed.
func (s *Source) run() {
	for {
		err := s.follow(s.open)
		if s.open.Err() != nil {
			return
		}
		if !errors.Is(err, errTaken) {
			s.note(err)
		}
		select {
		case <-time.After(takeEvery):
		case <-s.open.Done():
			return
		}
	}
}

// errTaken: another node follows the slot, or has changed what is stored of it.
var errTaken = errors.New("postgres: another node follows the replication slot")

// takeEvery is how often a node looks whether the slot is free.
const takeEvery = 500 * time.Millisecond

// follow waits until the slot is free, and follows it until something goes wrong.
func (s *Source) follow(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := bounded(ctx, c.check); err != nil {
		return err
	}
	user := occupant{source: s, catalog: c}
	for {
		slot, err := c.slot(ctx)
		if err != nil {
			return err
		}
		if !slot.active {
			break
		}
		s.note(user.look(ctx, slot))
		select {
		case <-time.After(takeEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r, err := s.replicate(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	p, err := s.prepare(ctx, c, r)
	if err != nil {
		return err
	}
	if err := r.start(ctx, s.options.Slot, s.options.Publication, c.version >= messagesVersion); err != nil {
		return err
	}
	p.PID = int(r.conn.PID())
	if err := s.store(ctx, &p, nil); err != nil {
		return err
	}
	s.note(nil)
	err = s.stream(ctx, c, r, &p)
	if publicationMissed(err) && bounded(ctx, c.check) == nil {
		return errors.Join(err, s.giveUp(ctx, &p))
	}
	return err
}
