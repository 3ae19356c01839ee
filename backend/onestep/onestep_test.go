package onestep_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backend/onestep"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// engine is one that cannot write and append in one step: the causes of its records
// are kept beside them.
type engine struct {
	onestep.Store
	*memory.Backend

	mu     sync.Mutex
	causes map[backend.Position]backend.Revision
	values [][]byte                // of the plain store, which has room for entries
	fault  func(what string) error // of the next request; nil: none
}

func newEngine() *engine {
	e := &engine{Backend: memory.New(memory.Limits{Records: 1000}), causes: make(map[backend.Position]backend.Revision)}
	e.Store = onestep.Store{Plain: e.plain(), Append: e.appendCaused}
	return e
}

func (e *engine) Close(ctx context.Context) error { return e.Backend.Close(ctx) }

func (e *engine) appendCaused(ctx context.Context, entry backend.Entry, cause backend.Revision) (backend.Position, error) {
	if err := e.fail("append"); err != nil {
		return backend.Position{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	pos, err := e.Backend.Append(ctx, entry)
	if err == nil {
		e.causes[pos] = cause
	}
	return pos, errors.Join(err, e.fail("appended"))
}

func (e *engine) fail(what string) error {
	if e.fault == nil {
		return nil
	}
	return e.fault(what)
}

func (e *engine) Append(ctx context.Context, entry backend.Entry) (backend.Position, error) {
	return e.Backend.Append(ctx, entry)
}

func (e *engine) caused(recs []backend.Record) []backend.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range recs {
		recs[i].Cause = e.causes[recs[i].Pos]
	}
	return recs
}

func (e *engine) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	page, err := e.Backend.Read(ctx, after, limit)
	page.Records = e.caused(page.Records)
	return page, err
}

func (e *engine) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	return e.Backend.Follow(ctx, after, func(recs []backend.Record) { sink(e.caused(recs)) })
}

func (e *engine) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	return e.Store.Get(ctx, k)
}

func (e *engine) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return e.Store.List(ctx, kind, group)
}

func (e *engine) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	return e.Store.Put(ctx, w)
}

func (e *engine) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, entry *backend.Entry) error {
	return e.Store.Delete(ctx, k, ifRevision, entry)
}

// plain is the store of the engine. Its values may be larger than those of the
// memory below it, which keeps their numbers.
func (e *engine) plain() backend.Store { return plainStore{e} }

type plainStore struct{ e *engine }

func (p plainStore) value(it backend.Item) backend.Item {
	if it.Revision != 0 {
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		it.Value = p.e.values[binary.BigEndian.Uint64(it.Value)]
	}
	return it
}

func (p plainStore) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	it, err := p.e.Backend.Get(ctx, k)
	return p.value(it), err
}

func (p plainStore) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		for it, err := range p.e.Backend.List(ctx, kind, group) {
			if !yield(p.value(it), err) {
				return
			}
		}
	}
}

func (p plainStore) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	if err := p.e.fail("put"); err != nil {
		return 0, err
	}
	p.e.mu.Lock()
	p.e.values = append(p.e.values, w.Value)
	w.Value = binary.BigEndian.AppendUint64(nil, uint64(len(p.e.values)-1))
	p.e.mu.Unlock()
	if rev, err = p.e.Backend.Put(ctx, w); err == nil {
		err = p.e.fail("written")
	}
	return rev, err
}

func (p plainStore) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, _ *backend.Entry) error {
	err := p.e.fail("delete")
	if err == nil {
		if err = p.e.Backend.Delete(ctx, k, ifRevision, nil); err == nil {
			err = p.e.fail("deleted")
		}
	}
	return err
}

func TestConformance(t *testing.T) {
	for _, rule := range backendtest.Rules() {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := backendtest.Check(ctx, newEngine(), rule); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Nodes die between any two requests of a step. The next reader of the record
// finishes it: the log has each step that took effect, once and in order.
func TestStepsOfNodesThatDie(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nodesDie(t, seed) })
		})
	}
}

var errDied = errors.New("the node died here")

func nodesDie(t *testing.T, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	random := rand.New(rand.NewPCG(seed, 1))
	e := newEngine()
	e.fault = func(what string) error {
		switch random.IntN(8) {
		case 0:
			return errDied
		case 1:
			if what == "appended" || what == "written" || what == "deleted" {
				return backend.ErrMaybeStored
			}
		}
		return nil
	}
	k := backend.Key{Kind: "steps", Group: "one", Name: "record"}
	for i := range 200 {
		it, err := e.Get(ctx, k)
		if err != nil {
			continue // this reader died
		}
		entry := backend.Entry{Data: fmt.Appendf(nil, "%s -> %d", it.Value, i)}
		if it.Revision != 0 && random.IntN(4) == 0 {
			entry.Data = fmt.Appendf(nil, "%s -> ", it.Value)
			_ = e.Delete(ctx, k, it.Revision, &entry)
		} else {
			_, _ = e.Put(ctx, backend.Write{Key: k, Value: fmt.Append(nil, i), If: it.Revision, Append: &entry})
		}
	}
	e.fault = nil
	last, err := e.Get(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	page, err := e.Read(ctx, backend.Position{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	at, cause := "", backend.Revision(0)
	for _, r := range page.Records {
		var from, to string
		if i := len(at); len(r.Data) < i+4 || string(r.Data[:i]) != at || string(r.Data[i:i+4]) != " -> " {
			t.Fatalf("the log has %q after the record was %q", r.Data, at)
		} else {
			from, to = at, string(r.Data[i+4:])
		}
		if r.Cause <= cause {
			t.Errorf("the step from %q has the cause %d after %d", from, r.Cause, cause)
		}
		at, cause = to, r.Cause
	}
	if at != string(last.Value) || len(page.Records) < 20 {
		t.Errorf("after %d steps the record is %q, and the log ends with %q", len(page.Records), last.Value, at)
	}
}

// A record that no Store has written is given as it is, and hides no others. It can be
// changed and deleted.
func TestForeignRecords(t *testing.T) {
	e := newEngine()
	foreign := map[string]string{"empty": "", "other kind": "x", "cut": "w\x05a", "other program": `{"a":1}`}
	key := func(name string) backend.Key { return backend.Key{Kind: "k", Group: "g", Name: name} }
	for name, value := range foreign {
		if _, err := e.Store.Plain.Put(t.Context(), backend.Write{Key: key(name), Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Store.Put(t.Context(), backend.Write{Key: key("own"), Value: []byte("v"), Append: &backend.Entry{Data: []byte("e")}}); err != nil {
		t.Fatal(err)
	}
	foreign["own"] = "v"
	found := make(map[string]string)
	for it, err := range e.Store.List(t.Context(), "k", "") {
		if err != nil {
			t.Fatal(err)
		}
		found[it.Name] = string(it.Value)
		got, err := e.Store.Get(t.Context(), it.Key)
		if err != nil || string(got.Value) != string(it.Value) || got.Revision != it.Revision {
			t.Errorf("%s: Get %+v, %v; List %+v", it.Name, got, err, it)
		}
		if it.Revision, err = e.Store.Put(t.Context(), backend.Write{Key: it.Key, Value: []byte("new"), If: it.Revision}); err != nil {
			t.Errorf("%s: Put: %v", it.Name, err)
		}
		if err := e.Store.Delete(t.Context(), it.Key, it.Revision, nil); err != nil {
			t.Errorf("%s: Delete: %v", it.Name, err)
		}
	}
	if !maps.Equal(found, foreign) {
		t.Errorf("found %q, want %q", found, foreign)
	}
}
