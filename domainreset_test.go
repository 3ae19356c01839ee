package realtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// lost appends the record by which a source says that it has lost its place in a domain.
func lost(t *testing.T, b backend.Backend, domain string) {
	t.Helper()
	p := backend.ResetOf(domain)
	if _, err := b.Append(t.Context(), backend.Entry{Data: p.Encode()}); err != nil {
		t.Fatal(err)
	}
}

// told returns what a stream tells, in order.
func told(t *testing.T, s *ren) (what string, cursor string) {
	t.Helper()
	var got []string
	for _, ev := range s.rest() {
		if ev.Name != "message" {
			cursor = ev.Cursor
			if ev.Reason != "backend" || ev.ID != ev.Cursor {
				t.Errorf("%s", ev.Raw)
			}
		}
		got = append(got, strings.TrimPrefix(ev.Name, "message")+ev.Key)
	}
	return strings.Join(got, " "), cursor
}

// A domain whose source has lost its place is reset once, at that place of the log, on
// streams that are open as on those that are resumed across it; the others are not.
func TestOneDomainIsReset(t *testing.T) {
	for domains, want := range map[string]string{
		"db": "1 ren.reset 2", "kv": "a b", "*": "1 a ren.reset b 2", "kv,db": "1 a ren.reset b 2",
	} {
		bubble(t, domains, func(t *testing.T) {
			b := realtime.NewMemory()
			h := start(t, open(), &realtime.Options{Backend: b})
			before := string(h.Cursor())
			s := h.ren(get("/ren?s=" + domains))
			h.emit(realtime.DocumentCreated("orders", "1"))
			h.emit(realtime.KVPut("n", "a"))
			lost(t, b, "db")
			h.emit(realtime.KVPut("n", "b"))
			h.emit(realtime.DocumentCreated("orders", "2"))
			synctest.Wait()
			got, cursor := told(t, s)
			if got != want {
				t.Errorf("told %q, want %q", got, want)
			}
			again := h.ren(get("/ren?s="+domains, "Last-Event-ID", before))
			if got, _ := told(t, again); again.hello.State != "resumed" || got != want {
				t.Errorf("resumed before it: %s, %q, want %q", again.hello.State, got, want)
			}
			if cursor == "" {
				return
			}
			_, rest, _ := strings.Cut(want, "ren.reset ")
			if got, _ := told(t, h.ren(get("/ren?s="+domains, "Last-Event-ID", cursor))); got != rest {
				t.Errorf("from the cursor of the reset: %q, want %q", got, rest)
			}
		})
	}
}

// A node that starts after it has the reset in its history.
func TestResetDomainOfEarlierTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		before := string(a.Cursor())
		a.emit(realtime.DocumentCreated("orders", "1"))
		lost(t, c, "db")
		late, _ := c.node(t, open())
		if got, _ := told(t, late.ren(get("/ren?s=db", "Last-Event-ID", before))); got != "1 ren.reset" {
			t.Errorf("told %q", got)
		}
	})
}

// Loops and groups are told if they can get events of the domain.
func TestResetDomainOfListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := realtime.NewMemory()
		var mu sync.Mutex
		got := make(map[string][]string)
		note := func(who, what string) { mu.Lock(); got[who] = append(got[who], what); mu.Unlock() }
		h := start(t, open(), &realtime.Options{Backend: b})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for who, m := range map[string]realtime.EventMatch{
			"all": {}, "db": {Resource: "db"}, "orders": {Namespace: "orders"}, "kv": {Resource: "kv"}, "k*": {Resource: "k*"}, "room": {Channel: "room"}, "rooms": {Channel: "room*"},
		} {
			all.Go(func() {
				for ev, err := range h.Events(ctx, m) {
					var reset *realtime.ResetError
					switch {
					case errors.As(err, &reset):
						note(who, "reset "+reset.Reason)
					case err == nil:
						note(who, ev.Key)
					}
				}
			})
			group := func(add func(*realtime.Group, realtime.EventHandler) error) {
				name := "group of " + who
				err := h.Group(name, &realtime.GroupOptions{Missed: func(e *realtime.ResetError) { note(name, "reset "+e.Reason) }},
					func(g *realtime.Group) error {
						return add(g, func(_ context.Context, ev realtime.RenEvent) error { note(name, ev.Key); return nil })
					})
				if err != nil {
					t.Error(err)
				}
			}
			group(func(g *realtime.Group, f realtime.EventHandler) error { return g.OnEvent(m, f) })
		}
		synctest.Wait()
		lost(t, b, "db")
		for _, ev := range []realtime.RenEvent{realtime.DocumentCreated("orders", "1"), realtime.KVPut("n", "a")} {
			h.emit(ev)
			synctest.Wait() // a group handles those of different keys in any order
		}
		cancel()
		all.Wait()
		for who, want := range map[string][]string{
			"all": {"reset backend", "1", "a"}, "db": {"reset backend", "1"}, "orders": {"reset backend", "1"}, "kv": {"a"}, "k*": {"a"}, "room": nil, "rooms": nil,
		} {
			mu.Lock()
			for _, who := range []string{who, "group of " + who} {
				if !slices.Equal(got[who], want) {
					t.Errorf("%s: %q, want %q", who, got[who], want)
				}
			}
			mu.Unlock()
		}
	})
}
