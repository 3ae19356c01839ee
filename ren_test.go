package realtime_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestRENFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.emit(realtime.KVPut("demo", "before"))
		synctest.Wait() // it has come through the log
		s := h.ren(get("/api/maravilla/ren", "Authorization", "Bearer ada", "X-Ren-Client", tab1))
		if s.hello.State != "fresh" || s.hello.Reason != "" || s.hello.UserID != "ada" || s.hello.Src != wire.Tag(tab1) ||
			s.hello.Cursor != string(h.Cursor()) || s.hello.ID != s.hello.Cursor || !slices.Equal(s.hello.Domains, []string{"*"}) {
			t.Errorf("hello: %s", s.hello.Raw)
		}
		if s.hello.Retry < time.Second || s.hello.Retry > 5*time.Second {
			t.Errorf("retry: %v, want 1 to 5 s", s.hello.Retry)
		}
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no",
		} {
			if got := s.resp.Header.Get(name); got != want {
				t.Errorf("header %s: %q, want %q", name, got, want)
			}
		}
		h.emit(realtime.KVPut("demo", "todo:1").WithVersion("7"), realtime.FromClient(tab2))
		h.publish("room:42", map[string]int{"n": 1}, realtime.AsUser("bob"))
		ts := time.Now().UnixMilli()
		for _, want := range []realtime.RenEvent{
			{Type: "kv.put", Resource: "kv", Namespace: "demo", Key: "todo:1", Version: "7", UnixMilli: ts, Source: wire.Tag(tab2)},
			{Type: "realtime.message", Resource: "realtime", Channel: "room:42", User: "bob", Data: []byte(`{"n":1}`), UnixMilli: ts},
		} {
			got := s.next()
			if diff := cmp.Diff(want, got.RenEvent); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if pos, ok := wire.ParseCursor(got.ID); !ok || got.ID != string(h.Cursor()) && want.Resource != "kv" {
				t.Errorf("id %q: %v", got.ID, pos)
			}
		}
		s.nothing()
	})
}

func TestRENNothingEverHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren"))
		if s.hello.Cursor == "" || s.hello.UserID != "" || s.hello.Src != "" {
			t.Errorf("hello: %s", s.hello.Raw)
		}
		again := h.ren(get("/ren", "Last-Event-ID", s.hello.Cursor))
		if again.hello.State != "resumed" {
			t.Errorf("hello: %s", again.hello.Raw)
		}
	})
}

func TestRENResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var at []string
		for i := range 5 {
			at = append(at, string(h.Cursor()))
			h.emit(realtime.KVPut("n", fmt.Sprint(i)))
			synctest.Wait()
		}
		for _, c := range []struct {
			name string
			ask  request
			want string
		}{
			{"header", get("/ren", "Last-Event-ID", at[2]), "2 3 4"},
			{"query", get("/ren?lastEventId=" + at[3]), "3 4"},
			{"header beats query", get("/ren?lastEventId="+at[0], "Last-Event-ID", at[4]), "4"},
			{"head", get("/ren", "Last-Event-ID", string(h.Cursor())), ""},
		} {
			s := h.ren(c.ask)
			if s.hello.State != "resumed" || s.hello.Cursor != c.ask.header.Get("Last-Event-ID") && c.name != "query" {
				t.Errorf("%s: hello %s", c.name, s.hello.Raw)
			}
			if got := s.keys(len(strings.Fields(c.want))); got != c.want {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
			s.nothing()
		}
	})
}

// Whatever a client gives for a cursor, it is answered with 200, and never taken
// for one that has caught up.
func TestRENReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 10}})
		first := string(h.Cursor())
		for i := range 20 {
			h.emit(realtime.KVPut("n", fmt.Sprint(i)))
		}
		synctest.Wait()
		head, ok := wire.ParseCursor(string(h.Cursor()))
		if !ok {
			t.Fatal(h.Cursor())
		}
		old, future := head, head
		old.Epoch--
		future.Seq++
		later := head
		later.Epoch++
		for _, c := range []struct{ name, cursor, reason string }{
			{"evicted", first, "evicted"},
			{"earlier epoch", wire.Cursor(old), "epoch"},
			{"later epoch", wire.Cursor(later), "unknown"},
			{"future", wire.Cursor(future), "unknown"},
			{"garbage", "garbage", "unknown"},
			{"upper case", strings.ToUpper(wire.Cursor(head)), "unknown"},
			{"sign", "+" + wire.Cursor(head), "unknown"},
			{"only a point", ".", "unknown"},
			{"long", strings.Repeat("9", 10<<10), "unknown"},
			{"long with a point", strings.Repeat("9", 5<<10) + "." + strings.Repeat("9", 5<<10), "unknown"},
		} {
			for way, ask := range map[string]request{
				"header": get("/ren", "Last-Event-ID", c.cursor),
				"query":  get("/ren?lastEventId=" + strings.ReplaceAll(c.cursor, "+", "%2B")),
			} {
				s := h.ren(ask)
				if s.hello.State != "reset" || s.hello.Reason != c.reason || s.hello.Cursor != wire.Cursor(head) {
					t.Errorf("%s by %s: hello %s, want a reset because of %s", c.name, way, s.hello.Raw, c.reason)
				}
				s.nothing()
				s.cut()
			}
		}
		for _, cursor := range []string{"%00", wire.Cursor(head) + "%00", "%0A", "%FF%FE", "%E2%80%A8"} {
			if s := h.ren(get("/ren?lastEventId=" + cursor)); s.hello.State != "reset" {
				t.Errorf("cursor %s: hello %s, want a reset", cursor, s.hello.Raw)
			}
		}
	})
}

// A busy domain does not reset readers of a quiet one.
func TestRENEvictionPerView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 10}})
		h.emit(realtime.DocumentCreated("todos", "seen"))
		synctest.Wait()
		cursor := string(h.Cursor())
		for i := range 15 {
			h.emit(realtime.KVPut("n", fmt.Sprint(i)))
		}
		h.emit(realtime.DocumentCreated("todos", "missed"))
		quiet := h.ren(get("/ren?s=db", "Last-Event-ID", cursor))
		if got := quiet.keys(1); quiet.hello.State != "resumed" || got != "missed" {
			t.Errorf("quiet domain: %s, then %s", quiet.hello.Raw, got)
		}
		for _, view := range []string{"kv", "db,kv", "*"} {
			if s := h.ren(get("/ren?s="+view, "Last-Event-ID", cursor)); s.hello.State != "reset" || s.hello.Reason != "evicted" {
				t.Errorf("view %s: hello %s", view, s.hello.Raw)
			}
		}
	})
}

// A reset in the middle of a stream has a cursor from which nothing that is
// still to come is missed.
func TestRENResetInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 100}})
		s := h.renStalled(get("/ren?s=kv,db"))
		synctest.Wait()
		h.emit(realtime.RenEvent{Type: "kv.put", Resource: "kv", Key: "filler", Data: []byte(`"` + strings.Repeat("x", 100<<10) + `"`)})
		synctest.Wait() // the stream is stuck in a write now
		h.emit(realtime.KVPut("n", "evicted"))
		h.emit(realtime.DocumentCreated("todos", "kept"))
		for range 99 {
			h.emit(realtime.KVPut("n", "flood"))
		}
		synctest.Wait()
		s.pump()
		s.next() // hello
		s.next() // filler
		resumable, told := "", false
		for _, ev := range s.rest() {
			if ev.Name == "ren.reset" {
				told, resumable = true, ev.ID
				if ev.Reason != "evicted" || ev.Cursor != ev.ID {
					t.Errorf("reset: %s", ev.Raw)
				}
			}
			if ev.Key == "kept" && resumable != "" {
				again := h.ren(get("/ren?s=db", "Last-Event-ID", resumable))
				if got := again.rest(); len(got) != 1 {
					t.Errorf("a client cut after ren.reset (%s) resumes (%s) without the event after it (%s)", resumable, again.hello.State, ev.ID)
				}
			}
		}
		if !told {
			t.Error("no ren.reset, though an event was missed")
		}
	})
}
