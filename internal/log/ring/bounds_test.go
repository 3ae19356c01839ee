package ring

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

func TestBounds(t *testing.T) {
	const three = 3*overhead + 3*int64(len("kv"))
	for _, c := range []struct {
		limits         Limits
		records, bytes uint64 // evicted because of
	}{
		{Limits{Records: 3, Bytes: three + perSubject, Age: time.Hour}, 7, 0},
		{Limits{Records: 1 << 20, Bytes: three, Age: time.Hour}, 0, 7},
		{Limits{Records: 4, Bytes: three, Age: time.Hour}, 0, 7},
	} {
		r := newRing(c.limits)
		for seq := range uint64(10) {
			r.fill(record(seq+1, "kv", ""))
		}
		if s := r.Stats(); s.Entries != 3 || s.EvictedCount != c.records || s.EvictedBytes != c.bytes || s.EvictedAge != 0 {
			t.Errorf("%+v: %+v", c.limits, s)
		}
	}
	r := newRing(Limits{Records: 1 << 20, Bytes: 1 << 40, Age: time.Minute})
	old := record(1, "kv", "")
	old.Event.UnixMilli -= time.Hour.Milliseconds()
	r.Fill([]*backend.Logged{old, record(2, "kv", "")})
	if s := r.Stats(); s.Entries != 1 || s.EvictedAge != 1 {
		t.Errorf("age: %+v", s)
	}
}

func TestEncodedOnceAndCharged(t *testing.T) {
	r := newRing(Limits{Records: 2, Bytes: 1 << 40, Age: time.Hour})
	r.fill(record(1, "kv", ""))
	e := r.entries.At(0)
	before, times := r.bytes.Load(), 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			e.Encoded(FormREN, func(*backend.Logged) []byte { times++; return make([]byte, 1000) })
		})
	}
	wg.Wait()
	if times != 1 || r.bytes.Load() != before+1000 {
		t.Errorf("encoded %d times, charged %d bytes", times, r.bytes.Load()-before)
	}
	r.fill(record(2, "kv", ""), record(3, "kv", ""))
	e.Encoded(FormChannel, func(*backend.Logged) []byte { return make([]byte, 1000) })
	r.restart(*at(3))
	if n := r.bytes.Load(); n != 0 {
		t.Errorf("an empty ring holds %d bytes", n)
	}
}

func TestAgeIsEnforcedWhereNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(Limits{Records: 1 << 20, Bytes: 1 << 40, Age: time.Minute})
		r.fill(record(1, "kv", ""))
		time.Sleep(time.Minute)
		if start := r.NewReader().Subscribe(at(0), Domain("kv")); start.State != Resumed {
			t.Errorf("what is just young enough is not replayed: %+v", start)
		}
		time.Sleep(time.Nanosecond)
		if start := r.NewReader().Subscribe(at(0), Domain("kv")); start.State != Reset {
			t.Errorf("what is too old is replayed: %+v", start)
		}
	})
}

// The memory for channels that come and go is bounded.
func TestForgetsChannels(t *testing.T) {
	const keep = 100
	r := newRing(Limits{Records: keep, Bytes: 1 << 40, Age: time.Hour})
	for seq := range uint64(50 * keep) {
		name := fmt.Sprint("room:", seq)
		r.fill(record(seq+1, "realtime", name))
		rd := r.NewReader()
		rd.Subscribe(nil, Channel(name), Channel(name+":never"))
		rd.Close()
	}
	if n := len(r.topics); n > 2*keep+10 {
		t.Errorf("%d topics are remembered, of %d entries", n, keep)
	}
	if names := r.Channels(time.Now().Add(-time.Minute)); len(names) > 2*keep {
		t.Errorf("%d channels are listed", len(names))
	}
}

// The newest entry is there for its readers, whatever its size and whatever time
// its node thinks it is.
func TestTheNewestEntryStays(t *testing.T) {
	big := func(seq uint64) *backend.Logged {
		rec := record(seq, "realtime", "a")
		rec.Event.Data = make([]byte, 1000)
		return rec
	}
	r := newRing(Limits{Records: 9, Bytes: 500, Age: time.Minute})
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"))
	r.fill(big(1))
	expect(t, "one", drain(rd, 9), []string{"1"})
	r.entries.At(0).Encoded(FormREN, func(*backend.Logged) []byte { return make([]byte, 1000) })
	late := r.NewReader()
	if start := late.Subscribe(at(0), Channel("a")); start.State != Resumed {
		t.Errorf("a reader that comes later: %+v", start)
	}
	expect(t, "it reads", drain(late, 9), []string{"1"})
	r.fill(big(2), big(3)) // there is room for one
	expect(t, "two at once", drain(rd, 9), []string{"evicted@3"})
	r.fill(big(4))
	expect(t, "the next one", drain(rd, 9), []string{"4"})
	if e, _ := r.At(*at(4)); e == nil || r.bytes.Load() != e.size.Load() {
		t.Errorf("%d bytes are charged", r.bytes.Load())
	}

	r = newRing(Limits{Records: 1, Bytes: 1 << 40, Age: time.Minute})
	rd = r.NewReader()
	rd.Subscribe(nil, Channel("a"))
	old := record(1, "realtime", "a")
	old.Event.UnixMilli -= time.Hour.Milliseconds() // by the clock of another node
	r.fill(old)
	expect(t, "of a slow clock", drain(rd, 9), []string{"1"})
}
