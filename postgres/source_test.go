//go:build unix

package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

const orders = `create table orders (id int primary key, customer text, paid bool not null default false, note text)`

// What is committed is told, row by row and in order, and nothing else.
func TestSource(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders, `insert into orders values (1, 'before there was a source')`)...)
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (2, 'ada')`, `update orders set paid = true where id = 2`, `update orders set note = 'x'`, `delete from orders where id = 1`)
	w.want("created orders 2", "updated orders 2", "updated orders 1", "updated orders 2", "deleted orders 1")

	changed := errors.New("changed my mind")
	err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `insert into orders values (3, 'nobody')`)
		return errors.Join(err, changed)
	})
	if !errors.Is(err, changed) {
		t.Fatal(err)
	}
	w.want()

	w.do(`update orders set id = 20 where id = 2`, `insert into orders values (20, 'x') on conflict (id) do update set note = 'y'`,
		`insert into orders values (20, 'x') on conflict do nothing`, `update orders set id = id where id = 20`)
	w.want("deleted orders 2", "created orders 20", "updated orders 20", "updated orders 20")

	w.do(`insert into orders values (4)`, `truncate orders`, `insert into orders values (5)`)
	w.want("created orders 4", "reset db", "created orders 5")
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

// The time of an event is that of its commit; there is an id.
func TestSourceEvents(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	r := w.log.Next(t)
	if ev := event(t, r); ev.UnixMilli < r.Time.UnixMilli()-60_000 || ev.UnixMilli > r.Time.UnixMilli()+60_000 || ev.Resource != "db" || ev.Source != "" || ev.User != "" {
		t.Errorf("the event is %+v of %v", ev, r.Time)
	}
	if !strings.HasPrefix(r.ID, w.schema+" ") {
		t.Errorf("the id is %q", r.ID)
	}
}

// The columns that are listed are shown, as JSON of their types.
func TestSourceData(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("things",
		`create table things (id int primary key, secret text, b bool, i bigint, n numeric, f float8, s text, j jsonb, a int[], at timestamptz, raw bytea, d interval)`)...)
	w.do(`alter database ` + w.pool.Config().ConnConfig.Database + ` set datestyle = 'German'`)
	w.source(postgres.SourceOptions{Tables: map[string]postgres.Table{
		"things": {Collection: "stuff", Data: []string{"b", "i", "n", "f", "s", "j", "a", "at", "raw", "d"}},
	}})
	w.do(`insert into things values (1, 'secret', true, 9007199254740993, 1.50, 'NaN', E'a"b\n\u2028', '{"x": [1, null]}', '{1,2}', '2026-11-26 12:00+01', '\x00ff', '90 minutes')`,
		`insert into things (id, b) values (2, false)`, `update things set i = 3 where id = 2`, `delete from things where id = 2`)
	nulls := `,"n":null,"f":null,"s":null,"j":null,"a":null,"at":null,"raw":null,"d":null}`
	w.want(
		`created stuff 1 {"b":true,"i":9007199254740993,"n":1.50,"f":"NaN","s":"a\"b\n\u2028","j":{"x":[1,null]},"a":"{1,2}","at":"2026-11-26 11:00:00+00","raw":"\\x00ff","d":"PT1H30M"}`,
		`created stuff 2 {"b":false,"i":null`+nulls, `updated stuff 2 {"b":false,"i":3`+nulls, "deleted stuff 2")
}

// A large value that has not changed is never told as null.
func TestSourceToast(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("docs, whole",
		`create table docs (id int primary key, title text, body text)`, `alter table docs alter body set storage external`,
		`create table whole (id int primary key, title text, body text)`, `alter table whole alter body set storage external`, `alter table whole replica identity full`)...)
	shown := postgres.Table{Data: []string{"title", "body"}}
	w.source(postgres.SourceOptions{Tables: map[string]postgres.Table{"docs": shown, "whole": shown}})
	body := strings.Repeat("x", 5000)
	for _, table := range []string{"docs", "whole"} {
		w.do(`insert into `+table+` values (1, 'a', '`+body+`')`, `update `+table+` set title = 'b'`, `update `+table+` set body = null`)
	}
	w.want(`created docs 1 {"title":"a","body":"`+body+`"}`, `updated docs 1 {"title":"b"}`, `updated docs 1 {"title":"b","body":null}`,
		`created whole 1 {"title":"a","body":"`+body+`"}`, `updated whole 1 {"title":"b","body":"`+body+`"}`, `updated whole 1 {"title":"b","body":null}`)

	// A key may be large as well.
	w.do(`create table long (id text primary key, n int)`, `alter table long alter id set storage external`, `alter publication $pub add table long`,
		`insert into long values (repeat('k', 2500), 1)`, `update long set n = 2`)
	told := w.said()
	if len(told) != 2 || !strings.HasPrefix(told[0], "created long kkk") || strings.TrimPrefix(told[0], "created") != strings.TrimPrefix(told[1], "updated") {
		t.Errorf("told %q", told)
	}

	// What is too large for an event is left out, and what is too large to be held is not.
	w.do(`insert into docs values (2, 'large', repeat('y', 2000000))`, `insert into docs values (3, 'larger', repeat('y', 20000000))`)
	w.want("created docs 2", "created docs 3")
	w.do(`update whole set body = repeat('y', 20000000)`, `update whole set title = 'c'`, `update whole set id = 2`, `update whole set body = ''`)
	w.want("updated whole 1", "updated whole 1", "deleted whole 1", "created whole 2", `updated whole 2 {"title":"c","body":""}`)
	w.do(`create table notes (id int primary key, title text, body text)`, `alter publication $pub add table notes`,
		`insert into notes values (1, 'a', repeat('z', 20000000))`, `select pg_logical_emit_message(true, 'maravilla.realtime', repeat('m', 20000000))`)
	w.want("created notes 1")
}

// Keys of several columns, of other columns than the primary key, of none, and such as no
// event may have.
func TestSourceKeys(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("lines, items, other, nothing, plain, app.orders",
		`create table lines (customer text, n int, x int, primary key (customer, n))`,
		`create table items (id int primary key, slug text not null unique)`, `alter table items replica identity full`,
		`create table other (id int primary key, code text not null unique)`, `alter table other replica identity using index other_code_key`,
		`create table nothing (n int)`, `create table plain (k text primary key)`, `create schema app`, `create table app.orders (id int primary key)`)...)
	w.source(postgres.SourceOptions{Tables: map[string]postgres.Table{"items": {Key: []string{"slug"}}}})
	w.do(`insert into lines values ('a:b%', 1)`, `update lines set n = 2`, `delete from lines`)
	w.want("created lines a%3Ab%25:1", "deleted lines a%3Ab%25:1", "created lines a%3Ab%25:2", "deleted lines a%3Ab%25:2")
	w.do(`insert into items values (1, 'one')`, `update items set id = 2`, `update items set slug = 'two'`, `delete from items`)
	w.want("created items one", "updated items one", "deleted items one", "created items two", "deleted items two")
	w.do(`insert into other values (1, 'one')`, `update other set id = 2`, `update other set code = 'two'`, `delete from other`)
	w.want("created other one", "updated other one", "deleted other one", "created other two", "deleted other two")
	w.do(`insert into nothing values (1)`, `insert into app.orders values (1)`)
	w.want("created nothing", "created app.orders 1")
	w.do(`insert into plain values (E'a:b\n')`, `insert into plain values ('`+strings.Repeat("é", 200)+`')`, `delete from plain`)
	told := w.said()
	if len(told) != 4 || told[0] != "created plain a:b%0A" || told[2] != "deleted plain a:b%0A" || !strings.HasPrefix(told[1], "created plain ééé") || len(told[1]) > 255+14 || told[3] != "deleted"+strings.TrimPrefix(told[1], "created") {
		t.Errorf("told %q", told)
	}
	ev := realtime.RenEvent{Type: "db.document.created", Resource: "db", Namespace: "plain", Key: strings.TrimPrefix(told[1], "created plain ")}
	if err := ev.Validate(); err != nil {
		t.Error(err)
	}
}

// A partition is told as the table that it is a part of, with either kind of publication.
func TestSourcePartitions(t *testing.T) {
	for _, viaRoot := range []string{"false", "true"} {
		w := newFollowed(t, pgserver.Shared(t), append(published("parts",
			`create table parts (id int, region text, v int, primary key (id, region)) partition by list (region)`,
			`create table parts_eu partition of parts for values in ('eu')`, `create table parts_us partition of parts for values in ('us')`),
			`alter publication $pub set (publish_via_partition_root = `+viaRoot+`)`)...)
		w.source(postgres.SourceOptions{Tables: map[string]postgres.Table{"parts": {Data: []string{"v"}}}})
		w.do(`insert into parts values (1, 'eu', 1)`, `update parts set v = 2`, `update parts set region = 'us'`, `delete from parts`)
		w.want(`created parts 1:eu {"v":1}`, `updated parts 1:eu {"v":2}`, "deleted parts 1:eu", `created parts 1:us {"v":2}`, "deleted parts 1:us")
		w.do(`create table parts_asia partition of parts for values in ('asia')`, `insert into parts values (2, 'asia', 1)`)
		if viaRoot == "true" { // otherwise its table is looked up when the row is read
			w.do(`alter table parts detach partition parts_asia`)
		}
		w.want(`created parts 2:asia {"v":1}`)
		w.do(`truncate parts`)
		if told := w.said(); len(told) == 0 || told[0] != "reset db" {
			t.Errorf("a truncated table: %q", told)
		}
	}
}

// The changes of a transaction are attributed to whom it names, from then on.
func TestAttribute(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	w.source(postgres.SourceOptions{})
	tab := realtime.FromClient("0123456789abcdef")
	ctx := t.Context()
	w.tx(func(tx pgx.Tx) error {
		_, err1 := tx.Exec(ctx, `insert into orders values (1)`)
		err2 := postgres.Attribute(ctx, tx, tab, realtime.AsUser("ada"))
		_, err3 := tx.Exec(ctx, `insert into orders values (2), (3)`)
		return errors.Join(err1, err2, err3)
	})
	tx, err := openSQL(t, w.url).BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`insert into orders values (4)`); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(postgres.Attribute(ctx, postgres.SQL(tx), realtime.AsUser("bob")), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	w.do(`insert into orders values (5)`, `select pg_logical_emit_message(true, 'maravilla.realtime', 'garbage')`, `select pg_logical_emit_message(false, 'other', 'x')`)
	emitted, err := realtime.EventEntry(ctx, realtime.DocumentCreated("orders", "x"), tab)
	if err != nil {
		t.Fatal(err)
	}
	p, err := backend.DecodePayload(emitted.Data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range w.events() {
		if (ev.Source == p.Event.Source) != (ev.Key == "2" || ev.Key == "3") {
			t.Errorf("the source of %s is %q", ev.Key, ev.Source)
		}
		got = append(got, ev.Key+ev.User)
	}
	if strings.Join(got, " ") != "1 2ada 3ada 4 5" {
		t.Errorf("told %q", got)
	}
	w.tx(func(tx pgx.Tx) error {
		if err := postgres.Attribute(ctx, tx, realtime.FromClient("too short")); !errors.Is(err, realtime.ErrBadClientID) {
			t.Errorf("a bad client id: %v", err)
		}
		return nil
	})
}
