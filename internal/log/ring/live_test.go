package ring

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// batch is a record that tells something live: "channel/user/kind" each.
func batch(seq uint64, live ...[3]string) *backend.Logged {
	rec := &backend.Logged{Pos: *at(seq)}
	for _, l := range live {
		rec.Live = append(rec.Live, &backend.Logged{
			Pos: rec.Pos, Ephemeral: true, Kind: l[2],
			Event: backend.Event{Resource: "realtime", Channel: l[0], User: l[1]},
		})
	}
	return rec
}

// Against a model: of each user and kind the newest that came after the subscription
// and the last read, each once, at its place among the entries, of which another topic
// may have too many for one read.
func TestLiveModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRing(Limits{Records: 8, Bytes: 1 << 30, Age: time.Hour})
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("a"), Channel("busy"))
		newest := map[[3]string]uint64{}
		for seq := uint64(1); seq < 60; seq++ {
			if k := rnd.IntN(6); k < 3 {
				r.fill(record(seq, "realtime", []string{"a", "busy", "busy"}[k]))
			} else {
				of := [3]string{"a", fmt.Sprint(rnd.IntN(2)), fmt.Sprint(rnd.IntN(2))}
				newest[of] = seq
				r.fill(batch(seq, of, [3]string{"b", "", ""}))
			}
			if rnd.IntN(4) > 0 {
				continue
			}
			last := uint64(0)
			for more := true; more; {
				var items []Item
				items, _, more = rd.Next(nil, Budget{1 + rnd.IntN(3), 1 << 30})
				for _, it := range items {
					if it.Entry == nil {
						continue
					}
					if it.Pos.Seq < last {
						t.Fatalf("seed %d: %d after %d", seed, it.Pos.Seq, last)
					}
					last = it.Pos.Seq
					if e := it.Entry; e.Ephemeral {
						of := [3]string{e.Event.Channel, e.Event.User, e.Kind}
						if newest[of] != e.Pos.Seq {
							t.Fatalf("seed %d: got %v of %d, the newest that was not read is of %d", seed, of, e.Pos.Seq, newest[of])
						}
						delete(newest, of)
					}
				}
			}
			if len(newest) > 0 {
				t.Fatalf("seed %d: %v are missing", seed, newest)
			}
		}
	}
}

// Live messages take no room in the ring, so they evict nothing and reset nobody.
func TestLiveTakesNoRoom(t *testing.T) {
	r := newRing(Limits{Records: 2, Bytes: 2000, Age: time.Hour})
	rd := r.NewReader()
	rd.Subscribe(nil, Topic{})
	r.fill(record(1, "realtime", "a"))
	for seq := range uint64(1000) {
		r.fill(batch(seq+2, [3]string{"a", "ada", fmt.Sprint(seq)}))
	}
	expect(t, "the reader gets", drain(rd, 10), []string{"1"})
	if r.bytes.Load() > 2000 || r.entries.Len() != 1 {
		t.Errorf("%d entries of %d bytes", r.entries.Len(), r.bytes.Load())
	}
	if e, gone := r.At(*at(1)); e == nil || gone.Seq != 0 {
		t.Errorf("the entry is gone, with all up to %v", gone)
	}
	if e, _ := r.At(*at(7)); e != nil {
		t.Errorf("a record without an event is entry %v", e.Pos)
	}
	r.fill(record(1002, "realtime", "a"), record(1003, "realtime", "a"))
	if e, gone := r.At(*at(1)); e != nil || gone.Seq != 1 {
		t.Errorf("the oldest is there, gone is %v", gone)
	}
	if e, _ := r.At(*at(1003)); e == nil {
		t.Error("the newest is not there")
	}
}

// Live messages that nobody reads are forgotten: with the subscription, by age, and by
// number.
func TestLiveIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(roomy)
		stalled := r.NewReader()
		stalled.Subscribe(nil, Channel("a"))
		r.fill(record(1, "realtime", "nobody"))
		for seq := range uint64(3 * liveKinds) {
			r.fill(batch(seq+2, [3]string{"a", "", fmt.Sprint(seq)}, [3]string{"nobody", "", ""}))
		}
		if n := r.passing.oldest.Len(); n != liveKinds || len(r.topics[Channel("a")].live) != liveKinds {
			t.Errorf("%d are kept", n)
		}
		if n := len(drain(stalled, 10)); n != liveKinds {
			t.Errorf("got %d", n)
		}
		late := r.NewReader()
		late.Subscribe(nil, Channel("a"))
		back := r.NewReader()
		back.Subscribe(at(3), Channel("a"))
		next := uint64(3*liveKinds + 2)
		r.fill(record(next, "realtime", "a"))
		expect(t, "who subscribes later gets", drain(late, 10), []string{fmt.Sprint(next)})
		expect(t, "who resumes gets", drain(back, 10), []string{fmt.Sprint(next)})
		time.Sleep(liveAge + time.Second)
		r.fill(batch(next + 1))
		if n := r.passing.oldest.Len(); n != 0 || r.passing.bytes.Load() != 0 {
			t.Errorf("%d are kept, %d bytes", n, r.passing.bytes.Load())
		}
		r.fill(batch(next+2, [3]string{"a", "", "x"}))
		r.Reset(backend.Position{Epoch: epoch + 1})
		if n := r.passing.oldest.Len(); n != 0 {
			t.Errorf("%d are kept after the log was lost", n)
		}
		expect(t, "after a reset", drain(late, 10), []string{"epoch@0"})
	})
}

// All that is kept of live messages is bounded too: by number, by bytes, and by age. What
// is just within a bound is kept.
func TestBoundsOfLiveMessages(t *testing.T) {
	one := func(seq uint64, bytes int) *backend.Logged {
		rec := batch(seq, [3]string{fmt.Sprint(seq % 100), "", fmt.Sprint(seq)})
		size := newEntry(rec.Live[0], time.Now(), new(atomic.Int64)).size.Load()
		rec.Live[0].Event.Data = make([]byte, bytes-int(size))
		return rec
	}
	for name, c := range map[string]struct{ most, bytes int }{"number": {liveRecords, 450}, "bytes": {8, liveBytes / 8}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRing(roomy)
			rd := r.NewReader()
			for i := range 100 {
				rd.Subscribe(nil, Channel(fmt.Sprint(i)))
			}
			seq := uint64(1)
			for ; seq <= uint64(c.most); seq++ {
				r.fill(one(seq, c.bytes))
			}
			if n := r.passing.oldest.Len(); n != c.most {
				t.Errorf("%s: %d are kept", name, n)
			}
			r.fill(one(seq, c.bytes))
			if n := r.passing.oldest.Len(); n != c.most {
				t.Errorf("%s: %d are kept of one more", name, n)
			}
			time.Sleep(liveAge)
			r.fill(one(seq+1, c.bytes))
			if n := r.passing.oldest.Len(); n != c.most {
				t.Errorf("%s: %d are kept that are just young enough", name, n)
			}
			time.Sleep(time.Nanosecond)
			r.fill(one(seq+2, c.bytes))
			if n := r.passing.oldest.Len(); n != 2 {
				t.Errorf("%s: %d are kept in the end", name, n)
			}
		})
	}
}

// A reader that was held, or was slow, is not given live messages that are too old for a
// reader of now, even if nothing has come since that would have removed them.
func TestLiveEventsGetOld(t *testing.T) {
	const tooLong = liveAge + time.Nanosecond
	hold := func(rd *Reader, d time.Duration) {
		rd.Hold(Channel("a"), *at(0))
		time.Sleep(d)
		rd.Release(Channel("a"))
	}
	for name, c := range map[string]struct {
		wait func(*Reader)
		want int
	}{
		"held":              {func(rd *Reader) { hold(rd, tooLong) }, 0},
		"held not too long": {func(rd *Reader) { hold(rd, liveAge) }, 1},
		"slow":              {func(*Reader) { time.Sleep(tooLong) }, 0},
		"not too slow":      {func(*Reader) { time.Sleep(liveAge) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRing(Limits{Records: 8, Bytes: 1 << 30, Age: time.Hour})
				rd := r.NewReader()
				rd.Subscribe(nil, Channel("a"))
				r.fill(batch(1, [3]string{"a", "ada", "typing"}))
				c.wait(rd)
				if items, _, more := rd.Next(nil, Batch); len(items) != c.want || more {
					t.Errorf("%+v, more %v", items, more)
				}
				r.fill(record(2, "realtime", "b"))
				if pos := rd.Complete(Channel("a")); pos != *at(2) || len(rd.Wake()) != 1 {
					t.Errorf("complete up to %v, woken %d times", pos, len(rd.Wake()))
				}
				r.fill(batch(3, [3]string{"a", "ada", "typing"}))
				if items, _, _ := rd.Next(nil, Batch); len(items) != 1 || items[0].Pos.Seq != 3 {
					t.Errorf("%+v", items)
				}
			})
		})
	}
}

// The kind of a live event, which a client chooses, counts as memory.
func TestSizeOfALiveEvent(t *testing.T) {
	size := func(kind string) int64 {
		r := newRing(Limits{Records: 8, Bytes: 1 << 30, Age: time.Hour})
		r.NewReader().Subscribe(nil, Channel("a"))
		r.fill(batch(1, [3]string{"a", "ada", kind}))
		return r.passing.bytes.Load()
	}
	if got := size(string(make([]byte, 1000))) - size(""); got != 1000 {
		t.Errorf("a kind of 1,000 bytes counts as %d", got)
	}
}
