package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// A goroutine that waits while another one encodes an entry gets its result.
func TestEncodedOnceByThoseWhoWait(t *testing.T) {
	r := newRing(roomy)
	r.fill(record(1, "kv", ""))
	e := r.entries.At(0)
	var times, started atomic.Int32
	var all sync.WaitGroup
	e.encoding.Lock()
	for range 16 {
		all.Go(func() {
			started.Add(1)
			e.Encoded(FormREN, func(*backend.Logged) []byte { times.Add(1); return nil })
		})
	}
	for n := 0; started.Load() < 16 || n < 1000; n++ {
		runtime.Gosched() // until all wait
	}
	e.encoding.Unlock()
	all.Wait()
	if n := times.Load(); n != 1 {
		t.Errorf("encoded %d times", n)
	}
}

// All that an entry holds is charged to the ring.
func TestEntriesAreCharged(t *testing.T) {
	for _, set := range []func(*backend.Logged, string){
		func(rec *backend.Logged, s string) { rec.Event.Type = s },
		func(rec *backend.Logged, s string) { rec.Event.Resource = s },
		func(rec *backend.Logged, s string) { rec.Event.Key = s },
		func(rec *backend.Logged, s string) { rec.Event.Version = s },
		func(rec *backend.Logged, s string) { rec.Event.Source = s },
		func(rec *backend.Logged, s string) { rec.Event.Namespace = s },
		func(rec *backend.Logged, s string) { rec.Event.Channel = s },
		func(rec *backend.Logged, s string) { rec.Event.Data = []byte(s) },
		func(rec *backend.Logged, s string) { rec.Event.User = s },
		func(rec *backend.Logged, s string) { rec.Trace.Parent = s },
		func(rec *backend.Logged, s string) { rec.Trace.State = s },
	} {
		r := newRing(roomy)
		rec := record(1, "r", "")
		set(rec, string(make([]byte, 1000)))
		want := int64(overhead + perSubject + 1000)
		if rec.Event.Resource == "r" {
			want++
		}
		r.fill(rec)
		if got := r.bytes.Load(); got != want {
			t.Errorf("%d bytes are charged for %d", got, want)
		}
	}
}

// A growing message is no subject of its own, whatever its key: it costs what an event of
// its channel costs.
func TestAChannelIsOneSubject(t *testing.T) {
	r := newRing(roomy)
	for seq := uint64(1); seq <= 9; seq++ {
		rec := record(seq, "realtime", "a")
		rec.Event.Key = fmt.Sprint(seq)
		r.fill(rec)
	}
	if want := int64(perSubject + 9*(overhead+len("realtime")+len("a")+1)); r.bytes.Load() != want {
		t.Errorf("%d bytes are charged, want %d", r.bytes.Load(), want)
	}
}

// A reader that is held at a cursor is not woken by the events after it.
func TestHeldTopicWakesNobody(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"))
	rd.Hold(Channel("a"), r.Head())
	r.fill(record(1, "realtime", "a"))
	select {
	case <-rd.Wake():
		t.Error("woken by what is held")
	default:
	}
	rd.Release(Channel("a"))
	<-rd.Wake()
	expect(t, "after it is released", drain(rd, 10), []string{"1"})
}

// A cursor of an ended epoch is one, however far it was; one from the future is
// unknown, in this epoch and in a later one.
func TestReasonOfAReset(t *testing.T) {
	r := newRing(roomy)
	r.fill(record(1, "kv", ""))
	for pos, want := range map[backend.Position]Reason{
		{Epoch: epoch - 1, Seq: 1}: Epoch, {Epoch: epoch - 1, Seq: 99}: Epoch,
		{Epoch: epoch, Seq: 2}: Unknown, {Epoch: epoch + 1}: Unknown,
	} {
		if start := r.NewReader().Subscribe(&pos, Domain("kv")); start.State != Reset || start.Reason != want {
			t.Errorf("%v: %+v, want %s", pos, start, want)
		}
	}
}

// A topic is complete up to where it was read, up to the head where nothing of it
// is left, and nowhere while a reset is due.
func TestComplete(t *testing.T) {
	a := Channel("a")
	r := newRing(Limits{Records: 4, Bytes: 1 << 40, Age: roomy.Age})
	rd := r.NewReader()
	rd.Subscribe(nil, a)
	at := func(what string, want uint64) {
		t.Helper()
		if got := rd.Complete(a); got.Seq != want {
			t.Errorf("%s: complete up to %d, want %d", what, got.Seq, want)
		}
	}
	r.fill(record(1, "realtime", "b"))
	at("nothing of it", 1)
	r.fill(record(2, "realtime", "a"), record(3, "realtime", "a"))
	at("unread", 0)
	rd.Next(nil, Budget{1, 1 << 20})
	at("half of it read", 2)
	rd.Next(nil, Budget{9, 1 << 20})
	at("all read", 3)
	for seq := uint64(4); seq <= 9; seq++ {
		r.fill(record(seq, "realtime", "a"))
	}
	at("outrun", 0)
	drain(rd, 9)
	at("told of it", 9)
	r.Reset(backend.Position{Epoch: epoch, Seq: 12})
	at("reset", 0)
}

// A reader that was closed remembers nothing when it begins again.
func TestCloseAndSubscribe(t *testing.T) {
	a := Channel("a")
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Close() // of nothing
	rd.Subscribe(nil, a)
	rd.Close()
	rd.Close()
	rd.Subscribe(nil, a)
	r.fill(record(1, "realtime", "a"))
	if got := rd.Complete(a); got.Seq != 0 {
		t.Errorf("complete up to %d, with something unread", got.Seq)
	}
	expect(t, "read", drain(rd, 9), []string{"1"})
}

// A subscription that has ended stops no others, however much it had to read.
func TestEndedSubscriptionStopsNobody(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("ended"), Channel("b"))
	for seq := uint64(1); seq <= 20; seq++ {
		r.fill(record(seq, "realtime", "ended"))
	}
	r.fill(record(21, "realtime", "b"))
	rd.Unsubscribe(Channel("ended"))
	if items, pos, more := rd.Next(nil, Budget{4, 1 << 20}); len(items) != 1 || pos.Seq != 21 || more {
		t.Errorf("%d items up to %d, more: %v", len(items), pos.Seq, more)
	}
	r.fill(record(22, "realtime", "b"))
	rd.Unsubscribe(Channel("b"))
	if _, quiet := rd.Quiet(); quiet {
		t.Error("quiet before it has read what was unread of a topic that has ended")
	}
	drain(rd, 9)
	if pos, quiet := rd.Quiet(); !quiet || pos.Seq != 22 {
		t.Errorf("quiet: %v, at %d, after it has read", quiet, pos.Seq)
	}
}

// Skip leaves out what there is, resets included, and nothing that comes then.
func TestSkip(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"), Channel("b"))
	r.fill(record(1, "realtime", "a"), record(2, "realtime", "b"))
	r.Reset(backend.Position{Epoch: epoch, Seq: 5})
	r.fill(record(6, "realtime", "a"))
	<-rd.Wake()
	rd.Skip()
	if got := rd.Complete(Channel("a")); got.Seq != 6 {
		t.Errorf("complete up to %d", got.Seq)
	}
	if items, _, more := rd.Next(nil, Budget{9, 1 << 20}); len(items) > 0 || more {
		t.Errorf("%d items are left, more: %v", len(items), more)
	}
	r.fill(record(7, "realtime", "a"))
	select {
	case <-rd.Wake():
	default:
		t.Error("not woken")
	}
	expect(t, "read", drain(rd, 9), []string{"7"})
	r.insert([]*backend.Logged{record(8, "realtime", "a")}, now)
	rd.Skip() // before it is marked
	r.wake()
	expect(t, "after another skip", drain(rd, 9), []string(nil))
}

// A budget that is met exactly is met, in entries and in bytes.
func TestBudgetIsMetExactly(t *testing.T) {
	r := newRing(roomy)
	for seq := uint64(1); seq <= 3; seq++ {
		r.fill(record(seq, "kv", "a"))
	}
	size := r.entries.At(0).size.Load() + r.entries.At(1).size.Load()
	for _, budget := range []Budget{{2, 1 << 20}, {99, size}} {
		rd := r.NewReader()
		rd.Subscribe(at(0), Channel("a"))
		if items, pos, more := rd.Next(nil, budget); len(items) != 2 || pos.Seq != 2 || !more {
			t.Errorf("%+v: %d items up to %d, more: %v", budget, len(items), pos.Seq, more)
		}
	}
}

// When an epoch ends, the notes about its evicted entries end too: they say nothing about
// the new epoch.
func TestRestartForgetsWhatWasEvicted(t *testing.T) {
	r := newRing(Limits{Records: 2, Bytes: 1 << 40, Age: roomy.Age})
	for seq := uint64(1); seq <= 10; seq++ {
		r.fill(record(seq, "kv", ""))
	}
	r.Reset(backend.Position{Epoch: epoch + 1, Seq: 0})
	if n := len(r.topics); n != 1 { // that of all
		t.Errorf("%d topics are known", n)
	}
	for seq := uint64(1); seq <= 4; seq++ {
		rec := record(seq, "kv", "")
		rec.Pos.Epoch++
		r.fill(rec)
	}
	start := r.NewReader().Subscribe(&backend.Position{Epoch: epoch + 1, Seq: 1}, Domain("db"))
	if start.State != Resumed {
		t.Errorf("a quiet domain: %+v", start)
	}
}

// An entry that has just left the ring is not found there, however full it is.
func TestAtTheEdge(t *testing.T) {
	for records := 1; records <= 17; records++ {
		r := newRing(Limits{Records: records, Bytes: 1 << 40, Age: roomy.Age})
		for seq := uint64(1); seq <= 40; seq++ {
			r.fill(record(seq, "kv", ""))
			if e, _ := r.At(*at(seq - min(seq, uint64(records)))); e != nil {
				t.Fatalf("of %d: the one that left is found at %v", records, e.Pos)
			}
		}
	}
}
