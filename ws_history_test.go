package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// wsPage is the answer to a history operation.
type wsPage struct {
	Event, Channel, Before, End, Code, Message string
	Retry                                      *bool
	Messages                                   []object
}

// page asks for a page.
func (s *socket) page(rest string) (p wsPage) {
	s.t.Helper()
	o := s.call(`"op":"history","channel":"room"` + rest)
	if err := json.Unmarshal([]byte(o.raw), &p); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (p wsPage) String() string {
	words := []string{p.Event}
	for _, m := range p.Messages {
		words = append(words, string(m.Data))
	}
	return strings.Join(append(words, p.End+p.Code), " ")
}

func TestWSHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		for i := 1; i <= 60; i++ {
			h.publish("room", i, realtime.AsUser("ada"))
		}
		p := s.page(`,"limit":2`)
		if p.String() != "history 59 60 " || p.Channel != "room" {
			t.Errorf("%v of %s", p, p.Channel)
		}
		m := p.Messages[1]
		if m.Event != "message" || m.Channel != "room" || m.UserID != "ada" || m.ID == "" || m.TS == 0 {
			t.Errorf("%+v", m)
		}
		if p := s.page(`,"limit":2,"before":"` + p.Before + `"`); p.String() != "history 57 58 " {
			t.Errorf("%v", p)
		}
		if p := s.page(``); len(p.Messages) != 50 || p.End != "" {
			t.Errorf("without a limit: %d messages, end %q", len(p.Messages), p.End)
		}
		if p := s.page(`,"limit":100`); len(p.Messages) != 60 || p.End != "start" || p.Before != "" {
			t.Errorf("all: %d messages, end %q", len(p.Messages), p.End)
		}
		for rest, code := range map[string]string{
			`,"limit":0`: "bad_request", `,"limit":-1`: "bad_request", `,"limit":101`: "bad_request", `,"limit":1e99`: "bad_request",
			`,"limit":"5"`: "bad_request", `,"before":"x"`: "bad_request", `,"before":7`: "bad_request", `,"Limit":7`: "bad_request",
		} {
			if p := s.page(rest); p.Code != code || *p.Retry {
				t.Errorf("%s: %v", rest, p)
			}
		}
		if o := s.call(`"op":"history","channel":""`); o.Code != "bad_channel" {
			t.Errorf("without a channel: %s", o.raw)
		}
		for _, rest := range []string{`"rewind":0`, `"rewind":101`, `"rewind":-1`, `"rewindMs":0`, `"rewindMs":-5`, `"rewindMs":9223372036854775807`, `"rewind":"2m"`, `"rewind":1.5`} {
			if o := s.call(subscribe("room") + "," + rest); o.Code != "bad_request" {
				t.Errorf("%s: %s", rest, o.raw)
			}
		}
	})
}

// A page costs as much as some operations, and no more than may be done at once.
func TestWSHistoryIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for burst, pages := range map[int]int{60: 12, 3: 1} {
			h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 1, Burst: burst}})
			s := h.socket(get("/realtime"))
			for i := range pages {
				if p := s.page(""); p.Event != "history" {
					t.Errorf("burst %d: page %d: %v", burst, i, p)
				}
			}
			if p := s.page(""); p.Code != "rate_limited" || !*p.Retry {
				t.Errorf("burst %d: one more: %v", burst, p)
			}
		}
	})
}

// The right to subscribe is that to the past, unless the policy makes that a right of
// its own. What See hides is not shown, from wherever it comes.
func TestWSHistoryRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var denied realtime.Verb
		var db archive
		policy := open()
		policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if a.Verb == denied {
				return errors.New("denied")
			}
			return nil
		}
		policy.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return string(ev.Data) != `"secret"` }
		for _, asks := range []bool{false, true} {
			policy.AskHistory = asks
			h := start(t, policy, &realtime.Options{History: realtime.History{Older: db.older}})
			db = archive{}
			db.store(`"old"`, "1")
			db.store(`"secret"`, "2")
			for _, data := range []string{"a", "secret", "b"} {
				var at realtime.Cursor
				h.publish("room", data, realtime.PublishedAt(&at))
				db.store(`"`+data+`"`, at)
			}
			s := h.socket(get("/realtime"))
			for verb, want := range map[realtime.Verb][2]string{
				"":                     {`history "old" "a" "b" start`, "subscribed"},
				realtime.VerbSubscribe: {"error forbidden", "error"},
				realtime.VerbHistory:   {`history "old" "a" "b" start`, "subscribed"},
				realtime.VerbPublish:   {`history "old" "a" "b" start`, "subscribed"},
			} {
				if asks {
					switch verb {
					case realtime.VerbSubscribe:
						want[0] = `history "old" "a" "b" start`
					case realtime.VerbHistory:
						want = [2]string{"error forbidden", "error"}
					}
				}
				denied = verb
				if p := s.page(""); p.String() != want[0] {
					t.Errorf("asked for history: %v, denied %q: %v, want %s", asks, verb, p, want[0])
				}
				if o := s.call(subscribe("room") + `,"rewind":2`); o.Event != want[1] {
					t.Errorf("asked for history: %v, denied %q: %s, want %s", asks, verb, o.raw, want[1])
				} else if o.Event == "subscribed" {
					if got := rewound(t, o).String(); got != `subscribed "a" "b" ` {
						t.Errorf("rewound by 2: %s", got)
					}
					s.ok(`"op":"unsubscribe","channel":"room"`)
				}
			}
			// Without a rewind it is no question of history.
			denied = realtime.VerbHistory
			s.ok(subscribe("room"))
		}
	})
}

// A page that is asked for in the same breath as a subscription leaves no gap to it.
func TestWSHistoryAfterSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 500 {
				h.publish("room", i)
			}
		}()
		s.ask(subscribe("room"))
		ref := s.ask(`"op":"history","channel":"room"`)
		<-done
		seen := make(map[string]bool)
		for _, o := range s.rest() {
			switch {
			case o.Event == "message":
				seen[string(o.Data)] = true
			case o.Ref != nil && *o.Ref == ref:
				var p wsPage
				if err := json.Unmarshal([]byte(o.raw), &p); err != nil {
					t.Fatal(err)
				}
				for _, m := range p.Messages {
					seen[string(m.Data)] = true
				}
			}
		}
		for i := 500 - len(seen); i < 500; i++ { // it began somewhere
			if !seen[fmt.Sprint(i)] {
				t.Errorf("%d of %d messages, and %d is missing", len(seen), 500, i)
			}
		}
	})
}

// A page of large messages ends early, and goes on.
func TestWSHistoryOfLargeMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		for range 10 {
			h.publish("room", strings.Repeat("x", 100<<10))
		}
		h.publish("room", strings.Repeat("y", 900<<10))
		before, sizes := "", []int{}
		for {
			p := s.page(before)
			sizes = append(sizes, len(p.Messages))
			if p.End != "" {
				break
			}
			before = `,"before":"` + p.Before + `"`
		}
		if got := fmt.Sprint(sizes); got != "[1 2 2 2 2 2]" {
			t.Errorf("pages of %s messages", got)
		}
	})
}

// Nothing of a page comes after Revoke or Recheck has returned, however long the host's
// database takes.
func TestWSHistoryIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		allowed, asked := true, make(chan struct{}, 1)
		policy := open()
		policy.Allow = func(context.Context, realtime.Identity, realtime.Action) error {
			if !allowed {
				return errors.New("not now")
			}
			return nil
		}
		h := start(t, policy, &realtime.Options{History: realtime.History{
			Older: func(ctx context.Context, _ realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
				asked <- struct{}{}
				select {
				case <-time.After(3 * time.Second):
				case <-ctx.Done():
				}
				return []realtime.HistoryEvent{{RenEvent: realtime.RenEvent{Data: json.RawMessage("1")}, Cursor: "1"}}, nil
			},
		}})
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ask(`"op":"history","channel":"room"`)
		<-asked
		allowed = false
		if err := h.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		s.rest() // it may have come before
		s.nothing()
		time.Sleep(10 * time.Second)
		s.nothing()
		if p := s.page(""); p.Code != "forbidden" {
			t.Errorf("%v", p)
		}
		allowed = true
		s.ask(`"op":"history","channel":"room"`)
		<-asked
		if err := h.Revoke(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		for _, o := range s.rest() {
			if o.Event == "history" {
				t.Errorf("%s after Revoke", o.raw)
			}
		}
	})
}

// A database that fails or hangs is the client's to ask again, and one that panics ends
// the connection, not the server.
func TestWSHistoryOfADatabaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var do atomic.Value // of func()
		h := start(t, open(), &realtime.Options{History: realtime.History{
			Older: func(ctx context.Context, _ realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
				do.Load().(func())()
				return nil, errors.New("disk on fire")
			},
		}})
		s := h.socket(get("/realtime"))
		do.Store(func() {})
		if p := s.page(""); p.Code != "unavailable" || !*p.Retry || strings.Contains(p.Message, "fire") {
			t.Errorf("%v: %s", p, p.Message)
		}
		do.Store(func() { time.Sleep(time.Minute) })
		began := time.Now()
		if p := s.page(""); p.Code != "unavailable" || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v", p, time.Since(began))
		}
		if p := s.page(`,"before":"row:7"`); p.Code != "unavailable" { // the host's own cursor
			t.Errorf("%v", p)
		}
		do.Store(func() { panic("out of cheese") })
		s.ask(`"op":"history","channel":"room"`)
		if code, _ := s.closed(); code != 1011 {
			t.Errorf("closed with %d", code)
		}
		time.Sleep(time.Minute)
		if !strings.Contains(h.logs.String(), "out of cheese") || !strings.Contains(h.logs.String(), "disk on fire") {
			t.Errorf("logged: %s", h.logs)
		}
	})
}

// The past that a client reads is of the wire's form, whatever the host returns.
func TestWSHistoryIsEncodedAsMessagesAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var db archive
		h := start(t, open(), &realtime.Options{History: realtime.History{Older: db.older}})
		h.publish("room", map[string]any{"a": "\u2028\n"}, realtime.AsUser("ada"), realtime.FromClient(tab1))
		p := past(t, h.Realtime, "room", "", 1)
		ev := p.Events[0]
		ev.Cursor, ev.Data = "row\u2028:1", json.RawMessage("{ \"a\" :\n \"\\u2028\\n\" }")
		db.rows = append(db.rows, ev, p.Events[0])
		got := h.socket(get("/realtime")).page("")
		if len(got.Messages) != 2 || got.Messages[0].ID != string(ev.Cursor) {
			t.Fatalf("%v", got)
		}
		a, b := got.Messages[0], got.Messages[1]
		if string(a.Data) != string(b.Data) || a.From != b.From || a.From != wire.Tag(tab1) || a.UserID != b.UserID || a.TS != b.TS {
			t.Errorf("%+v and %+v", a, b)
		}
	})
}

// A page is not sent to who may no longer read it, also where it is the host's database
// that has found out: Recheck within Older does not wait for the page.
func TestWSHistoryRecheckedByTheDatabase(t *testing.T) {
	for _, ask := range []bool{false, true} {
		bubble(t, fmt.Sprint("AskHistory ", ask), func(t *testing.T) {
			var denied atomic.Bool
			policy := open()
			policy.AskHistory = ask
			policy.Allow = func(context.Context, realtime.Identity, realtime.Action) error {
				if denied.Load() {
					return errNotAllowed
				}
				return nil
			}
			var h *host
			denies := func() bool { return true }
			h = start(t, policy, &realtime.Options{History: realtime.History{
				Older: func(ctx context.Context, _ realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
					denied.Store(denies())
					noError(t, h.Recheck(ctx, "ada"))
					return []realtime.HistoryEvent{{RenEvent: realtime.RenEvent{Data: json.RawMessage(`"secret"`)}, Cursor: "1"}}, nil
				},
			}})
			s := h.socket(get("/realtime", "Authorization", asAda))
			if o := s.call(`"op":"history","channel":"room"`); o.Event != "error" || o.Code != "forbidden" {
				t.Errorf("%s", o.raw)
			}
			s.nothing()
			denied.Store(false)
			denies = func() bool { return false }
			if o := s.call(`"op":"history","channel":"room"`); o.Event != "history" {
				t.Errorf("still allowed: %s", o.raw)
			}
		})
	}
}
