package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// grown is what a client of a growing message gets.
type grown struct {
	Event, Channel, ID, Run, State, Text, UserID, From, Code string

	Ref          *int64
	Items        []json.RawMessage
	Metadata     json.RawMessage
	Offset, Next int
	TS           int64
	Partial      bool
	Retry        bool
	Error        *testkit.Refusal
}

func grow(t testing.TB, o object) (g grown) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.raw), &g); err != nil {
		t.Fatalf("%s: %v", o.raw, err)
	}
	return g
}

func streamOp(id string) string { return `"op":"stream","channel":"room","id":"` + id + `"` }

func stopOp(id string) string { return `"op":"stop","channel":"room","id":"` + id + `"` }

// stream begins a growing message in the channel room.
func (h *host) stream(id string, opts ...realtime.EventOption) *realtime.Stream {
	h.t.Helper()
	s, err := h.Stream(context.Background(), "room", id, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func say(t testing.TB, s *realtime.Stream, text string) {
	t.Helper()
	if n, err := io.WriteString(s, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

// growth is a client that follows a growing message, and knows what it has of it.
type growth struct {
	*socket
	id, run, state string
	text           string
	items          []json.RawMessage
	next           int
	frames         int
}

// reads has a socket follow a growing message, and returns when it has what there is.
func (s *socket) reads(id string) *growth {
	s.t.Helper()
	r := &growth{socket: s, id: id}
	r.take(s.call(streamOp(id)))
	if r.frames != 1 {
		s.t.Fatalf("%d frames", r.frames)
	}
	return r
}

// take takes one frame.
func (r *growth) take(o object) {
	r.t.Helper()
	g := grow(r.t, o)
	r.frames++
	switch {
	case g.Channel != "room" || g.ID != r.id:
		r.t.Errorf("a frame of another one: %s", o.raw)
	case g.Event == "stream" && g.Offset == 0:
		r.text, r.items, r.run = "", nil, g.Run
	case g.Event == "stream.end":
		if g.Next != r.next {
			r.t.Errorf("it ends at %d, and there are %d: %s", g.Next, r.next, o.raw)
		}
	case g.Offset != r.next:
		r.t.Errorf("what comes after %d begins at %d: %s", r.next, g.Offset, o.raw)
	}
	r.text, r.items, r.next = r.text+g.Text, append(r.items, g.Items...), g.Next
	if g.State != "" {
		r.state = g.State
	}
}

// all takes, in a bubble, what came in a while.
func (r *growth) all() *growth {
	r.t.Helper()
	time.Sleep(200 * time.Millisecond)
	for _, o := range r.rest() {
		if strings.HasPrefix(o.Event, "stream") {
			r.take(o)
		}
	}
	return r
}

func (r *growth) want(text, state string) {
	r.t.Helper()
	if r.all(); r.text != text || r.state != state {
		r.t.Errorf("%s: %.80q, %s; want %.80q, %s", r.id, r.text, r.state, text, state)
	}
}

// A client gets what there is in one frame, then what is added, and the end.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		subscriber := h.socket(get("/realtime"))
		subscriber.ok(subscribe("room"))
		s := h.stream("a1", realtime.AsUser("ada"), realtime.WithMetadata(map[string]string{"role": "assistant"}), realtime.FromClient(tab2))
		first := subscriber.want("message")
		say(t, s, "Hello")
		time.Sleep(time.Second)
		early := h.socket(get("/realtime")).reads("a1")
		say(t, s, ", w")
		say(t, s, "\xc3")
		say(t, s, "\xb6rld")
		early.want("Hello, wörld", "streaming")
		late := h.socket(get("/realtime")).reads("a1")
		if late.text != "Hello, wörld" || late.next != early.next || late.run != early.run {
			t.Errorf("late: %+v", late)
		}
		noError(t, s.Close())
		noError(t, s.Close())
		early.want("Hello, wörld", "complete")
		late.want("Hello, wörld", "complete")
		last := subscriber.want("message")
		subscriber.nothing()
		var data []map[string]any
		for _, o := range []object{first, last} {
			var m struct{ Stream, State string }
			if err := json.Unmarshal([]byte(o.raw), &m); err != nil || m.Stream != "a1" || o.UserID != "ada" || o.From == "" {
				t.Errorf("%s: %v", o.raw, err)
			}
			var d map[string]any
			noError(t, json.Unmarshal(o.Data, &d))
			if m.State != d["state"] || d["run"] != early.run || d["type"] != "stream" || fmt.Sprint(d["metadata"]) != "map[role:assistant]" {
				t.Errorf("%s", o.raw)
			}
			data = append(data, d)
		}
		if data[0]["state"] != "streaming" || data[0]["text"] != nil || data[1]["state"] != "complete" || data[1]["text"] != "Hello, wörld" || data[1]["bytes"] != 13.0 {
			t.Errorf("%v", data)
		}
		if s.Context().Err() == nil || !errors.Is(context.Cause(s.Context()), realtime.ErrStreamEnded) {
			t.Errorf("the context ended with %v", context.Cause(s.Context()))
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, realtime.ErrStreamEnded) {
			t.Errorf("a write after the end: %v", err)
		}
	})
}

// What was written is told in few frames, and the first of it at once.
func TestStreamIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.stream("a1")
		r := h.socket(get("/realtime")).reads("a1")
		time.Sleep(time.Second)
		began := time.Now()
		say(t, s, "x")
		if r.take(r.socket.next()); time.Since(began) > 10*time.Millisecond {
			t.Errorf("the first came after %v", time.Since(began))
		}
		for range 80 {
			time.Sleep(time.Second / 80)
			say(t, s, "token ")
		}
		r.want("x"+strings.Repeat("token ", 80), "streaming")
		if r.frames < 20 || r.frames > 30 {
			t.Errorf("%d frames in a second", r.frames)
		}
	})
}

// A client that comes back gets the rest, or all of it where that is not known.
func TestStreamResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.stream("a1")
		say(t, s, "wörld")
		time.Sleep(time.Second)
		r := h.socket(get("/realtime")).reads("a1")
		r.drop()
		say(t, s, " and more")
		time.Sleep(time.Second)
		s2 := h.socket(get("/realtime"))
		for rest, want := range map[string]string{
			fmt.Sprintf(`,"run":%q,"offset":6`, r.run): "6 and more 15", fmt.Sprintf(`,"run":%q,"offset":15`, r.run): "15 15",
			fmt.Sprintf(`,"run":%q,"offset":2`, r.run): "0wörld and more 15", fmt.Sprintf(`,"run":%q,"offset":99`, r.run): "0wörld and more 15",
			`,"run":"another","offset":6`: "0wörld and more 15", `,"run":"another"`: "0wörld and more 15", ``: "0wörld and more 15",
			fmt.Sprintf(`,"run":%q,"offset":9223372036854775807`, r.run): "0wörld and more 15",
		} {
			g := grow(t, s2.call(streamOp("a1")+rest))
			if got := fmt.Sprintf("%d%s %d", g.Offset, g.Text, g.Next); got != want {
				t.Errorf("%s: %s, want %s", rest, got, want)
			}
		}
		for rest, code := range map[string]string{`,"offset":1`: "bad_request", `,"run":"x","offset":-1`: "bad_request", `,"run":7`: "bad_request", `,"offset":1.5`: "bad_request"} {
			if o := s2.call(streamOp("a1") + rest); o.Code != code {
				t.Errorf("%s: %s", rest, o.raw)
			}
		}
		for id, code := range map[string]string{"": "bad_request", strings.Repeat("x", 65): "bad_request", `a\n`: "bad_request", "a2": "not_found"} {
			if o := s2.call(streamOp(id)); o.Code != code || *o.Retry {
				t.Errorf("%q: %s", id, o.raw)
			}
			if o := s2.call(stopOp(id)); o.Code != code || *o.Retry {
				t.Errorf("stop %q: %s", id, o.raw)
			}
		}
	})
}

// JSON values come as they were written, from any place on.
func TestStreamOfJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.stream("a1")
		noError(t, s.WriteJSON(map[string]string{"a": "x,y]"}))
		time.Sleep(time.Second)
		r := h.socket(get("/realtime")).reads("a1")
		for _, v := range []any{",", 1, nil, []int{1, 2}} {
			noError(t, s.WriteJSON(v))
		}
		if _, err := s.Write([]byte("text")); !errors.Is(err, realtime.ErrBadOption) {
			t.Errorf("text after JSON: %v", err)
		}
		if err := s.WriteJSON(func() {}); err == nil {
			t.Error("a function is no JSON")
		}
		if got := fmt.Sprintf("%s", r.all().items); got != `[{"a":"x,y]"} "," 1 null [1,2]]` {
			t.Errorf("%s", got)
		}
		for place := range r.next + 1 { // whatever a client asks for, it gets JSON
			g := grow(t, r.call(streamOp("a1")+fmt.Sprintf(`,"run":%q,"offset":%d`, r.run, place)))
			if g.Next != r.next || g.Offset != 0 && g.Offset != place {
				t.Errorf("from %d: %+v", place, g)
			}
		}
		noError(t, s.Close())
		past := grow(t, h.socket(get("/realtime")).call(streamOp("a1")))
		if got := fmt.Sprintf("%s %s", past.Items, past.State); got != `[{"a":"x,y]"} "," 1 null [1,2]] complete` {
			t.Errorf("%s", got)
		}
	})
}

// A client that may stops it: it ends at once for everybody, once.
func TestStreamStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := open()
		policy.Allow = func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if a.Verb == realtime.VerbStop && (a.Name != "room" || a.ID != "a1" || id.User != "ada") {
				return errors.New("no")
			}
			return nil
		}
		h := start(t, policy, nil)
		s := h.stream("a1")
		say(t, s, "so far")
		r := h.socket(get("/realtime")).reads("a1")
		if o := r.call(stopOp("a1")); o.Code != "forbidden" {
			t.Errorf("who may not: %s", o.raw)
		}
		r.drop() // is no stop
		time.Sleep(time.Minute)
		noError(t, s.Context().Err())
		r = h.socket(get("/realtime")).reads("a1")
		ada := h.socket(get("/realtime", "Authorization", asAda))
		ada.ok(stopOp("a1"), stopOp("a1"))
		<-s.Context().Done()
		if err := context.Cause(s.Context()); err != realtime.ErrStopped {
			t.Errorf("the cause is %v", err)
		}
		r.want("so far", "cancelled")
		if err := s.Close(); err != realtime.ErrStopped {
			t.Errorf("Close: %v", err)
		}
		if err := s.Fail(errors.New("x")); err != realtime.ErrStopped {
			t.Errorf("Fail: %v", err)
		}
		if _, err := s.Write([]byte("x")); err != realtime.ErrStopped {
			t.Errorf("Write: %v", err)
		}
		ada.ok(stopOp("a1"))
		time.Sleep(time.Minute)
		ada.ok(stopOp("a1")) // it is in the history
	})
}

// A failure tells clients what the host shows, and nothing else.
func TestStreamFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for id, c := range map[string]struct {
			err  error
			code string
		}{
			"a1": {errors.New("a secret reason"), "internal"},
			"a2": {fmt.Errorf("wrapped: %w", &realtime.RefusedError{Code: "quota", Message: "no credit", Retry: true}), "quota"},
		} {
			s := h.stream(id)
			say(t, s, "x")
			r := h.socket(get("/realtime")).reads(id)
			noError(t, s.Fail(c.err))
			time.Sleep(time.Second)
			for _, o := range r.rest() {
				if g := grow(t, o); g.Event == "stream.end" && (g.Error == nil || g.Error.Code != c.code || g.State != "failed") || strings.Contains(o.raw, "secret") {
					t.Errorf("%s", o.raw)
				}
			}
			past := h.socket(get("/realtime")).call(streamOp(id))
			if g := grow(t, past); g.State != "failed" || g.Text != "x" || g.Error == nil || g.Error.Code != c.code || strings.Contains(past.raw, "secret") {
				t.Errorf("%s", past.raw)
			}
			if err := s.Close(); !errors.Is(err, realtime.ErrStreamEnded) {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

// Rights are those of the channel, and of what See shows. They end at once.
func TestStreamRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied, hidden, asks := "", "", realtime.Verb("")
		policy := open()
		policy.AskHistory = true
		policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if a.Name == denied || a.Verb == asks {
				return errors.New("no")
			}
			return nil
		}
		policy.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return ev.Key != hidden || hidden == "" }
		h := start(t, policy, nil)
		s := h.stream("a1")
		say(t, s, "x")
		sock := h.socket(get("/realtime", "Authorization", asAda))
		hidden = "a1"
		if o := sock.call(streamOp("a1")); o.Code != "not_found" {
			t.Errorf("hidden: %s", o.raw)
		}
		hidden, denied = "", "room"
		if o := sock.call(streamOp("a1")); o.Code != "forbidden" {
			t.Errorf("denied: %s", o.raw)
		}
		denied = ""
		sock.reads("a1").want("x", "streaming")
		for _, change := range []func(){func() { denied = "room" }, func() { hidden = "a1" }} {
			change()
			noError(t, h.Recheck(t.Context(), "ada"))
			if g := grow(t, sock.want("unstreamed")); g.Code != "forbidden" || g.ID != "a1" || g.Channel != "room" || g.Retry {
				t.Errorf("%+v", g)
			}
			say(t, s, "y")
			time.Sleep(time.Second)
			sock.nothing()
			denied, hidden = "", ""
			sock.reads("a1")
		}
		noError(t, h.Recheck(t.Context(), "ada"))
		sock.nothing()
		asks = realtime.VerbHistory
		sock.reads("a1").want("xyy", "streaming")
		noError(t, s.Close())
		time.Sleep(time.Minute)
		if o := h.socket(get("/realtime")).call(streamOp("a1")); o.Code != "forbidden" {
			t.Errorf("out of the history: %s", o.raw)
		}
	})
}

// What is asked for again and again counts by what it sends: as much as a page of history.
func TestStreamOperationsAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 1, Burst: 60}})
		for _, c := range []struct {
			name   string
			bytes  int
			offset string
			most   int
		}{{"large", 256 << 10, "0", 12}, {"large, of which it has most", 256 << 10, "262000", 60}, {"small", 100, "0", 60}} {
			st, err := h.Stream(t.Context(), "room", c.name)
			noError(t, err)
			_, err = st.WriteString(strings.Repeat("x", c.bytes))
			noError(t, err)
			time.Sleep(time.Second) // until there is something to read
			s := h.socket(get("/realtime"))
			op := `"op":"stream","channel":"room","id":"` + c.name + `"`
			run, done := "", 0
			for ; done < 100; done++ {
				ask := op
				if run != "" {
					ask += `,"run":"` + run + `","offset":` + c.offset
				}
				o := s.answer(s.ask(ask))
				if o.Event == "error" {
					if o.Code != "rate_limited" || !*o.Retry {
						t.Errorf("%s: %s", c.name, o.raw)
					}
					break
				}
				if c.offset != "0" {
					_, rest, _ := strings.Cut(o.raw, `"run":"`)
					run, _, _ = strings.Cut(rest, `"`)
				}
			}
			if slack := 5; done > c.most || done < c.most-slack {
				t.Errorf("%s: %d were answered", c.name, done)
			}
		}
	})
}
