package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/maravilla-realtime/realtime/backend"
)

var goodSlot = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// messagesVersion is the first version whose replication has logical messages.
const messagesVersion = 140000

// catalog is a connection for questions about tables and slots. Its methods may be called
// concurrently.
type catalog struct {
	source *Source

	mu        sync.Mutex
	conn      *pgx.Conn
	version   int  // of the server
	unbounded bool // what the server keeps for a slot
}

func (s *Source) connect(ctx context.Context) (*catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	config, err := s.connConfig(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: connect: %w", err)
	}
	return &catalog{source: s, conn: conn}, nil
}

func (c *catalog) close() { hangUp(c.conn) }

// ask asks for one row.
func (c *catalog) ask(ctx context.Context, into []any, sql string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bounded(ctx, func(ctx context.Context) error { return c.conn.QueryRow(ctx, sql, args...).Scan(into...) })
}

// check returns an error that says what to do if the server is not set up to be
// followed.
func (c *catalog) check(ctx context.Context) error {
	o := &c.source.options
	var level, keeps string
	var published, own bool
	if err := c.ask(ctx, []any{&level, &c.version, &keeps, &published, &own}, `
		select current_setting('wal_level'), current_setting('server_version_num')::int, current_setting('max_slot_wal_keep_size'),
			exists (select from pg_publication where pubname = $1),
			exists (select from pg_publication_tables where pubname = $1 and schemaname = $2)`,
		o.Publication, c.source.backend.schema); err != nil {
		return fmt.Errorf("postgres: ask for the publication: %w", err)
	}
	c.unbounded = keeps == "-1"
	name := pgx.Identifier{o.Publication}.Sanitize()
	switch {
	case level != "logical":
		return fmt.Errorf("postgres: wal_level is %s, and must be logical; set it and restart the server:\n"+
			"alter system set wal_level = logical;", level)
	case !published:
		return fmt.Errorf("postgres: the database has no publication %s; the owner of the tables creates it, for example:\n"+
			"create publication %s for table orders, customers;", o.Publication, name)
	case own:
		return fmt.Errorf("postgres: the publication %s has the tables of the log itself, each event would cause another one; name the tables:\n"+
			"drop publication %s; create publication %s for table orders, customers;", o.Publication, name, name)
	}
	return nil
}

// checkTables returns an error if a table of the options is not there or not published, or
// lacks a column that they name.
func (c *catalog) checkTables(ctx context.Context) error {
	o := &c.source.options
	for _, name := range slices.Sorted(maps.Keys(o.Tables)) {
		var columns []string
		var table string
		var published bool
		err := c.ask(ctx, []any{&table, &columns, &published}, `
			select format('%I.%I', n.nspname, c.relname), array(select attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
				c.relkind = 'p' or exists (select from pg_publication_tables p where p.pubname = $2 and
					(p.schemaname, p.tablename) = (n.nspname, c.relname))
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relkind in ('r', 'p') and not c.relispartition and case n.nspname when 'public' then c.relname::text else n.nspname || '.' || c.relname end = $1`,
			name, o.Publication)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("postgres: SourceOptions.Tables has %q, and the database has no such table (outside of the schema public its name has the schema, as in app.orders; a partition is a part of the whole)", name)
		case err != nil:
			return fmt.Errorf("postgres: ask for the table %s: %w", name, err)
		case !published:
			return fmt.Errorf("postgres: the publication %s does not have the table %s of SourceOptions.Tables; add it:\nalter publication %s add table %s;",
				o.Publication, name, pgx.Identifier{o.Publication}.Sanitize(), table)
		}
		for _, column := range slices.Concat(o.Tables[name].Key, o.Tables[name].Data) {
			if !slices.Contains(columns, column) {
				return fmt.Errorf("postgres: SourceOptions.Tables[%q] has the column %q; the table has %q", name, column, columns)
			}
		}
	}
	return nil
}

// slotState is what the server says of the slot.
type slotState struct {
	there, active, lost bool
	confirmed           uint64 // where it goes on; 0: it is being made
	pid                 int    // of the server's process that uses it
}

func (c *catalog) slot(ctx context.Context) (s slotState, err error) {
	var plugin, database, status, confirmed string
	var ours bool
	err = c.ask(ctx, []any{&plugin, &database, &ours, &s.active, &status, &confirmed, &s.pid}, `
		select coalesce(plugin, ''), coalesce(database, ''), coalesce(plugin = 'pgoutput' and database = current_database(), false), active, coalesce(wal_status, 'lost'), coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(active_pid, 0)
		from pg_replication_slots where slot_name = $1`, c.source.options.Slot)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return slotState{}, nil
	case err != nil:
		return s, fmt.Errorf("postgres: ask for the slot: %w", err)
	case !ours:
		return s, fmt.Errorf("postgres: the replication slot %s is of another use (plugin %q, database %q); choose another name, or drop it:\n"+
			"select pg_drop_replication_slot('%s');", c.source.options.Slot, plugin, database, c.source.options.Slot)
	}
	s.there, s.lost = true, status == "lost"
	s.confirmed, err = parseLSN(confirmed)
	return s, err
}

// drop drops the slot, if there is one.
func (c *catalog) drop(ctx context.Context) error {
	var n int
	err := c.ask(ctx, []any{&n}, `select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots where slot_name = $1`, c.source.options.Slot)
	if inUse(err) {
		return errTaken
	}
	return err
}

// create creates the slot, and returns where it begins. The server waits for all
// transactions that are under way, however long they take.
func (c *catalog) create(ctx context.Context) (begins uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer time.AfterFunc(strangerAfter*takeEvery, c.source.waitsForSlot).Stop()
	var at string
	err = c.conn.QueryRow(ctx, `select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')`, c.source.options.Slot).Scan(&at)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return parseLSN(at)
	case errors.As(err, &refused) && refused.Code == "42710": // another node has created it
		return 0, errTaken
	case errors.As(err, &refused) && refused.Code == "53400":
		return 0, fmt.Errorf("postgres: all replication slots are in use; raise the number and restart the server:\n"+
			"alter system set max_replication_slots = 20;\n%w", err)
	}
	return 0, c.source.needsGrants(fmt.Errorf("postgres: create the replication slot: %w", err))
}

// needsGrants adds to an error about privileges what to grant.
func (s *Source) needsGrants(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != insufficientPrivilege {
		return err
	}
	role := s.config.ConnConfig.User
	return fmt.Errorf("postgres: the role %q must be able to replicate; a superuser grants it with\n%s(hosted databases have something of their own, such as: grant rds_replication to …; see docs/postgres.md): %w",
		role, SourceGrants(role), err)
}

func inUse(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55006"
}

// publicationMissed reports whether the replication has ended because it came to a
// change that was made when the publication was not there. It can never get over it.
func publicationMissed(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "42704"
}

func parseLSN(s string) (uint64, error) {
	var high, low uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(s), "%X/%X", &high, &low); err != nil {
		return 0, fmt.Errorf("postgres: the server names the place %q: %w", s, err)
	}
	return uint64(high)<<32 | uint64(low), nil
}

// lsn is a place in the server's log of writes, as the server writes it.
func lsn(n uint64) string { return fmt.Sprintf("%X/%X", n>>32, uint32(n)) }

// place is where an event stands in the replication: the place of its transaction's
// commit, and its number in the transaction.
type place struct {
	LSN   uint64
	Index int
}

// whole is the index of a place after all events of a transaction.
const whole = math.MaxInt32

func (p place) after(q place) bool { return p.LSN > q.LSN || p.LSN == q.LSN && p.Index > q.Index }

// progress is how far the replication is in the log, as it is stored there. Who changes
// it follows the slot, as far as the log is concerned.
type progress struct {
	rev backend.Revision

	Place     place
	Confirmed uint64 // the most that the server was told of; 0: it is not known
	System    string // the installation of the server
	Timeline  int
	Lost      bool // the slot is to be made again
	PID       int  // of the server's process for who follows the slot; 0: nobody has so far; or unsaid
}

// unsaid is the PID of a record of the releases that did not store it.
const unsaid = -1

// strange reports whether a slot is further than this package has ever told the server:
// somebody has made another one of the same name, or moved it, and nobody knows what was
// changed in between. A slot begins after everything that was written before it was made,
// which is so of the progress too.
func (p *progress) strange(slot slotState) bool {
	return p.Confirmed != 0 && slot.confirmed > p.Confirmed
}

func (s *Source) progressKey() backend.Key {
	return backend.Key{Kind: "source", Group: s.options.Slot, Name: "progress"}
}

func (s *Source) progress(ctx context.Context) (p progress, err error) {
	it, err := s.backend.Get(ctx, s.progressKey())
	if err == nil && it.Revision != 0 {
		p.PID = unsaid
		err = json.Unmarshal(it.Value, &p)
	}
	p.rev = it.Revision
	return p, err
}

// store stores progress together with entries of the log: all of it, or nothing.
func (s *Source) store(ctx context.Context, p *progress, entries []backend.Entry) error {
	p.PID = max(p.PID, 0)
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	k := s.progressKey()
	put := &request{kind: &k.Kind, grp: []byte(k.Group), name: []byte(k.Name), rev: int64(p.rev), value: value}
	appends := make([]*request, len(entries))
	for i := range entries {
		appends[i] = &request{}
		if err := appends[i].entry(&entries[i]); err != nil {
			return err
		}
	}
	w := s.backend.writer
	err = s.backend.askOnce(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if err := w.send(ctx, tx, []*request{put}, false); err != nil {
				return err
			}
			if put.made == 0 {
				return errTaken
			}
			if len(appends) == 0 {
				return nil
			}
			return w.send(ctx, tx, appends, true)
		})
	})
	if err == nil {
		p.rev = backend.Revision(put.made)
	}
	return err
}

// prepare returns how far the log is, after it has made the slot where there is none
// that continues from there.
func (s *Source) prepare(ctx context.Context, c *catalog, r *replication) (progress, error) {
	p, err := s.progress(ctx)
	if err != nil {
		return p, err
	}
	slot, err := c.slot(ctx)
	switch known := p.rev != 0; {
	case err != nil:
		return p, err
	case slot.active:
		return p, errTaken
	case known && (!slot.there || slot.lost || p.strange(slot) || p.Lost || p.System != r.system || p.Timeline != r.timeline):
		return s.renew(ctx, c, r, p)
	case known:
		return p, nil
	case !slot.there:
		if slot.confirmed, err = c.create(ctx); err != nil {
			return p, err
		}
	}
	p = begins(0, slot.confirmed, r)
	return p, s.store(ctx, &p, nil)
}

// begins is the progress of a slot of which nothing was read yet.
func begins(rev backend.Revision, at uint64, r *replication) progress {
	return progress{rev: rev, Place: place{at - 1, whole}, Confirmed: at, System: r.system, Timeline: r.timeline}
}

// renew makes another slot, and resets all views of the tables: what was changed between
// the two is not known. That it has to be done is stored first, so that who comes after
// a crash does it again.
func (s *Source) renew(ctx context.Context, c *catalog, r *replication, p progress) (progress, error) {
	s.log.Warn("realtime: the replication slot is lost; another one is made, and clients are told to read their data again")
	if err := s.giveUp(ctx, &p); err != nil {
		return p, err
	}
	if err := c.drop(ctx); err != nil {
		return p, err
	}
	at, err := c.create(ctx)
	if err != nil {
		return p, err
	}
	p = begins(p.rev, at, r)
	reset := backend.ResetOf(backend.DB)
	return p, s.store(ctx, &p, []backend.Entry{{Data: reset.Encode()}})
}

// giveUp stores that the slot is to be made again.
func (s *Source) giveUp(ctx context.Context, p *progress) error {
	p.Lost = true
	return s.store(ctx, p, nil)
}
