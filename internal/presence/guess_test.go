package presence_test

import (
	"errors"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// A node reads no record that it has written itself: neither to change it, nor to end it.
func TestOwnRecordsAreNotRead(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		w.join(n, tab("ann", "1"), tab("ann", "2"), with(tab("ann", "2"), `3`))
		w.pass(time.Minute)
		w.must(n.Touch(w.ctx, channel, "ann"))
		w.leave(n, "ann", "1", presence.Left, 0)
		w.leave(n, "ann", "2", presence.Closed, time.Second)
		w.pass(time.Minute)
		w.expect("all of it", `presence.join ann {}`, `presence.update ann {"metadata":3}`, `presence.leave ann {"metadata":3,"reason":"closed"}`)
		if reads, writes := p.count("Get member"), p.count("Put member")+p.count("Delete member"); reads != 0 || writes != 6 {
			t.Errorf("%d reads and %d writes", reads, writes)
		}
	})
}

// What another node has written meanwhile is read: nothing is done by what a node
// remembers of a record.
func TestRecordsOfOthersAreRead(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, _ := w.probed("a", false)
		b := w.start("b", false)
		w.join(b, tab("ann", "b"))
		w.join(a, tab("ann", "a")) // there is a record already
		w.join(b, tab("ann", "b2"))
		w.leave(a, "ann", "a", presence.Left, 0) // others have come
		w.expect("two nodes", `presence.join ann {}`)
		w.present(a, "two nodes", "ann")
		w.join(a, tab("ann", "a"))
		w.leave(b, "ann", "b", presence.Left, 0)
		w.leave(b, "ann", "b2", presence.Left, 0)
		w.leave(a, "ann", "a", presence.Left, 0) // others have gone
		w.expect("the last one leaves", `presence.leave ann {"reason":"left"}`)
		w.join(a, tab("bob", "1"))
		w.leave(b, "bob", "1", presence.Left, 0)
		w.payloads()
		w.join(a, tab("bob", "1")) // it is not there any longer
		w.expect("ended by another node", `presence.join bob {}`)
		before := p.count("Get member")
		w.leave(a, "nobody", "1", presence.Left, 0)
		w.leave(a, "bob", "2", presence.Left, 0) // of which this node knows nothing
		if reads := p.count("Get member") - before; reads != 2 {
			t.Errorf("%d reads of sessions that are not known", reads)
		}
		w.expect("nobody has left")
	})
}

// A record that another node has changed meanwhile costs one more request, and no wait. After
// a write whose outcome is unknown the record is read, a moment later.
func TestWrongGuesses(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, _ := w.probed("a", false)
		b := w.start("b", false)
		w.join(a, tab("ann", "1"))
		w.join(b, tab("ann", "2"))
		w.pass(time.Second) // between two looks of the loops
		p.failing(nil)
		began := time.Now()
		w.join(a, with(tab("ann", "1"), `1`))
		if took, reads, writes := time.Since(began), p.count("Get member"), p.count("Put member"); took > 0 || reads != 1 || writes != 2 {
			t.Errorf("where another node has written: %d reads and %d writes in %v", reads, writes, took)
		}

		p.failing(times(1, "Put member", backend.ErrMaybeStored))
		began = time.Now()
		w.join(a, with(tab("ann", "1"), `2`))
		if took, reads, writes := time.Since(began), p.count("Get member"), p.count("Put member"); took == 0 || reads != 1 || writes != 2 {
			t.Errorf("of unknown outcome: %d reads and %d writes in %v", reads, writes, took)
		}
	})
}

// What a node does not know of a record, since its last change of it has failed, it reads
// before it writes.
func TestUnknownRecordsAreRead(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, _ := w.probed("a", false)
		w.join(a, tab("ann", "1"))
		w.pass(31 * time.Second) // in which no lastSeen is stored
		p.failing(only("Put member", errCut))
		if err := a.Touch(w.ctx, channel, "ann"); !errors.Is(err, errCut) {
			t.Error(err)
		}
		p.failing(nil)
		w.join(a, with(tab("ann", "1"), `1`))
		if reads, writes := p.count("Get member"), p.count("Put member"); reads != 1 || writes != 1 {
			t.Errorf("%d reads and %d writes", reads, writes)
		}
	})
}
