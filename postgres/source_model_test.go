//go:build unix

package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// modelled is a table of the model, and what the source has to tell of it.
type modelled struct {
	name  string
	parts bool // it is partitioned by region, which is a part of its key
	full  bool // it has REPLICA IDENTITY FULL
	extra bool // it has the column extra
	rows  []*modelRow
}

type modelRow struct {
	id     int
	region string
	v, big string
	extra  int
}

var regions = []string{"eu", "us"}

func (m *modelled) key(r *modelRow) string {
	if m.parts {
		return fmt.Sprintf("%d:%s", r.id, r.region)
	}
	return fmt.Sprint(r.id)
}

// shows returns the data of an event. A large value that has not changed is known only
// with the full identity.
func (m *modelled) shows(r *modelRow, bigChanged bool) string {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	parts := []string{`"v":` + quote(r.v)}
	if bigChanged || m.full || len(r.big) < 2000 {
		parts = append(parts, `"big":`+quote(r.big))
	}
	if m.extra {
		parts = append(parts, fmt.Sprintf(`"extra":%d`, r.extra))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// model makes random transactions, and knows what they have to lead to.
type model struct {
	t      *testing.T
	rnd    *rand.Rand
	tables []*modelled
	next   int // id

	sql  []string // of the transaction under way
	tell []string
}

func (m *model) do(sql string, args ...any) { m.sql = append(m.sql, fmt.Sprintf(sql, args...)) }

func (m *model) event(what string, t *modelled, key, data string) {
	m.tell = append(m.tell, strings.TrimSpace(strings.Join([]string{what, t.name, key, data}, " ")))
}

// large is long enough to be stored out of line, or not.
func (m *model) large() string {
	if m.rnd.IntN(2) == 0 {
		return fmt.Sprint("small ", m.rnd.IntN(1000))
	}
	return strings.Repeat("x", 3000) + fmt.Sprint(m.rnd.IntN(1000))
}

func (m *model) step() {
	t := m.tables[m.rnd.IntN(len(m.tables))]
	kind := m.rnd.IntN(20)
	if len(t.rows) == 0 && kind < 14 {
		kind = 0
	}
	switch {
	case kind < 5:
		m.insert(t)
	case kind < 11:
		m.update(t, t.rows[m.rnd.IntN(len(t.rows))])
	case kind < 13:
		m.rekey(t, t.rows[m.rnd.IntN(len(t.rows))])
	case kind < 14:
		i := m.rnd.IntN(len(t.rows))
		r := t.rows[i]
		m.do(`delete from %s where id = %d`, t.name, r.id)
		m.event("deleted", t, t.key(r), "")
		t.rows = slices.Delete(t.rows, i, i+1)
	case kind < 15:
		m.do(`truncate %s`, t.name)
		m.tell = append(m.tell, "reset db")
		t.rows = nil
	default:
		m.alter(t)
	}
}

func (m *model) insert(t *modelled) {
	m.next++
	r := &modelRow{id: m.next, region: regions[m.rnd.IntN(2)], v: fmt.Sprint(m.rnd.IntN(100)), big: m.large(), extra: 7}
	m.do(`insert into %s (id, region, v, big) values (%d, '%s', '%s', '%s')`, t.name, r.id, r.region, r.v, r.big)
	t.rows = append(t.rows, r)
	m.event("created", t, t.key(r), t.shows(r, true))
}

func (m *model) update(t *modelled, r *modelRow) {
	r.v = fmt.Sprint(m.rnd.IntN(100))
	set, changed := fmt.Sprintf(`v = '%s'`, r.v), m.rnd.IntN(3) == 0
	if changed {
		r.big = m.large()
		set += fmt.Sprintf(`, big = '%s'`, r.big)
	}
	if t.extra && m.rnd.IntN(2) == 0 {
		r.extra = m.rnd.IntN(100)
		set += fmt.Sprintf(`, extra = %d`, r.extra)
	}
	m.do(`update %s set %s where id = %d`, t.name, set, r.id)
	m.event("updated", t, t.key(r), t.shows(r, changed))
}

// rekey changes the key of a row, which may move it to another partition: then it is
// another row, and whole.
func (m *model) rekey(t *modelled, r *modelRow) {
	before, moved := t.key(r), false
	if t.parts && m.rnd.IntN(2) == 0 {
		region := regions[m.rnd.IntN(2)]
		m.do(`update %s set region = '%s' where id = %d`, t.name, region, r.id)
		moved = region != r.region
		r.region = region
	} else {
		m.next++
		m.do(`update %s set id = %d where id = %d`, t.name, m.next, r.id)
		r.id = m.next
	}
	if t.key(r) == before {
		m.event("updated", t, before, t.shows(r, false))
		return
	}
	m.event("deleted", t, before, "")
	m.event("created", t, t.key(r), t.shows(r, moved))
}

func (m *model) alter(t *modelled) {
	switch m.rnd.IntN(4) {
	case 0, 1:
		if t.extra = !t.extra; t.extra {
			m.do(`alter table %s add column extra int not null default 7`, t.name)
			for _, r := range t.rows {
				r.extra = 7
			}
			return
		}
		m.do(`alter table %s drop column extra`, t.name)
	case 2:
		if t.parts { // its partitions have identities of their own
			return
		}
		t.full = !t.full
		m.do(`alter table %s replica identity %s`, t.name, map[bool]string{true: "full", false: "default"}[t.full])
	case 3:
		m.do(`alter table %s add column other_%d text default 'nobody is told'`, t.name, m.rnd.IntN(1<<30))
	}
}

// transaction makes one, which may be rolled back as a whole or in part.
func (m *model) transaction(w *followed) (told []string) {
	m.sql, m.tell = nil, nil
	before := m.copy()
	for range 1 + m.rnd.IntN(6) {
		m.step()
	}
	if m.rnd.IntN(5) == 0 {
		m.do(`savepoint s`)
		inside, told := m.copy(), m.tell
		m.step()
		m.do(`rollback to s`)
		m.tables, m.tell = inside, told
	}
	changed := errors.New("changed my mind")
	rollback := m.rnd.IntN(6) == 0
	err := pgx.BeginFunc(context.Background(), w.pool, func(tx pgx.Tx) error {
		for _, sql := range m.sql {
			if _, err := tx.Exec(context.Background(), sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		if rollback {
			return changed
		}
		return nil
	})
	if rollback && errors.Is(err, changed) {
		m.tables = before
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return m.tell
}

func (m *model) copy() (tables []*modelled) {
	for _, t := range m.tables {
		c := *t
		c.rows = nil
		for _, r := range t.rows {
			row := *r
			c.rows = append(c.rows, &row)
		}
		tables = append(tables, &c)
	}
	return tables
}

// Random changes of rows and tables are told as a model expects.
func TestSourceAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	const columns = ` (id int, region text, v text, big text, primary key `
	statements := published("plain, whole, parts",
		`create table plain`+columns+`(id))`, `create table whole`+columns+`(id))`, `alter table whole replica identity full`,
		`create table parts`+columns+`(id, region)) partition by list (region)`,
		`create table parts_eu partition of parts for values in ('eu')`, `create table parts_us partition of parts for values in ('us')`)
	for _, table := range []string{"plain", "whole", "parts", "parts_eu", "parts_us"} {
		statements = append(statements, `alter table `+table+` alter big set storage external`)
	}
	w := newFollowed(t, pgserver.Shared(t), statements...)
	shown := postgres.Table{Data: []string{"v", "big", "extra"}}
	names := []string{"plain", "whole", "parts"}
	for _, name := range names { // a column that comes and goes has to be there at first
		w.do(`alter table ` + name + ` add column extra int`)
	}
	w.source(postgres.SourceOptions{Tables: map[string]postgres.Table{"plain": shown, "whole": shown, "parts": shown}})
	for _, name := range names {
		w.do(`alter table ` + name + ` drop column extra`)
	}
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), tables: []*modelled{{name: "plain"}, {name: "whole", full: true}, {name: "parts", parts: true}}}
	n := 150
	if *full {
		n = 5000
	}
	for done := 0; done < n; done += 10 {
		var want []string
		for range 10 {
			want = append(want, m.transaction(w)...)
		}
		w.want(want...)
		if t.Failed() {
			return
		}
	}
}
