package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/sync/semaphore"
)

const (
	// togetherMost and togetherBytes bound what is appended to the log at once: many
	// small transactions, or a part of a large one.
	togetherMost  = 10_000
	togetherBytes = 8 << 20
	// aheadMost and aheadBytes bound what is read while an append is under way.
	aheadMost  = 4096
	aheadBytes = 16 << 20
	// maxShown is the largest data of an event. What is larger is left out.
	maxShown = 1 << 20

	// confirmEvery is how often the server is told how far the log is, although nothing
	// happens. watchEvery is how often the slot is looked at.
	confirmEvery = 5 * time.Second
	watchEvery   = 10 * time.Second
)

// step is what the replication has come to.
type step struct {
	at      place
	entries []backend.Entry
	size    int64
	commit  uint64     // the place after a transaction that ends here
	alive   *keepalive // in place of all others
}

// stream appends what is received to the log, and confirms it to the server, until
// something goes wrong.
func (s *Source) stream(ctx context.Context, c *catalog, r *replication, p *progress) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading := &receiver{source: s, catalog: c, r: r, from: p.Place, tables: make(map[uint32]*table),
		steps: make(chan step, aheadMost), room: semaphore.NewWeighted(aheadBytes)}
	var read error
	var all sync.WaitGroup
	all.Go(func() { read = reading.run(ctx); close(reading.steps) })
	all.Go(func() { s.watch(ctx, c) })
	err := (&appender{source: s, r: r, p: p, room: reading.room}).run(ctx, reading.steps)
	cancel()
	r.close()
	all.Wait()
	if err == nil { // all that was read is appended
		return read
	}
	return err
}

// appender appends steps to the log, as many as there are at once.
type appender struct {
	source *Source
	r      *replication
	p      *progress
	room   *semaphore.Weighted

	entries []backend.Entry // that are to be appended
	size    int64
	last    place
	begun   bool   // a transaction is not complete yet
	end     uint64 // everything before it was received: in the log, in entries, or no event
}

// run ends with nil when all steps were appended, except those of a transaction that is not complete.
func (a *appender) run(ctx context.Context, steps <-chan step) error {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case st, more := <-steps:
			if !more {
				return nil
			}
			if st.alive != nil {
				err = a.alive(ctx, st.alive)
			} else {
				a.take(&st)
			}
			if err == nil && (len(a.entries) > 0 && !a.begun && len(steps) == 0 || len(a.entries) >= togetherMost || a.size >= togetherBytes) {
				err = a.flush(ctx)
			}
		case <-tick.C:
			err = a.confirm(ctx, true)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (a *appender) take(st *step) {
	a.entries = append(a.entries, st.entries...)
	a.size += st.size
	a.last, a.begun = st.at, st.commit == 0
	if st.commit != 0 {
		a.end = st.commit
	}
}

// flush appends what there is, stores how far that is, and then confirms it.
func (a *appender) flush(ctx context.Context) error {
	a.p.Place, a.p.Confirmed = a.last, max(a.p.Confirmed, a.end)
	if err := a.source.store(ctx, a.p, a.entries); err != nil {
		return err
	}
	a.room.Release(a.size)
	clear(a.entries)
	a.entries, a.size = a.entries[:0], 0
	return a.r.confirm(a.p.Confirmed, false)
}

// alive deals with a sign of life. Where nothing is under way, the server may forget
// everything before it: so a quiet table does not keep what others have written.
func (a *appender) alive(ctx context.Context, k *keepalive) error {
	if !a.begun && len(a.entries) == 0 {
		a.end = max(a.end, k.end)
	}
	if !k.reply {
		return nil
	}
	return a.confirm(ctx, false)
}

// confirm tells the server how far the log is, after that was stored: a slot that is
// further than what is stored is not ours. It is not called for each transaction, since
// what it stores is one, too.
func (a *appender) confirm(ctx context.Context, reply bool) error {
	if len(a.entries) == 0 && a.end > a.p.Confirmed {
		a.p.Confirmed = a.end
		if err := a.source.store(ctx, a.p, nil); err != nil {
			return err
		}
	}
	return a.r.confirm(a.p.Confirmed, reply)
}

// watch looks at the slot, and logs when the server is about to give it up.
func (s *Source) watch(ctx context.Context, c *catalog) {
	before := "reserved"
	for {
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return
		}
		var status string
		var held int64
		err := c.ask(ctx, []any{&status, &held}, `select coalesce(wal_status, ''), coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
			from pg_replication_slots where slot_name = $1`, s.options.Slot)
		if err != nil || status == before { // whatever is wrong, the stream will end of it
			continue
		}
		if before = status; status != "reserved" {
			s.log.Warn("realtime: the server keeps much for the replication slot; a slot that lags too far is lost", "wal_status", status, "bytes", held)
		}
	}
}

// receiver makes steps of what the server sends.
type receiver struct {
	source  *Source
	catalog *catalog
	r       *replication
	steps   chan step
	room    *semaphore.Weighted // for what steps hold
	from    place               // what is not after it is in the log

	tables map[uint32]*table
	begin  beginMessage
	index  int             // of the next event of the transaction
	origin backend.Payload // what its events are attributed to
}

// run returns why it has ended.
func (v *receiver) run(ctx context.Context) error {
	for {
		m, err := v.r.receive()
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		st, err := v.step(ctx, m)
		if err != nil {
			return err
		}
		if st == nil {
			continue
		}
		if err := v.room.Acquire(ctx, st.size); err != nil {
			return err
		}
		select {
		case v.steps <- *st:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// step returns what a message leads to, or nil.
func (v *receiver) step(ctx context.Context, m any) (*step, error) {
	switch m := m.(type) {
	case keepalive:
		return &step{alive: &m}, nil
	case beginMessage:
		v.begin, v.index, v.origin = m, 0, backend.Payload{}
	case commitMessage:
		return &step{at: place{v.begin.lsn, whole}, commit: m.end}, nil
	case logicalMessage:
		v.attribute(&m)
	case relationMessage:
		return nil, v.relation(ctx, m)
	case rowMessage:
		return v.row(&m)
	case truncateMessage:
		return v.truncate(&m)
	}
	return nil, nil
}

var errAttributes = errors.New("postgres: the user or the source of a message is no name")

// attribute keeps whom the rest of the transaction is attributed to: see [Attribute].
func (v *receiver) attribute(m *logicalMessage) {
	if !m.transactional || m.prefix != attributePrefix {
		return
	}
	p, err := backend.DecodePayload(m.content)
	if ev := &p.Event; err == nil && (fit(ev.User) != ev.User || fit(ev.Source) != ev.Source || p.Depth < 0) {
		err = errAttributes // or the log would not take the events, and the stream never get over them
	}
	if err != nil { // any role of the database may have written it
		v.source.log.Warn("realtime: a message in the replication attributes nothing", "error", err)
		return
	}
	v.origin = p
}

// relation gets to know a table, which comes before its first row, and again when it has
// changed.
func (v *receiver) relation(ctx context.Context, m relationMessage) error {
	f := facts{schema: m.schema, name: m.name}
	err := v.catalog.ask(ctx, []any{&f.schema, &f.name, &f.primary}, `
		select n.nspname, c.relname, coalesce((
			select array_agg(a.attname::text order by k.place) from pg_index i, unnest(i.indkey) with ordinality k (number, place), pg_attribute a
			where i.indrelid = $1 and i.indisprimary and a.attrelid = $1 and a.attnum = k.number
		), '{}') from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = coalesce(pg_partition_root($1), $1::oid)`, m.id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // a table that was dropped since then is as the message says
		return fmt.Errorf("postgres: ask for the table %s.%s: %w", m.schema, m.name, err)
	}
	t, problem := newTable(m, f, v.source.options.Tables)
	t.ignored = m.schema == v.source.backend.schema
	if problem != nil && !t.ignored {
		v.source.log.Warn("realtime: a table is not told as it should be", "error", problem)
	}
	v.tables[m.id] = t
	return nil
}

var errRelation = errors.New("postgres: a row of a table that the server has not described")

func (v *receiver) row(m *rowMessage) (*step, error) {
	t := v.tables[m.relation]
	if t == nil {
		return nil, errRelation
	}
	// Each row has two numbers, for an update of a key is two events. They do not depend on
	// the options, which may be others after a restart.
	index := v.index
	v.index += 2
	if t.ignored || !(place{v.begin.lsn, index + 1}).after(v.from) {
		return nil, nil
	}
	events, err := t.events(m)
	if err != nil {
		return nil, err
	}
	st := &step{at: place{v.begin.lsn, index + 1}}
	for i, ev := range events {
		if len(ev.Data) > maxShown || ev.Data != nil && t.leavesOut(m.new) {
			v.source.log.Warn("realtime: the data of a row are too large and are left out", "name", t.collection)
			ev.Data = nil
		}
		ev.UnixMilli, ev.Source, ev.User = v.begin.at.UnixMilli(), v.origin.Event.Source, v.origin.Event.User
		v.add(st, backend.Payload{Event: ev, Depth: v.origin.Depth}, index+i)
	}
	return st, nil
}

// truncate tells all who see the tables to read them again: which rows are gone nobody
// says.
func (v *receiver) truncate(m *truncateMessage) (*step, error) {
	ignored := true
	for _, id := range m.relations {
		if v.tables[id] == nil {
			return nil, errRelation
		}
		ignored = ignored && v.tables[id].ignored
	}
	index := v.index
	v.index += 2
	st := &step{at: place{v.begin.lsn, index + 1}}
	if ignored || !st.at.after(v.from) {
		return nil, nil
	}
	v.add(st, backend.ResetOf(backend.DB), index)
	return st, nil
}

// add adds an entry to a step. Its ID is where it stands in the replication.
func (v *receiver) add(st *step, p backend.Payload, index int) {
	e := backend.Entry{ID: fmt.Sprintf("%s %s.%d %s/%d", v.source.options.Slot, v.r.system, v.r.timeline, lsn(v.begin.lsn), index), Data: p.Encode()}
	st.entries = append(st.entries, e)
	const overhead = 200
	st.size += int64(len(e.ID) + len(e.Data) + overhead)
}
