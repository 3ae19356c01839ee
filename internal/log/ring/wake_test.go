package ring

import (
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// Subscriptions end and begin while those of their topic are being marked: none is left
// out, and who reads before it is marked has all the same.
func TestWakeWhileOthersComeAndGo(t *testing.T) {
	r := newRing(roomy)
	var readers []*Reader
	come := func() {
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("room"))
		readers = append(readers, rd)
	}
	for range 3 * wakeAtOnce {
		come()
	}
	r.insert([]*backend.Logged{record(1, "realtime", "room")}, now)
	room := r.topics[Channel("room")]
	if !slices.Contains(r.waking, room) || len(readers[0].Wake()) > 0 {
		t.Fatal("woken under the lock")
	}
	left := r.wakeSome(room, 3*wakeAtOnce)
	if left != 2*wakeAtOnce {
		t.Fatalf("%d are left", left)
	}
	expect(t, "who reads before it is marked", drain(readers[7], 9), []string{"1"})
	for _, i := range []int{0, left - 1, left, len(readers) - 1} {
		readers[i].Close()
	}
	come()
	r.wake()
	for i, rd := range readers {
		_, quiet := rd.Quiet()
		switch woken := len(rd.Wake()) > 0; {
		case slices.Contains([]int{0, left - 1, left, 7}, i): // ended, or has read
		case i == 3*wakeAtOnce: // came later
			if woken || !quiet {
				t.Error("one that came later is woken")
			}
		case !woken || quiet && rd.subs != nil:
			t.Fatalf("reader %d is not woken", i)
		}
	}
}

// One topic of many subscriptions makes others wait no longer than their own takes.
func TestTopicsOfFewAreWokenFirst(t *testing.T) {
	r := newRing(roomy)
	var woken []string
	for _, name := range []string{"many", "many", "few", "many"} {
		r.NewReaderFunc(func() { woken = append(woken, name) }).Subscribe(nil, Channel(name))
	}
	r.fill(record(1, "realtime", "many"), record(2, "realtime", "few"))
	expect(t, "woken", woken, []string{"few", "many", "many", "many"})
}

// A reader's state is correct before the reader is marked, and the mark still wakes it.
func TestWokenAfterItHasLooked(t *testing.T) {
	for name, look := range map[string]func(*Reader) bool{
		"quiet":    func(rd *Reader) bool { _, quiet := rd.Quiet(); return quiet },
		"complete": func(rd *Reader) bool { return rd.Complete(Channel("a")) != *at(0) },
		"released": func(rd *Reader) bool {
			rd.Hold(Channel("a"), *at(0))
			_, quiet := rd.Quiet()
			rd.Release(Channel("a"))
			return !quiet
		},
	} {
		r := newRing(roomy)
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("a"))
		r.insert([]*backend.Logged{record(1, "realtime", "a")}, now)
		if look(rd) {
			t.Errorf("%s: an unread entry is not seen", name)
		}
		r.wake()
		select {
		case <-rd.Wake():
		default:
			t.Errorf("%s: not woken", name)
		}
		expect(t, name, drain(rd, 9), []string{"1"})
	}
}

// A reset reaches a reader that was marked before, or reads before it is marked.
func TestResetBeforeItIsMarked(t *testing.T) {
	for _, marked := range []bool{false, true} {
		r := New(roomy, *at(9)) // which is more than the new log has
		rd, idle := r.NewReader(), r.NewReader()
		rd.Subscribe(nil, Channel("a"), Channel("b"))
		idle.Subscribe(nil, Channel("b"))
		r.insert([]*backend.Logged{record(10, "realtime", "a")}, now)
		if marked {
			r.wake()
		}
		r.mu.Lock()
		r.reset(backend.Position{Epoch: epoch + 1, Seq: 5}, Epoch)
		r.mu.Unlock()
		if pos := rd.Complete(Channel("b")); pos != (backend.Position{}) {
			t.Errorf("complete up to %v, though a reset is due", pos)
		}
		expect(t, "two resets", drain(rd, 9), []string{"epoch@5", "epoch@5"})
		if _, quiet := idle.Quiet(); quiet {
			t.Error("quiet, though a reset is due")
		}
		r.wake()
		<-idle.Wake()
		expect(t, "a reset", drain(idle, 9), []string{"epoch@5"})
	}
}

// A topic that is held at a place of the new log goes on there, whether it was marked or
// not.
func TestHeldBeforeAResetIsMarked(t *testing.T) {
	for _, marked := range []bool{false, true} {
		r := newRing(roomy)
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("a"))
		var recs []*backend.Logged
		for seq := uint64(1); seq <= 3; seq++ {
			rec := record(seq, "realtime", "a")
			rec.Pos.Epoch++
			recs = append(recs, rec)
		}
		r.insert(recs, now)
		if marked {
			r.wake()
		}
		rd.Hold(Channel("a"), backend.Position{Epoch: epoch + 1, Seq: 2})
		rd.Release(Channel("a"))
		expect(t, "after the place", drain(rd, 9), []string{"epoch@2", "3"})
	}
}
