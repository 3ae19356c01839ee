package handle

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

var errDown = errors.New("the store is down")

// faulty is a store whose next calls fail.
type faulty struct {
	backend.Store
	gets, puts []error // of the next calls; nil is none, and the call is made
	value      []byte  // what Get finds, if any
}

func next(list *[]error) (err error) {
	if len(*list) > 0 {
		err, *list = (*list)[0], (*list)[1:]
	}
	return err
}

func (f *faulty) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if err := next(&f.gets); err != nil {
		return backend.Item{}, err
	}
	it, err := f.Store.Get(ctx, k)
	if f.value != nil {
		it.Value, it.Revision = f.value, max(it.Revision, 1)
	}
	return it, err
}

func (f *faulty) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if err := next(&f.puts); err != nil {
		return 0, err
	}
	return f.Store.Put(ctx, w)
}

// holding runs a test in virtual time with a claim that holds the group.
func holding(t *testing.T, name string, f func(t *testing.T, c *Claim, store *faulty)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := &faulty{Store: memory.New(memory.Limits{})}
			c := NewClaim(store, "ann", "mailer", lease)
			if _, err := c.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Commit(t.Context(), upTo(1, 5)); err != nil {
				t.Fatal(err)
			}
			f(t, c, store)
		})
	})
}

var garbage = []byte{recordVersion, 200}

// The caller gets the store's errors. An error does not end a hold that is still good.
func TestErrorsOfTheStore(t *testing.T) {
	holding(t, "renewed", func(t *testing.T, c *Claim, store *faulty) {
		until := c.Until()
		time.Sleep(lease / 2)
		store.puts = []error{errDown}
		if _, err := c.Hold(t.Context()); !errors.Is(err, errDown) || c.Until() != until {
			t.Errorf("%v, held until %v", err, c.Until())
		}
		if p, err := c.Hold(t.Context()); err != nil || p.Floor.Seq != 5 || !c.Until().After(until) {
			t.Errorf("then %+v, %v", p, err)
		}
	})
	holding(t, "held again", func(t *testing.T, c *Claim, store *faulty) {
		time.Sleep(2 * lease)
		store.puts = []error{errDown}
		if _, err := c.Hold(t.Context()); !errors.Is(err, errDown) || c.Until().After(time.Now()) {
			t.Errorf("the record cannot be written: %v", err)
		}
		store.gets = []error{errDown}
		if _, err := c.Hold(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("the record cannot be read: %v", err)
		}
		other := NewClaim(store, "bob", "mailer", lease)
		store.value = garbage
		if _, err := other.Hold(t.Context()); !errors.Is(err, errRecord) {
			t.Errorf("the record is malformed: %v", err)
		}
	})
	holding(t, "committed", func(t *testing.T, c *Claim, store *faulty) {
		store.puts = []error{errDown}
		if err := c.Commit(t.Context(), upTo(1, 6)); !errors.Is(err, errDown) || !c.Until().After(time.Now()) {
			t.Errorf("%v", err)
		}
	})
	holding(t, "released", func(t *testing.T, c *Claim, store *faulty) {
		store.puts = []error{errDown}
		if err := c.Release(t.Context()); !errors.Is(err, errDown) || !c.Until().IsZero() {
			t.Errorf("%v", err)
		}
	})
	holding(t, "read", func(t *testing.T, c *Claim, store *faulty) {
		if p, err := Read(t.Context(), store, "mailer"); err != nil || p.Floor.Seq != 5 {
			t.Errorf("%+v, %v", p, err)
		}
		store.gets = []error{errDown}
		if _, err := Read(t.Context(), store, "mailer"); !errors.Is(err, errDown) {
			t.Errorf("the record cannot be read: %v", err)
		}
		store.value = garbage
		if _, err := Read(t.Context(), store, "mailer"); !errors.Is(err, errRecord) {
			t.Errorf("the record is malformed: %v", err)
		}
	})
	holding(t, "its holder", func(t *testing.T, c *Claim, store *faulty) {
		if node, known, err := Holder(t.Context(), store, "mailer"); node != "ann" || !known || err != nil {
			t.Errorf("%q holds it, %v, %v", node, known, err)
		}
		if node, known, err := Holder(t.Context(), store, "other"); node != "" || known || err != nil {
			t.Errorf("of a group that was never held: %q, %v, %v", node, known, err)
		}
		store.gets = []error{errDown}
		if _, known, err := Holder(t.Context(), store, "mailer"); known || !errors.Is(err, errDown) {
			t.Errorf("the record cannot be read: %v, %v", known, err)
		}
		store.value = garbage
		if _, _, err := Holder(t.Context(), store, "mailer"); !errors.Is(err, errRecord) {
			t.Errorf("the record is malformed: %v", err)
		}
	})
}

// After a Put of unknown outcome, or one that conflicts, the record says what it
// was.
func TestLookAfterAPut(t *testing.T) {
	conflict, unknown := []error{backend.ErrConflict}, []error{backend.ErrMaybeStored}
	for name, c := range map[string]struct {
		puts, gets []error
		value      func(r record) []byte // what there is
		want       error
		held       bool
	}{
		"unknown, not made":           {puts: unknown, held: true},
		"unknown, cannot look":        {puts: unknown, gets: []error{errDown}, want: backend.ErrMaybeStored, held: true},
		"unknown, malformed":          {puts: unknown, value: func(record) []byte { return garbage }, want: backend.ErrMaybeStored, held: true},
		"unknown, of another":         {puts: unknown, value: of("bob"), want: ErrHeld},
		"conflict, nothing changed":   {puts: conflict, want: ErrHeld},
		"conflict, cannot look":       {puts: conflict, gets: []error{errDown}, want: ErrHeld},
		"conflict, of another":        {puts: conflict, value: of("bob"), want: ErrHeld},
		"conflict, nobody's":          {puts: conflict, value: of(""), want: ErrHeld},
		"unknown twice":               {puts: []error{backend.ErrMaybeStored, backend.ErrMaybeStored}, held: true},
		"unknown, and then a failure": {puts: []error{backend.ErrMaybeStored, errDown}, want: errDown, held: true},
	} {
		holding(t, name, func(t *testing.T, claim *Claim, store *faulty) {
			store.puts, store.gets = c.puts, c.gets
			if c.value != nil {
				store.value = c.value(claim.rec)
				// Somebody has written, and so the revision is another.
				if _, err := store.Store.Put(t.Context(), backend.Write{Key: claim.key, Value: store.value, If: claim.seen}); err != nil {
					t.Fatal(err)
				}
			}
			err := claim.Commit(t.Context(), upTo(1, 6))
			if !errors.Is(err, c.want) || claim.Until().After(time.Now()) != c.held {
				t.Errorf("%v, held until %v", err, claim.Until())
			}
		})
	}
	holding(t, "an earlier Put of ours", func(t *testing.T, c *Claim, store *faulty) {
		rec := c.rec.add(upTo(1, 6))
		rev, err := store.Store.Put(t.Context(), backend.Write{Key: c.key, Value: rec.encode(), If: c.seen})
		if err != nil || rev == c.seen {
			t.Fatal(rev, err)
		}
		if err := c.Commit(t.Context(), upTo(1, 7)); err != nil {
			t.Error(err)
		}
		if p, err := Read(t.Context(), store, "mailer"); err != nil || p.Floor.Seq != 7 {
			t.Errorf("%+v, %v", p, err)
		}
	})
	holding(t, "until the context ends", func(t *testing.T, c *Claim, store *faulty) {
		ctx, cancel := context.WithTimeout(t.Context(), retryAfter/2)
		defer cancel()
		store.puts = unknown
		began := time.Now()
		if err := c.Commit(ctx, upTo(1, 6)); !errors.Is(err, backend.ErrMaybeStored) || time.Since(began) != retryAfter/2 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// of returns a record that somebody else has written.
func of(holder string) func(record) []byte {
	return func(r record) []byte {
		r.holder = holder
		return r.encode()
	}
}

// A node does not release a hold that another node has taken.
func TestReleaseOfALostHold(t *testing.T) {
	holding(t, "lost", func(t *testing.T, c *Claim, store *faulty) {
		store.puts, store.gets = []error{backend.ErrConflict}, nil
		if err := c.Release(t.Context()); err != nil || !c.Until().IsZero() {
			t.Errorf("%v, held until %v", err, c.Until())
		}
	})
}

func TestProgressIsAdded(t *testing.T) {
	before := record{}.add(failed(upTo(1, 10, 12, 15), map[uint64]int{11: 1, 14: 2}))
	for name, c := range map[string]struct{ more, want Progress }{
		"nothing":          {upTo(1, 10), failed(upTo(1, 10, 12, 15), map[uint64]int{11: 1, 14: 2})},
		"up to one":        {upTo(1, 12), failed(upTo(1, 12, 15), map[uint64]int{14: 2})},
		"before another":   {upTo(1, 13), failed(upTo(1, 13, 15), map[uint64]int{14: 2})},
		"up to a failure":  {upTo(1, 14), upTo(1, 14, 15)},
		"at the floor":     {failed(upTo(1, 10, 10), map[uint64]int{10: 1}), failed(upTo(1, 10, 12, 15), map[uint64]int{11: 1, 14: 2})},
		"above the floor":  {failed(upTo(1, 10, 11), map[uint64]int{13: 4}), failed(upTo(1, 10, 11, 12, 15), map[uint64]int{13: 4, 14: 2})},
		"done after all":   {upTo(1, 10, 14), failed(upTo(1, 10, 12, 14, 15), map[uint64]int{11: 1})},
		"failed, but done": {failed(upTo(1, 10), map[uint64]int{12: 3, 15: 1}), failed(upTo(1, 10, 12, 15), map[uint64]int{11: 1, 14: 2})},
		"a newer epoch":    {failed(upTo(2, 3, 5), map[uint64]int{4: 1}), failed(upTo(2, 3, 5), map[uint64]int{4: 1})},
		"a newer, lower":   {upTo(2, 3), upTo(2, 3)},
		"an older epoch":   {upTo(0, 90, 95), failed(upTo(1, 10, 12, 15), map[uint64]int{11: 1, 14: 2})},
	} {
		added := before.add(c.more)
		got := added.progress()
		if got.Floor != c.want.Floor || !slices.Equal(got.Done, c.want.Done) || !maps.Equal(got.Failed, c.want.Failed) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if now := before.progress(); now.Floor.Seq != 10 || len(now.Done) != 2 || len(now.Failed) != 2 {
			t.Fatalf("%s: what was there before became %+v", name, now)
		}
		again, err := decode(backend.Item{Value: added.encode(), Revision: 1})
		if err != nil || !maps.Equal(again.failed, added.failed) || !maps.Equal(again.done, added.done) {
			t.Errorf("%s: decoded %+v, %v", name, again, err)
		}
	}
}

// Failures are remembered of so many events, as done ones are.
func TestManyFailed(t *testing.T) {
	p := Progress{Failed: make(map[uint64]int)}
	for i := range uint64(2 * maxDone) {
		p.Failed[i+1] = 1
	}
	if got := (record{}).add(p); len(got.failed) != maxDone {
		t.Errorf("%d failures are remembered", len(got.failed))
	}
}

func TestMalformedRecords(t *testing.T) {
	good := (&record{holder: "ann", floor: backend.Position{Epoch: 1, Seq: 2}}).encode()
	long := slices.Concat([]byte{recordVersion}, binary.AppendUvarint(nil, 1<<63), []byte{0, 0, 0, 0})
	for name, value := range map[string][]byte{
		"nothing":                   {},
		"another version":           append([]byte{recordVersion + 1}, good[1:]...),
		"a name longer than all":    {recordVersion, 5, 0, 0, 0, 0},
		"a name longer than memory": long,
		"a number too large":        {recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0},
	} {
		if r, err := decode(backend.Item{Value: value, Revision: 1}); !errors.Is(err, errRecord) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if r, err := decode(backend.Item{Value: good, Revision: 1}); err != nil || r.holder != "ann" {
		t.Errorf("%+v, %v", r, err)
	}
}
