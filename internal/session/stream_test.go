package session_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// stream is a REN stream with its driver.
type stream struct {
	driver
	*session.Stream
}

func newStream(t testing.TB, h *history) *stream {
	s := &stream{driver: driver{t: t, budget: session.Batch}}
	s.Stream = session.NewStream(h.Ring, s.wake)
	s.s = &s.Session
	return s
}

// begin has the stream begin after a cursor with domains.
func (s *stream) begin(cursor string, domains ...string) {
	s.Do(func() {
		s.Begin(wire.Since(cursor), &view{bare: "bare"}, topics(domains...), session.Hello{Domains: domains})
	})
}

// told is what the stream tells until there is no more.
func (s *stream) told() string { return shortStream(s.t, strings.Join(s.run(), "")) }

// streamCases are what a REN stream tells.
var streamCases = map[string]struct {
	do   func(s *stream, h *history)
	want string
}{
	"fresh": {func(s *stream, h *history) {
		h.put("kv", "db")
		s.begin("", "kv")
	}, "hello fresh kv @2"},
	"live": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("kv", "db", "kv")
	}, "@1, @3"},
	"resumed": {func(s *stream, h *history) {
		h.put("kv", "db", "kv", "kv")
		s.begin(wire.Cursor(at(1)), "kv")
	}, "hello resumed kv @1, @3, @4"},
	"resumed of several domains": {func(s *stream, h *history) {
		h.put("kv", "db", "other", "kv", "db")
		s.begin(wire.Cursor(at(1)), "db", "kv")
	}, "hello resumed db,kv @1, @2, @4, @5"},
	"everything": {func(s *stream, h *history) {
		h.put("kv", "db", "other")
		s.begin(wire.Cursor(at(0)), "*", "realtime")
	}, "hello resumed *,realtime @0, @1, @2, @3"},
	"nothing": {func(s *stream, h *history) {
		h.put("kv")
		s.begin(wire.Cursor(at(0)))
	}, "hello resumed @0"},
	"of another log": {func(s *stream, _ *history) { s.begin(wire.Cursor(backend.Position{Seq: 7}), "kv") },
		"hello reset epoch kv @0"},
	"from the future": {func(s *stream, _ *history) { s.begin(wire.Cursor(at(7)), "kv") },
		"hello reset unknown kv @0"},
	"garbage": {func(s *stream, _ *history) { s.begin("garbage", "kv") },
		"hello reset unknown kv @0"},
	"evicted": {func(s *stream, h *history) {
		for range 10 {
			h.put("kv")
		}
		s.begin(wire.Cursor(at(1)), "kv")
	}, "hello reset evicted kv @10"},
	"evicted of another domain": {func(s *stream, h *history) {
		h.put("kv", "db")
		for range 10 {
			h.put("other")
		}
		s.begin(wire.Cursor(at(2)), "kv", "db")
	}, "hello resumed kv,db @2"},
	"without data": {func(s *stream, h *history) {
		s.begin("", "kv", "bare")
		h.put("kv", "bare")
		s.run()
		h.put("kv", "bare")
	}, "@3, @4 bare"},
	"pinged": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("kv", "db")
		s.Do(func() { s.Ping(1) })
	}, "ping @0, @1"},
	"pinged when quiet": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("db", "db", "kv", "db")
		s.run()
		s.Do(func() { s.Ping(1) })
	}, "ping @4"},
	"lost": {func(s *stream, h *history) {
		s.begin("", "kv", "db")
		s.run()
		h.Reset(at(10))
		h.put("other", "db", "kv")
	}, "reset backend @11, @12, @13"},
	"lost without more": {func(s *stream, h *history) {
		s.begin("", "kv", "db")
		s.run()
		h.Reset(at(10))
	}, "reset backend @10"},
	"another epoch": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.Reset(backend.Position{Epoch: epoch + 1, Seq: 3})
	}, "reset epoch 2.3"},
	"outrun": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		for range 20 {
			h.put("kv")
		}
	}, "reset evicted @20"},
	"granted more": {func(s *stream, h *history) {
		s.begin("", "kv")
		h.put("db")
		s.run()
		h.put("db", "kv")
		s.Do(func() { s.Regrant(&view{}, topics("db", "kv"), session.Hello{Domains: []string{"db", "kv"}}) })
	}, "hello resumed db,kv @1, @2, @3"},
	"granted less": {func(s *stream, h *history) {
		s.begin("", "kv", "db")
		s.run()
		h.put("db", "kv")
		s.Do(func() { s.Regrant(&view{}, topics("kv"), session.Hello{Domains: []string{"kv"}}) })
	}, "hello resumed kv @0, @2"},
	"granted after what it missed": {func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		for range 20 {
			h.put("kv")
		}
		s.Do(func() { s.Regrant(&view{}, topics("kv"), session.Hello{Domains: []string{"kv"}}) })
	}, "hello reset evicted kv @20"},
}

// How a stream begins, and goes on.
func TestStream(t *testing.T) {
	for name, c := range streamCases {
		for size, budget := range budgets {
			t.Run(name+"/"+size, func(t *testing.T) {
				h := newHistory(ring.Limits{Records: 8, Bytes: 1 << 20, Age: time.Hour})
				s := newStream(t, h)
				s.budget = budget
				c.do(s, h)
				if !s.dirty.Load() {
					t.Error("it was not woken")
				}
				expect(t, "told", s.told(), c.want)
				expect(t, "told again", s.told(), "")
			})
		}
	}
}

// A stream that nothing wakes is complete all the same: what it is granted then begins
// there, and so does its cursor.
func TestQuietStreamIsUpToDate(t *testing.T) {
	h := newHistory(ring.Limits{Records: 3, Bytes: 1 << 40, Age: time.Hour})
	s := newStream(t, h)
	s.begin("", "kv")
	s.run()
	h.put("db", "db", "db", "db", "db")
	s.Do(func() { s.Ping(1) })
	expect(t, "ping", s.told(), "ping @5")
	h.put("db", "db", "db", "db", "db")
	s.Do(func() { s.Regrant(&view{}, topics("db"), session.Hello{Domains: []string{"db"}}) })
	expect(t, "granted what it was not", s.told(), "hello resumed db @10")
}

// What is no longer granted wakes nobody.
func TestRegrantLetsGo(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	s.begin("", "kv", "db")
	s.run()
	s.Do(func() { s.Regrant(&view{}, topics("kv"), session.Hello{Domains: []string{"kv"}}) })
	s.run()
	if h.put("db"); s.dirty.Load() {
		t.Error("woken by what is not granted")
	}
	s.Close()
	if h.put("kv"); s.dirty.Load() {
		t.Error("woken after it was closed")
	}
}

// The bytes of a hello.
func TestHello(t *testing.T) {
	s := newStream(t, newHistory(roomy))
	in := int64(1500)
	s.Do(func() {
		s.Retry(2 * time.Second)
		s.Begin(nil, &view{}, topics("kv"), session.Hello{Domains: []string{"kv"}, Src: "tag", User: "ada", ExpiresIn: &in})
	})
	out, _ := s.fill()
	expect(t, "hello", out, "retry: 2000\n\nevent: ren.hello\nid: 1.0\n"+
		`data: {"cursor":"1.0","domains":["kv"],"expiresIn":1500,"src":"tag","state":"fresh","userId":"ada"}`+"\n\n")
}

// Of two answers of the policy the one to the later question counts, in whatever
// order they come.
func TestNewestGrants(t *testing.T) {
	s := newStream(t, newHistory(roomy))
	first, second := s.Turn(), s.Turn()
	if !s.Newest(second) || s.Newest(first) || !s.Newest(second) {
		t.Error("an older answer counts")
	}
}

// endCases are what comes before the end of a stream, and with it.
var endCases = map[string]struct {
	do   func(s *stream, h *history)
	want string
}{
	"revoked": {func(s *stream, h *history) {
		h.put("kv")
		s.Bye(session.Ending{Reason: "revoked"})
	}, "bye revoked @0"},
	"revoked while something waits": {func(s *stream, _ *history) {
		s.Do(func() { s.Ping(1) })
		s.Bye(session.Ending{Reason: "revoked"})
	}, "ping @0, bye revoked @0"},
	"without a word": {func(s *stream, h *history) {
		h.put("kv")
		s.Do(func() { s.Ping(1) })
		s.Bye(session.Ending{})
	}, "ping @0"},
	"closing": {func(s *stream, h *history) {
		h.put("kv", "kv", "db")
		s.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
		h.put("kv")
	}, "@1, @2, @4, bye closing @4"}, // the batch goes as far as it does
	"closing when nothing is left": {func(s *stream, h *history) {
		h.put("kv")
		s.run()
		s.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "bye closing @1"},
	"closing while something waits": {func(s *stream, h *history) {
		h.put("kv")
		s.Do(func() { s.Ping(1) })
		s.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "ping @0, @1, bye closing @1"},
	"revoked after what others have": {func(s *stream, h *history) {
		h.put("db", "db")
		s.Bye(session.Ending{Reason: "revoked"})
	}, "bye revoked @2"},
	"without a cursor": {func(s *stream, _ *history) {
		s.ForgetCursor()
		s.Bye(session.Ending{Reason: "revoked"})
	}, "bye revoked"},
	"closing before the log is there": {func(s *stream, h *history) {
		h.put("kv")
		s.Bye(session.Ending{Reason: "closing", Rest: at(9)})
	}, "@1, bye closing @1"},
}

// What ends a stream comes after what is due before, and nothing comes after it.
func TestEndOfAStream(t *testing.T) {
	for name, c := range endCases {
		t.Run(name, func(t *testing.T) {
			h := newHistory(roomy)
			s := newStream(t, h)
			s.begin("", "kv")
			s.run()
			c.do(s, h)
			expect(t, "told", s.told(), c.want)
			if all := strings.Join(s.fills, ""); strings.Contains(all, "retry:") {
				t.Errorf("it says when to come back: %q", all)
			}
			h.put("kv")
			s.Do(func() { t.Error("done after the end") })
			expect(t, "told after the end", s.told(), "")
		})
	}
}

// A stream that ends before it begins says where it begins: the cursor of its bye is
// the client's.
func TestEndBeforeTheBeginning(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	h.put("kv", "kv")
	s.begin(wire.Cursor(at(1)), "kv")
	s.Bye(session.Ending{Reason: "revoked"})
	expect(t, "told", s.told(), "hello resumed kv @1, bye revoked @1")

	s = newStream(t, h)
	s.Bye(session.Ending{Reason: "revoked"})
	out, more := s.fill()
	if expect(t, "told at once", shortStream(t, out), "bye revoked @2"); more {
		t.Error("there is more after the end")
	}
}

// Batches up to the rest are told, and no further one.
func TestRestOfAStream(t *testing.T) {
	for rest, want := range map[uint64]string{3: "@1, @2, @3, @4, bye closing @4", 4: "@1, @2, @3, @4, bye closing @4"} {
		h := newHistory(roomy)
		s := newStream(t, h)
		s.budget.Events = 2
		s.begin("", "kv")
		s.run()
		h.put("kv", "kv", "kv", "kv", "kv", "kv")
		s.Bye(session.Ending{Reason: "closing", Rest: at(rest), Retry: time.Second})
		expect(t, fmt.Sprint("told up to ", rest), s.told(), want)
		if last := s.fills[len(s.fills)-1]; !strings.HasPrefix(last, "retry: 1000\n\n") {
			t.Errorf("the bye is %q", last)
		}
	}
}

// A batch that is cut short by a bye is told to its end, so that the cursor in the
// bye is true.
func TestByeInABatch(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	s.begin("", "kv")
	s.run()
	h.put("kv", "kv", "kv")
	s.budget = tight
	if _, more := s.fill(); !more {
		t.Fatal("no more")
	}
	s.Bye(session.Ending{Reason: "revoked"})
	expect(t, "told", s.told(), "@2, @3, bye revoked @3")
}
