package ring

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
)

const epoch = 1000

var roomy = Limits{Records: 1 << 20, Bytes: 1 << 40, Age: time.Hour}

func record(seq uint64, resource, channel string) *backend.Logged {
	return &backend.Logged{
		Pos:   backend.Position{Epoch: epoch, Seq: seq},
		Event: backend.Event{Resource: resource, Channel: channel, UnixMilli: time.Now().UnixMilli()},
	}
}

func at(seq uint64) *backend.Position { return &backend.Position{Epoch: epoch, Seq: seq} }

func newRing(limits Limits) *Ring { return New(limits, *at(0)) }

// drain reads until there is no more and returns what was told: seqs, and
// "reason@seq" for resets.
func drain(rd *Reader, limit int) (got []string) {
	for more := true; more; {
		var items []Item
		items, _, more = rd.Next(nil, Budget{limit, 1 << 40})
		for _, it := range items {
			if it.Entry == nil {
				got = append(got, fmt.Sprintf("%s@%d", it.Reason, it.Pos.Seq))
			} else {
				got = append(got, fmt.Sprint(it.Entry.Pos.Seq))
			}
		}
	}
	return got
}

func now(*backend.Logged) time.Time { return time.Now() }

func (r *Ring) fill(recs ...*backend.Logged) { r.Put(recs) }

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestOnlyTheTopicsOfAnEventAreWoken(t *testing.T) {
	r := newRing(roomy)
	readers := map[string]*Reader{}
	under := func(prefix string) Topic { return Part{Resource: "realtime", Under: true, Prefix: prefix}.Topic() }
	for name, topics := range map[string][]Topic{
		"all": {{}}, "kv": {Domain("kv")}, "realtime": {Domain("realtime")}, "a": {Channel("a")}, "b": {Channel("b")}, "b and c": {Channel("b"), Channel("c")},
		"under a": {under("a")}, "under b": {under("b")}, "under a:1": {under("a:1")},
	} {
		readers[name] = r.NewReader()
		readers[name].Subscribe(nil, topics...)
	}
	woken := func() (names []string) {
		for name, rd := range readers {
			select {
			case <-rd.Wake():
				names = append(names, name)
			default:
			}
		}
		slices.Sort(names)
		return names
	}
	r.fill(record(1, "realtime", "a"))
	expect(t, "woken", woken(), []string{"a", "all", "realtime", "under a"})
	r.fill(record(2, "realtime", "a"))
	expect(t, "woken again before they read", woken(), []string(nil))
	readers["a"].Next(nil, Budget{9, 1 << 20})
	r.fill(record(3, "realtime", "a"))
	expect(t, "woken again after one has read", woken(), []string{"a"})
	r.fill(record(4, "realtime", "b"))
	expect(t, "woken by another channel", woken(), []string{"b", "b and c", "under b"})
	r.fill(record(5, "realtime", "c"))
	expect(t, "woken again before it has read another topic", woken(), []string(nil))
}

// The entries that a stalled reader holds are bounded in bytes as well.
func TestBudget(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"), Channel("b"))
	for seq := range uint64(20) {
		rec := record(seq+1, "realtime", []string{"a", "b"}[seq%2])
		rec.Event.Data = make([]byte, 1000)
		r.fill(rec)
	}
	items, pos, more := rd.Next(nil, Budget{100, 5000})
	if len(items) != 3 || pos.Seq != 3 || !more { // "a" stops at its second
		t.Errorf("%d items up to %d, more: %v", len(items), pos.Seq, more)
	}
}

func TestAReaderOfSeveralTopicsReadsInLogOrder(t *testing.T) {
	for limit := 1; limit < 10; limit++ {
		r := newRing(roomy)
		rd := r.NewReader()
		rd.Subscribe(nil, Domain("kv"), Domain("db"))
		for seq, resource := range []string{"kv", "kv", "kv", "db", "other", "kv", "db", "db", "db", "kv"} {
			r.fill(record(uint64(seq+1), resource, ""))
		}
		expect(t, fmt.Sprint("limit ", limit), drain(rd, limit), []string{"1", "2", "3", "4", "6", "7", "8", "9", "10"})
	}
}

// A position handed out must not be ahead of what was handed out before it,
// however the reader is interrupted.
func TestPositionIsComplete(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"), Channel("b"))
	for seq := range uint64(20) {
		r.fill(record(seq+1, "realtime", []string{"a", "b", "b", "b"}[seq%4]))
	}
	seen := uint64(0)
	for more := true; more; {
		var items []Item
		var pos backend.Position
		items, pos, more = rd.Next(nil, Budget{3, 1 << 40})
		for _, it := range items {
			if it.Entry.Pos.Seq != seen+1 {
				t.Fatalf("got %d after %d", it.Entry.Pos.Seq, seen)
			}
			seen++
		}
		if pos.Seq != seen {
			t.Fatalf("complete up to %d after %d", pos.Seq, seen)
		}
	}
	r.fill(record(21, "kv", ""))
	if _, pos, _ := rd.Next(nil, Budget{3, 1 << 40}); pos.Seq != 21 {
		t.Errorf("a quiet reader is complete up to %d, want 21", pos.Seq)
	}
}

func TestStart(t *testing.T) {
	limits := roomy
	limits.Records = 4
	r := newRing(limits)
	for seq := range uint64(10) {
		r.fill(record(seq+1, "realtime", map[bool]string{true: "quiet", false: "busy"}[seq == 2]))
	}
	for _, test := range []struct {
		name   string
		since  *backend.Position
		topics []Topic
		want   Start
	}{
		{"no cursor", nil, []Topic{{}}, Start{State: Fresh, Pos: *at(10)}},
		{"head", at(10), []Topic{{}}, Start{State: Resumed, Pos: *at(10)}},
		{"oldest still there", at(6), []Topic{{}}, Start{State: Resumed, Pos: *at(6)}},
		{"one older", at(5), []Topic{{}}, Start{State: Reset, Reason: Evicted, Pos: *at(10)}},
		{"busy channel", at(5), []Topic{Channel("busy")}, Start{State: Reset, Reason: Evicted, Pos: *at(10)}},
		{"quiet channel, nothing of it evicted since", at(3), []Topic{Channel("quiet")}, Start{State: Resumed, Pos: *at(3)}},
		{"quiet channel, its event evicted", at(2), []Topic{Channel("quiet")}, Start{State: Reset, Reason: Evicted, Pos: *at(10)}},
		{"domain that never was", at(0), []Topic{Domain("kv")}, Start{State: Reset, Reason: Evicted, Pos: *at(10)}},
		{"domain that never was, as far as is known", at(2), []Topic{Domain("kv")}, Start{State: Resumed, Pos: *at(2)}},
		{"one of two evicted", at(3), []Topic{Channel("quiet"), Channel("busy")}, Start{State: Reset, Reason: Evicted, Pos: *at(10)}},
		{"future", at(11), []Topic{{}}, Start{State: Reset, Reason: Unknown, Pos: *at(10)}},
		{"older epoch", &backend.Position{Epoch: epoch - 1, Seq: 9}, []Topic{{}}, Start{State: Reset, Reason: Epoch, Pos: *at(10)}},
		{"newer epoch", &backend.Position{Epoch: epoch + 1, Seq: 9}, []Topic{{}}, Start{State: Reset, Reason: Unknown, Pos: *at(10)}},
		{"zero", &backend.Position{}, []Topic{{}}, Start{State: Reset, Reason: Epoch, Pos: *at(10)}},
	} {
		rd := r.NewReader()
		expect(t, test.name, rd.Subscribe(test.since, test.topics...), test.want)
		rd.Close()
	}
}

func TestReset(t *testing.T) {
	next := func(e, seq uint64) backend.Position { return backend.Position{Epoch: e, Seq: seq} }
	for _, test := range []struct {
		name string
		do   func(*Ring)
		want []string
	}{
		{"lost by the backend", func(r *Ring) { r.Reset(next(epoch, 7)); r.fill(record(8, "kv", "")) }, []string{"backend@7", "8"}},
		{"new epoch", func(r *Ring) { r.Reset(next(epoch+1, 0)) }, []string{"epoch@0"}},
		{"twice before it is read", func(r *Ring) { r.Reset(next(epoch, 7)); r.Reset(next(epoch+1, 3)) }, []string{"epoch@3"}},
		{"gap", func(r *Ring) { r.fill(record(5, "kv", ""), record(6, "kv", "")) }, []string{"backend@4", "5", "6"}},
		{"repeated", func(r *Ring) { r.fill(record(1, "kv", ""), record(2, "kv", ""), record(3, "kv", "")) }, []string{"2", "3"}},
		{"older epoch", func(r *Ring) {
			old := record(9, "kv", "")
			old.Pos.Epoch--
			r.fill(old, record(3, "kv", ""))
		}, []string{"2", "3"}},
		{"record of a new epoch", func(r *Ring) {
			rec := record(1, "kv", "")
			rec.Pos.Epoch++
			r.fill(rec)
		}, []string{"epoch@0", "1"}},
	} {
		r := newRing(roomy)
		rd := r.NewReader()
		r.fill(record(1, "kv", ""))
		rd.Subscribe(nil, Domain("kv"))
		r.fill(record(2, "kv", ""))
		test.do(r)
		expect(t, test.name, drain(rd, 10), test.want)
	}
}

func TestASlowReaderIsToldOnceAndGoesOn(t *testing.T) {
	r := newRing(Limits{Records: 5, Bytes: 1 << 40, Age: time.Hour})
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"))
	for seq := range uint64(20) {
		r.fill(record(seq+1, "realtime", "a"))
	}
	expect(t, "after being slow", drain(rd, 2), []string{"evicted@20"})
	r.fill(record(21, "realtime", "a"))
	expect(t, "then", drain(rd, 2), []string{"21"})
}

func TestUnsubscribe(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"), Channel("b"))
	r.fill(record(1, "realtime", "a"), record(2, "realtime", "b"))
	rd.Unsubscribe(Channel("a"))
	rd.Unsubscribe(Channel("never"))
	expect(t, "read", drain(rd, 10), []string{"2"})
	rd.Subscribe(at(0), Channel("a"))
	expect(t, "read after subscribing again", drain(rd, 10), []string{"1"})
}

// A reader that waits for a wake-up gets it, however Put and Next interleave:
// a lost one would leave the bubble deadlocked.
func TestNoLostWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(roomy)
		const records = 5000
		var all sync.WaitGroup
		for i := range 8 {
			rd := r.NewReader()
			rd.Subscribe(nil, []Topic{{}, Domain("realtime"), Channel("a"), Channel("b")}[i%4])
			all.Go(func() {
				defer rd.Close()
				want := records / 2
				if i%4 < 2 {
					want = records
				}
				for got := 0; got < want; {
					items, _, more := rd.Next(nil, Budget{1 + i, 1 << 20})
					if got += len(items); !more && got < want {
						<-rd.Wake()
					}
				}
			})
		}
		for seq := range uint64(records) {
			r.Put([]*backend.Logged{record(seq+1, "realtime", []string{"a", "b"}[seq%2])})
			if seq%7 == 0 {
				runtime.Gosched()
			}
		}
		all.Wait()
	})
}

func TestAt(t *testing.T) {
	r := newRing(Limits{Records: 3, Bytes: 1 << 20, Age: time.Hour})
	for seq, resource := range []string{"kv", "kv", "kv", "", "kv", "kv"} { // no view shows the fourth
		r.Put([]*backend.Logged{record(uint64(seq+1), resource, "")})
	}
	for seq := range uint64(8) {
		e, gone := r.At(*at(seq))
		if gone != *at(2) {
			t.Errorf("evicted up to %v", gone)
		}
		if there := seq == 3 || seq == 5 || seq == 6; there != (e != nil) || there && e.Pos != *at(seq) {
			t.Errorf("at %d: %+v", seq, e)
		}
	}
	if e, _ := r.At(backend.Position{Epoch: at(4).Epoch + 1, Seq: 4}); e != nil {
		t.Error("an entry of another epoch")
	}
}

// A topic that is held waits, and the others do not wait for it.
func TestHold(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	a, b := Channel("a"), Channel("b")
	rd.Subscribe(nil, a, b)
	r.fill(record(1, "realtime", "a"), record(2, "realtime", "b"))
	expect(t, "read", drain(rd, 9), []string{"1", "2"})
	r.fill(record(3, "realtime", "b"))
	if pos := rd.Complete(a); pos != *at(3) {
		t.Errorf("a is complete up to %v", pos)
	}
	if pos := rd.Complete(b); pos != *at(2) {
		t.Errorf("b is complete up to %v", pos)
	}
	r.fill(record(4, "realtime", "a"))
	rd.Hold(a, *at(1))
	<-rd.Wake()
	r.fill(record(5, "realtime", "b"), record(6, "realtime", "a"))
	expect(t, "while a is held", drain(rd, 9), []string{"3", "5"})
	r.fill(record(7, "realtime", "a"))
	select {
	case <-rd.Wake():
		expect(t, "woken", drain(rd, 9), []string(nil))
	default:
	}
	if pos := rd.Complete(a); pos != *at(1) {
		t.Errorf("a is held, and complete up to %v", pos)
	}
	rd.Release(a)
	<-rd.Wake()
	r.fill(record(8, "realtime", "b"))
	expect(t, "when it is no longer", drain(rd, 1), []string{"4", "6", "7", "8"})

	rd.Hold(a, *at(4)) // once more
	rd.Release(a)
	expect(t, "read again", drain(rd, 9), []string{"6", "7"})

	rd.Hold(a, *at(7)) // with nothing after it
	if pos := rd.Complete(a); pos != *at(7) {
		t.Errorf("a is held at 7, and complete up to %v", pos)
	}
	rd.Hold(a, *at(8))
	r.Reset(backend.Position{Epoch: epoch + 1, Seq: 3})
	rd.Hold(a, *at(9)) // of the log that has ended
	if pos := rd.Complete(a); pos != (backend.Position{}) {
		t.Errorf("a is complete up to %v, though a reset is due", pos)
	}
	expect(t, "a reset of the others", drain(rd, 9), []string{"epoch@3"})
	rd.Release(a)
	expect(t, "its own reset", drain(rd, 9), []string{"epoch@3"})

	small := newRing(Limits{Records: 2, Bytes: 1 << 40, Age: time.Hour})
	rd = small.NewReader()
	rd.Subscribe(nil, a)
	rd.Hold(a, *at(0))
	small.fill(record(1, "realtime", "a"), record(2, "realtime", "a"), record(3, "realtime", "a"))
	rd.Release(a)
	expect(t, "outrun meanwhile", drain(rd, 9), []string{"evicted@3"})
	rd.Hold(a, *at(3))
	rd.Unsubscribe(a)
	expect(t, "ended", drain(rd, 9), []string(nil))
}
