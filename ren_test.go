package realtime_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/pace"
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

// Front servers may hold chunks back: see internal/faulttest.
func TestRENIsNotChunked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren"))
		if te := s.resp.TransferEncoding; len(te) > 0 || s.resp.ContentLength != -1 {
			t.Errorf("transfer encoding %v, length %d", te, s.resp.ContentLength)
		}
		if te := s.resp.Header.Get("Transfer-Encoding"); te != "" {
			t.Errorf("the header says Transfer-Encoding: %s", te)
		}
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

func TestRENDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := start(t, open(), nil)
		few := start(t, withGrants(
			realtime.GrantAll("kv").In("demo"), realtime.GrantAll("kv").In("other"),
			realtime.GrantAll("db")), nil)
		for _, c := range []struct {
			host *host
			ask  string
			want []string
		}{
			{all, "", []string{"*"}},
			{all, "?s=", []string{"*"}},
			{all, "?s=*", []string{"*"}},
			{all, "?s=kv", []string{"kv"}},
			{all, "?s=kv,db,kv,custom", []string{"custom", "db", "kv"}},
			{few, "", []string{"db", "kv"}},
			{few, "?s=*", []string{"db", "kv"}},
			{few, "?s=kv,storage", []string{"kv"}},
			{few, "?s=storage", []string{}},
		} {
			s := c.host.ren(get("/ren" + c.ask))
			if diff := cmp.Diff(c.want, s.hello.Domains); diff != "" {
				t.Errorf("%q (-want +got):\n%s", c.ask, diff)
			}
		}

		s := all.ren(get("/ren?s=kv,custom"))
		all.emit(realtime.KVPut("n", "1"))
		all.emit(realtime.DocumentCreated("n", "2"))
		all.emit(realtime.RenEvent{Type: "x", Resource: "custom", Key: "3"})
		all.publish("room", 4)
		all.emit(realtime.KVDelete("n", "5"))
		if got := s.keys(3); got != "1 3 5" {
			t.Errorf("got %s", got)
		}
		s.nothing()
	})
}

func TestRENGrants(t *testing.T) {
	put := func(ns, key string) realtime.RenEvent { return realtime.KVPut(ns, key) }
	object := realtime.ObjectCreated
	for _, c := range []struct {
		name  string
		grant realtime.Grant
		event realtime.RenEvent
		seen  bool
	}{
		{"resource", realtime.GrantAll("kv"), put("n", "k"), true},
		{"any resource", realtime.GrantAll("*"), put("n", "k"), true},
		{"other resource", realtime.GrantAll("db"), put("n", "k"), false},
		{"namespace", realtime.GrantAll("kv").In("n"), put("n", "k"), true},
		{"other namespace", realtime.GrantAll("kv").In("n"), put("n2", "k"), false},
		{"no namespace", realtime.GrantAll("kv").In("n"), put("", "k"), false},
		{"key", realtime.GrantAll("kv").Under("acme"), put("n", "acme"), true},
		{"segment", realtime.GrantAll("kv").Under("acme"), put("n", "acme:1"), true},
		{"half a segment", realtime.GrantAll("kv").Under("acme"), put("n", "acme2"), false},
		{"foreign separator", realtime.GrantAll("kv").Under("acme"), put("n", "acme/1"), false},
		{"shorter", realtime.GrantAll("kv").Under("acme:1"), put("n", "acme"), false},
		{"object", realtime.GrantAll("storage").Under("acme"), object("acme/1.png"), true},
		{"object, half a segment", realtime.GrantAll("storage").Under("acme"), object("acme2/1.png"), false},
		{"object, foreign separator", realtime.GrantAll("storage").Under("acme"), object("acme:1.png"), false},
		{"namespace and prefix", realtime.GrantAll("kv").In("n").Under("a"), put("m", "a:1"), false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, withGrants(c.grant), nil)
			before := string(h.Cursor())
			live := h.ren(get("/ren"))
			h.emit(c.event)
			synctest.Wait()
			replay := h.ren(get("/ren", "Last-Event-ID", before))
			for way, s := range map[string]*ren{"live": live, "replayed": replay} {
				if got := len(s.rest()) == 1; got != c.seen {
					t.Errorf("%s: seen is %v", way, got)
				}
			}
		})
	}
	bubble(t, "channel", func(t *testing.T) {
		h := start(t, withGrants(realtime.GrantAll("realtime").Under("acme").WithData(),
			realtime.GrantAll("presence").Under("acme")), nil)
		s := h.ren(get("/ren"))
		for _, channel := range []string{"acme", "acme:1", "acme2", "other"} {
			h.publish(channel, channel)
			h.join(channel, "ada", map[string]string{"secret": "s"})
		}
		got := []string{}
		for _, ev := range s.rest() {
			got = append(got, ev.Channel+" "+ev.Type+" "+string(ev.Data))
		}
		want := []string{`acme realtime.message "acme"`, "acme presence.join ", `acme:1 realtime.message "acme:1"`, "acme:1 presence.join "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// One stream may have data and another not, in any order: they share encodings.
func TestRENData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Grants = func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			all := realtime.GrantAll("realtime")
			if id.User == "ada" {
				all = all.WithData()
			}
			return []realtime.Grant{realtime.GrantAll("realtime"), realtime.GrantAll("realtime").Under("open").WithData(), all}, nil
		}
		h := start(t, p, nil)
		bare, full := h.ren(get("/ren")), h.ren(get("/ren", "Authorization", "Bearer ada"))
		h.publish("room", "secret")
		h.publish("open", "public")
		for _, c := range []struct {
			s                  *ren
			room, open, absent string
		}{{bare, "", `"public"`, `"data"`}, {full, `"secret"`, `"public"`, "never"}} {
			ev := c.s.next()
			if string(ev.Data) != c.room || strings.Contains(ev.Raw, c.absent) {
				t.Errorf("room: %s", ev.Raw)
			}
			if ev := c.s.next(); string(ev.Data) != c.open {
				t.Errorf("open: %s", ev.Raw)
			}
		}
	})
}

func TestRENSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(id realtime.Identity, ev realtime.RenEvent) bool { return ev.User != "ghost" || id.User == "ada" }
		h := start(t, p, nil)
		before := string(h.Cursor())
		others, ada := h.ren(get("/ren")), h.ren(get("/ren", "Authorization", "Bearer ada"))
		h.publish("room", 1, realtime.AsUser("ghost"))
		h.publish("room", 2, realtime.AsUser("bob"))
		if got := others.keys(1); got != "2" {
			t.Errorf("others got %s", got)
		}
		if got := ada.keys(2); got != "1 2" {
			t.Errorf("ada got %s", got)
		}
		if got := h.ren(get("/ren", "Last-Event-ID", before)).keys(1); got != "2" {
			t.Errorf("replayed: %s", got)
		}
		others.nothing()
	})
}

func TestRENHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren?s=db"))
		began := time.Now()
		for i := range 3 {
			least := string(h.Cursor())
			h.emit(realtime.KVPut("n", "not of this view"))
			ev, ok := s.any(time.Minute)
			if passed := time.Since(began); !ok || ev.Name != "ren.ping" || passed != time.Duration(i+1)*25*time.Second {
				t.Fatalf("after %v: %s %s, want a ping every 25 s", passed, ev.Name, ev.Raw)
			}
			if ev.Cursor < least || ev.ID != ev.Cursor || ev.TS != time.Now().UnixMilli() {
				t.Errorf("ping %s, want the cursor of a quiet view to move on to %s", ev.Raw, least)
			}
		}
	})
}

func TestRENRetryIsRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		retries := map[time.Duration]bool{}
		for range 50 {
			s := h.ren(get("/ren"))
			if r := s.hello.Retry; r < time.Second || r > 5*time.Second {
				t.Errorf("retry %v, want 1 to 5 s", r)
			}
			retries[s.hello.Retry] = true
			s.cut()
		}
		if len(retries) < 25 {
			t.Errorf("%d different retries of 50", len(retries))
		}
	})
}

func TestRENLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var lives []time.Duration
		for range 8 {
			s := h.ren(get("/ren"))
			began := time.Now()
			var ev renEvent
			for ev.Name != "ren.bye" {
				ev, _ = s.any(time.Minute)
			}
			life := time.Since(began)
			if life < 8*time.Minute || life > 12*time.Minute || ev.Reason != "rotate" || ev.Cursor != ev.ID {
				t.Errorf("after %v: %s", life, ev.Raw)
			}
			lives = append(lives, life)
			s.ended()
			h.emit(realtime.KVPut("n", "meanwhile"))
			again := h.ren(get("/ren", "Last-Event-ID", ev.ID))
			if got := again.keys(1); again.hello.State != "resumed" || got != "meanwhile" {
				t.Errorf("%s, then %s", again.hello.Raw, got)
			}
			again.cut()
		}
		if slices.Min(lives) == slices.Max(lives) {
			t.Errorf("all streams lived %v", lives[0])
		}
	})
}

func TestRENExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Authenticate = func(*http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: "ada", Expires: time.Now().Add(90 * time.Second)}, nil
		}
		h := start(t, p, nil)
		s := h.ren(get("/ren"))
		time.Sleep(90*time.Second - 1)
		s.nothing()
		time.Sleep(2 * time.Nanosecond)
		h.emit(realtime.KVPut("n", "too late"))
		if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "expired" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
		s.ended()
	})
}

// A client that has much to catch up with, slowly, does not outlive its
// credentials by it.
func TestRENExpiresWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Authenticate = func(*http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: "ada", Expires: time.Now().Add(10 * time.Second)}, nil
		}
		h := start(t, p, nil)
		since := string(h.Cursor())
		for range 4000 {
			h.publish("room", strings.Repeat("x", 900))
		}
		s := h.renStalled(get("/ren", "Last-Event-ID", since))
		began := time.Now()
		buf := make([]byte, 8<<10)
		for {
			time.Sleep(time.Second)
			if _, err := io.ReadFull(s.resp.Body, buf); err != nil {
				break
			}
		}
		if life := time.Since(began); life > 40*time.Second {
			t.Errorf("the stream went on for %v with credentials for 10 s", life)
		}
	})
}

// A reader that stalls is dropped after WriteTimeout, nobody else notices, and
// it loses nothing.
func TestRENStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		stalled, healthy := h.renStalled(get("/ren")), h.ren(get("/ren"))
		began := time.Now()
		for i := range 200 {
			h.publish("room", fmt.Sprint(i, strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		if got := len(healthy.rest()); got != 200 || time.Since(began) != 0 {
			t.Errorf("the healthy reader got %d of 200 events after %v", got, time.Since(began))
		}
		time.Sleep(11 * time.Second)
		stalled.pump()
		got := stalled.rest()
		if len(got) == 0 || len(got) >= 200 {
			t.Fatalf("the stalled reader got %d events", len(got))
		}
		if _, more := stalled.events.all(); more {
			t.Error("the stalled stream did not end")
		}
		again := h.ren(get("/ren", "Last-Event-ID", got[len(got)-1].ID))
		rest := again.rest()
		if again.hello.State != "resumed" || len(got)-1+len(rest) != 200 {
			t.Errorf("%s: %d events before, %d after", again.hello.Raw, len(got)-1, len(rest))
		}
		healthy.nothing()
	})
}

// A reader that is slow, but reads, is not dropped.
func TestRENSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.renStalled(get("/ren"))
		for range 100 {
			h.publish("room", strings.Repeat("x", 1000))
		}
		n, buf := 0, make([]byte, 4<<10)
		for n < 100_000 {
			time.Sleep(time.Second)
			m, err := io.ReadFull(s.resp.Body, buf)
			if n += m; err != nil {
				t.Fatalf("cut after %d bytes: %v", n, err)
			}
		}
	})
}

func TestRENServerTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		h.server.ReadTimeout, h.server.WriteTimeout = time.Second, 2*time.Second
		h.serve()
		s := h.ren(get("/ren"))
		time.Sleep(time.Minute)
		h.emit(realtime.KVPut("n", "still here"))
		if got := s.keys(1); got != "still here" {
			t.Error(got)
		}
	})
}

// HTTP/2 in virtual time, without TLS; then both protocols over real sockets.
func TestRENOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		h.server.WriteTimeout = time.Second
		h.overHTTP2()
		h.serve()
		s := h.ren(get("/ren"))
		if s.resp.ProtoMajor != 2 {
			t.Fatalf("protocol %s", s.resp.Proto)
		}
		time.Sleep(time.Minute)
		h.emit(realtime.KVPut("n", "1"))
		if got := s.keys(1); got != "1" {
			t.Error(got)
		}
		s.nothing()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "closing" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
		s.ended()
	})
}

func TestRENOverRealSockets(t *testing.T) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", major), func(t *testing.T) {
			h := prepare(t, open(), nil)
			server := httptest.NewUnstartedServer(http.StripPrefix("/live", h.handler))
			server.EnableHTTP2 = major == 2
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			ctx, cancel := pace.WithTimeout(t.Context(), patience)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/live/ren", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != major {
				t.Errorf("protocol %s", resp.Proto)
			}
			s := &ren{t: t, resp: resp, events: newInbox[renEvent](), patience: pace.Slow(patience)}
			s.pump()
			if hello := s.next(); hello.State != "fresh" {
				t.Errorf("hello %s", hello.Raw)
			}
			h.emit(realtime.KVPut("n", "1"))
			if got := s.keys(1); got != "1" {
				t.Error(got)
			}
			if err := h.Close(ctx); err != nil {
				t.Error(err)
			}
			if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "closing" || ev.Retry != time.Duration(ev.RetryMs)*time.Millisecond {
				t.Errorf("%s %s with retry %v", ev.Name, ev.Raw, ev.Retry)
			}
			s.ended()
		})
	}
}

func TestRENCrossOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		h := start(t, p, nil)

		s := h.ren(get("/ren", "Origin", app, "Sec-Fetch-Site", "same-site"))
		if got := s.resp.Header; got.Get("Access-Control-Allow-Origin") != app || got.Get("Access-Control-Allow-Credentials") != "true" ||
			!slices.Contains(got.Values("Vary"), "Origin") {
			t.Errorf("stream: %v", got)
		}

		preflight := get("/ren", "Origin", app, "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", "GET",
			"Access-Control-Request-Headers", "authorization,last-event-id,x-ren-client")
		preflight.method = http.MethodOptions
		resp := h.do(t.Context(), preflight)
		resp.Body.Close()
		if got := resp.Header; resp.StatusCode != 204 || got.Get("Access-Control-Allow-Origin") != app ||
			got.Get("Access-Control-Allow-Credentials") != "true" || got.Get("Access-Control-Allow-Methods") != "GET" ||
			got.Get("Access-Control-Allow-Headers") != "authorization,last-event-id,x-ren-client" {
			t.Errorf("preflight: %s %v", resp.Status, got)
		}

		// A refusal has to be readable for the page, too.
		bad := h.do(t.Context(), get("/ren?s=!", "Origin", app))
		bad.Body.Close()
		if bad.StatusCode != 400 || bad.Header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("refusal: %s %v", bad.Status, bad.Header)
		}

		preflight.header.Set("Origin", "https://evil.example.com")
		if status, f := h.refused(preflight); status != 403 || f.Code != "origin" {
			t.Errorf("foreign preflight: %d %+v", status, f)
		}
	})
}

func TestRENSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		streams := h.handler
		mux := http.NewServeMux()
		mux.Handle("/ren", streams)
		mux.HandleFunc("/write", func(_ http.ResponseWriter, r *http.Request) {
			if err := h.Emit(r.Context(), realtime.KVPut("n", "k")); err != nil {
				t.Error(err)
			}
		})
		h.handler = h.Attribute(mux)
		h.serve()
		for _, ask := range []request{
			get("/ren", "X-Ren-Client", tab1), get("/ren?cid=" + tab1), get("/ren?cid="+tab2, "X-Ren-Client", tab1),
		} {
			s := h.ren(ask)
			if s.hello.Src != wire.Tag(tab1) {
				t.Errorf("%+v: hello %s", ask, s.hello.Raw)
			}
			for header, want := range map[string]string{tab1: wire.Tag(tab1), tab2: wire.Tag(tab2), "": "", "short": "", strings.Repeat("x", 65): ""} {
				write := get("/write")
				if header != "" {
					write = get("/write", "X-Ren-Client", header)
				}
				resp := h.do(t.Context(), write)
				resp.Body.Close()
				if resp.StatusCode != 200 || resp.Header.Get("X-Ren-Cursor") == "" {
					t.Errorf("write: %s %v", resp.Status, resp.Header)
				}
				if ev := s.next(); ev.Source != want {
					t.Errorf("client %q: src %q, want %q", header, ev.Source, want)
				}
			}
			s.cut()
		}
	})
}
