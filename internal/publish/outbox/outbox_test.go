package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
)

var errDown = errors.New("the log is down")

type tab struct{}

// diary is a Publisher that keeps what is emitted, each with the tab its context
// has, or fails.
type diary struct {
	realtime.Publisher
	fail   error
	once   error // the next fails
	events []string
}

func (d *diary) Emit(ctx context.Context, ev realtime.RenEvent, _ ...realtime.EventOption) error {
	if d.fail != nil {
		return d.fail
	}
	if err := d.once; err != nil {
		d.once = nil
		return err
	}
	who, _ := ctx.Value(tab{}).(string)
	d.events = append(d.events, strings.TrimSpace(ev.Type+" "+ev.Key+" "+who))
	return nil
}

// expect fails unless that is what was emitted since the last call.
func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(d.events, want) {
		t.Errorf("emitted %q, want %q", d.events, want)
	}
	d.events = nil
}

func repeat(t *testing.T, a *outbox.Outbox, key string, want bool) {
	t.Helper()
	if pending, err := a.Retry(key, "kv.delete"); pending != want || err != nil {
		t.Errorf("a deletion of %s was pending: %v, %v", key, pending, err)
	}
}

func TestOwedIsEmittedFirstAndOnce(t *testing.T) {
	d := &diary{fail: errDown}
	a := outbox.New(d, nil)
	as := func(who string) context.Context {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), tab{}, who))
		cancel()
		return ctx
	}
	if err := a.Announce(as("tab1"), "a", realtime.KVDelete("", "a")); !errors.Is(err, errDown) {
		t.Error(err)
	}
	if err := a.Flush("a"); !errors.Is(err, errDown) {
		t.Error(err)
	}
	d.fail = nil
	repeat(t, a, "b", false)
	if err := a.Announce(as("tab2"), "a", realtime.KVPut("", "a")); err != nil {
		t.Error(err)
	}
	d.expect(t, "kv.delete a tab1", "kv.put a tab2")
	repeat(t, a, "a", false)
	if err := a.Flush("a"); err != nil {
		t.Error(err)
	}
	d.expect(t)
}

// An event that was not announced is not pending for a write of another kind.
func TestOnlyTheSameIsRepeated(t *testing.T) {
	d := &diary{fail: errDown}
	a := outbox.New(d, nil)
	_ = a.Announce(t.Context(), "a", realtime.KVPut("", "a"))
	d.fail = nil
	repeat(t, a, "a", false)
	d.expect(t)
}

func TestTheNewestIsOwed(t *testing.T) {
	object := func(ev func(string) realtime.RenEvent) realtime.RenEvent { return ev("a") }
	created, updated, deleted := object(realtime.ObjectCreated), object(realtime.ObjectUpdated), object(realtime.ObjectDeleted)
	for _, c := range []struct {
		writes []realtime.RenEvent
		want   realtime.RenEvent
	}{
		{[]realtime.RenEvent{updated, deleted}, deleted},
		{[]realtime.RenEvent{deleted, created}, created},
		{[]realtime.RenEvent{deleted, created, updated, updated.WithVersion("2")}, created}, // of which nobody has heard
	} {
		d := &diary{fail: errDown}
		a := outbox.New(d, func(pending, ev realtime.RenEvent) realtime.RenEvent {
			if pending.Type == created.Type && ev.Type == updated.Type {
				ev.Type = pending.Type
			}
			return ev
		})
		for _, ev := range c.writes {
			if err := a.Announce(t.Context(), "a", ev); !errors.Is(err, errDown) {
				t.Error(err)
			}
		}
		d.fail = nil
		if err := a.Flush("a"); err != nil {
			t.Error(err)
		}
		d.expect(t, c.want.Type+" a")
	}
}

// An event in maybe is announced if its write turns out to have happened, and otherwise
// dropped.
func TestDoubt(t *testing.T) {
	d := &diary{}
	a := outbox.New(d, nil)
	a.MaybeWritten(t.Context(), "a", realtime.KVDelete("", "a"))
	if err := a.Announce(t.Context(), "a", realtime.KVPut("", "a")); err != nil {
		t.Error(err)
	}
	repeat(t, a, "a", false)
	d.expect(t, "kv.put a")

	a.MaybeWritten(t.Context(), "a", realtime.KVDelete("", "a"))
	d.fail = errDown
	if pending, err := a.Retry("a", "kv.delete"); !pending || !errors.Is(err, errDown) {
		t.Errorf("%v, %v", pending, err)
	}
	d.fail = nil
	if err := a.Announce(t.Context(), "a", realtime.KVPut("", "a")); err != nil { // it had happened: no longer a maybe
		t.Error(err)
	}
	d.expect(t, "kv.delete a", "kv.put a")
}

// A certain event never gets into maybe. An event that cannot be emitted gives way to a
// newer one.
func TestDoubtOfWhatIsOwed(t *testing.T) {
	put, deleted := realtime.KVPut("", "a"), realtime.KVDelete("", "a")
	for _, c := range []struct {
		pending realtime.RenEvent
		down    error // when maybe comes
		want    []string
	}{
		{deleted, errDown, []string{"kv.delete a", "kv.put a"}},
		{put, nil, []string{"kv.put a", "kv.put a"}},
		{put, errDown, []string{"kv.put a"}},
	} {
		d := &diary{fail: errDown}
		a := outbox.New(d, nil)
		_ = a.Announce(t.Context(), "a", c.pending)
		d.fail = c.down
		a.MaybeWritten(t.Context(), "a", deleted)
		d.fail = nil
		if err := a.Announce(t.Context(), "a", put); err != nil {
			t.Error(err)
		}
		d.expect(t, c.want...)
	}
}

// An event that was announced is not announced again when its writer repeats it, and is
// forgotten with the next event of its key.
func TestRemember(t *testing.T) {
	d := &diary{}
	a := outbox.New(d, nil)
	a.Remember("a", realtime.KVDelete("", "a"))
	repeat(t, a, "a", true)
	repeat(t, a, "a", false)
	d.expect(t)

	a.Remember("a", realtime.KVDelete("", "a"))
	if err := a.Announce(t.Context(), "a", realtime.KVPut("", "a")); err != nil {
		t.Error(err)
	}
	repeat(t, a, "a", false)
	d.expect(t, "kv.put a")

	a.Remember("a", realtime.KVDelete("", "a"))
	a.MaybeWritten(t.Context(), "a", realtime.KVDelete("", "a")) // another one
	repeat(t, a, "a", true)
	d.expect(t, "kv.delete a")
}

// Where the event before it still cannot be emitted, an event waits in its place.
func TestWaitsForItsTurn(t *testing.T) {
	d := &diary{fail: errDown}
	a := outbox.New(d, nil)
	_ = a.Announce(t.Context(), "a", realtime.KVPut("", "a"))
	d.fail, d.once = nil, errDown
	if err := a.Announce(t.Context(), "a", realtime.KVDelete("", "a")); !errors.Is(err, errDown) {
		t.Error(err)
	}
	d.expect(t)
	repeat(t, a, "a", true)
	d.expect(t, "kv.delete a")
}

// The next write of a key settles what nobody knew of the one before.
func TestFlushDropsDoubts(t *testing.T) {
	d := &diary{}
	a := outbox.New(d, nil)
	a.MaybeWritten(t.Context(), "a", realtime.KVDelete("", "a"))
	a.Remember("b", realtime.KVDelete("", "b"))
	for _, key := range []string{"a", "b"} {
		if err := a.Flush(key); err != nil {
			t.Error(err)
		}
		repeat(t, a, key, false)
	}
	d.expect(t)
}

// An event that will never be accepted does not stand in the way of others.
func TestHopelessIsForgotten(t *testing.T) {
	for _, hopeless := range []error{realtime.ErrLoop, realtime.ErrBadEvent} {
		d := &diary{fail: fmt.Errorf("wrapped: %w", hopeless)}
		a := outbox.New(d, nil)
		if err := a.Announce(t.Context(), "a", realtime.KVDelete("", "a")); !errors.Is(err, hopeless) {
			t.Error(err)
		}
		d.fail = nil
		repeat(t, a, "a", false)
	}
}

// Memory is bounded: the oldest of more than 1,024 is forgotten.
func TestBound(t *testing.T) {
	d := &diary{fail: errDown}
	a := outbox.New(d, nil)
	lose := func(i int) {
		key := fmt.Sprint(i)
		_ = a.Announce(t.Context(), key, realtime.KVDelete("", key))
	}
	for i := range 1024 {
		lose(i)
	}
	lose(0) // is the newest now
	lose(1024)
	d.fail = nil
	repeat(t, a, "1", false)
	for _, key := range []string{"0", "2", "1023", "1024"} {
		repeat(t, a, key, true)
	}
}
