package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// eventful is a backend in which something happens before and after it looks who
// is in a channel.
type eventful struct {
	backend.Backend
	before, after func(channel string)
}

func (b *eventful) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if kind != "member" || group == "" {
		return b.Backend.List(ctx, kind, group)
	}
	b.before(group)
	var items []backend.Item
	for it, err := range b.Backend.List(ctx, kind, group) {
		if err == nil {
			items = append(items, it)
		}
	}
	b.after(group)
	return func(yield func(backend.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// literal is a roster as a client keeps it that takes what it is told literally:
// who comes was not there, who goes or changes was.
type literal struct {
	metadata map[string]string // by user; nil before the first roster
	faults   []string
}

func (l *literal) take(objects []object) {
	for _, o := range objects {
		_, there := l.metadata[o.UserID]
		switch o.Event {
		case "presence.state":
			l.metadata = map[string]string{}
			for _, m := range o.Members {
				l.metadata[m.UserID] = string(m.Metadata)
			}
			continue
		case "presence.join", "presence.update":
			l.metadata[o.UserID] = string(o.Metadata)
		case "presence.leave":
			delete(l.metadata, o.UserID)
		default:
			continue
		}
		if there == (o.Event == "presence.join") {
			l.faults = append(l.faults, o.Event+" of "+o.UserID)
		}
	}
}

func (l *literal) want(t *testing.T, members map[string]string) {
	t.Helper()
	if len(l.faults) > 0 || !maps.Equal(l.metadata, members) {
		t.Errorf("invented: %v; the roster is %v, want %v", l.faults, l.metadata, members)
	}
}

// However people come, go and change while the roster is read, a client gets each
// of that once: in the roster, or after it. Messages are not concerned.
func TestRosterIsOfOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &eventful{Backend: realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b})
		change := func(channel, coming, changing, going string) {
			h.join(channel, coming, 2)
			h.join(channel, changing, 2)
			noError(t, h.Presence().Leave(t.Context(), channel, going))
			h.publish(channel, coming)
		}
		b.before = func(channel string) { change(channel, "comes before", "changes before", "goes before") }
		b.after = func(channel string) { change(channel, "comes after", "changes after", "goes after") }
		for _, user := range []string{"stays", "changes before", "changes after", "goes before", "goes after"} {
			h.join("room", user, 1)
		}
		members := map[string]string{"stays": "1", "changes before": "2", "changes after": "2", "comes before": "2", "comes after": "2"}

		s, roster := h.socket(get("/realtime")), &literal{}
		s.ask(subscribe("room") + `,"presence":true`)
		objects := s.rest()
		roster.take(objects)
		roster.want(t, members)
		var messages []string
		for _, o := range objects {
			if o.Event == "message" {
				messages = append(messages, string(o.Data))
			}
		}
		if !slices.Equal(messages, []string{`"comes before"`, `"comes after"`}) {
			t.Errorf("messages %s", messages)
		}
		if !slices.IsSortedFunc(objects[1].Members, func(a, b realtime.Member) int { return strings.Compare(a.UserID, b.UserID) }) {
			t.Errorf("not ordered: %s", objects[1].raw)
		}

		// Changes after the roster are delivered, however many rosters are asked for.
		b.before = func(channel string) { change(channel, "comes again", "stays", "comes before") }
		b.after = func(string) {}
		delete(members, "comes before")
		members["comes again"], members["stays"] = "2", "2"
		s.ok(subscribe("room") + `,"presence":true`)
		h.join("room", "comes last", 2)
		members["comes last"] = "2"
		roster.take(s.rest())
		roster.want(t, members)
	})
}

// If the ring has evicted events by the time the backend answers, the roster is read
// again, for as long as a roster may take.
func TestRosterOutrun(t *testing.T) {
	t.Parallel()
	for readings, want := range map[int]string{3: "subscribed presence.state", 1_000_000: "error"} {
		bubble(t, want, func(t *testing.T) {
			b := &eventful{Backend: realtime.NewMemory(), before: func(string) {}}
			h := start(t, open(), &realtime.Options{Backend: b, History: realtime.History{Events: 2}})
			asked := 0
			b.after = func(channel string) {
				if asked++; asked > readings {
					return
				}
				h.join(channel, fmt.Sprint("user", asked), nil)
				for range 5 {
					h.publish(channel, 1)
				}
				time.Sleep(10 * time.Millisecond)
			}
			s, roster := h.socket(get("/realtime")), &literal{}
			s.ask(subscribe("room") + `,"presence":true`)
			time.Sleep(time.Minute)
			var got []string
			objects := s.rest()
			for _, o := range objects {
				if o.Event != "message" && o.Event != "ping" && o.Event != "reset" {
					got = append(got, o.Event)
				}
			}
			if got := strings.Join(slices.Compact(got), " "); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			if roster.take(objects); want != "error" {
				roster.want(t, map[string]string{"user1": "", "user2": "", "user3": ""})
			}
		})
	}
}

// The same with many who come and go at random, and rosters that take time.
func TestRostersWhilePeopleComeAndGo(t *testing.T) {
	t.Parallel()
	for seed := range uint64(figure(10, 300)) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			wait := func(string) { time.Sleep(time.Millisecond) }
			h := start(t, open(), &realtime.Options{Backend: &eventful{realtime.NewMemory(), wait, wait}})
			var busy sync.WaitGroup
			for u := range 5 {
				user, steps := fmt.Sprint("user", u), rand.New(rand.NewPCG(seed, uint64(u)))
				busy.Go(func() {
					for range 100 {
						time.Sleep(time.Duration(steps.IntN(500)) * time.Microsecond)
						if steps.IntN(3) > 0 {
							h.join("room", user, steps.IntN(2))
						} else {
							noError(t, h.Presence().Leave(t.Context(), "room", user))
						}
					}
				})
			}
			var sockets []*socket
			for range 10 {
				time.Sleep(time.Duration(rnd.IntN(4000)) * time.Microsecond)
				s := h.socket(get("/realtime"))
				s.ask(subscribe("room") + `,"presence":true`)
				sockets = append(sockets, s)
			}
			busy.Wait()
			time.Sleep(time.Second)
			found, err := h.Presence().Members(t.Context(), "room")
			noError(t, err)
			members := map[string]string{}
			for _, m := range found {
				members[m.UserID] = string(m.Metadata)
			}
			for _, s := range sockets {
				roster := &literal{}
				roster.take(s.rest())
				roster.want(t, members)
			}
		})
	}
}

// Where the log lags, a roster waits for it, and is refused where that takes too
// long: what comes after it has to be in the log that this node has.
func TestRosterWaitsForTheLog(t *testing.T) {
	for held, want := range map[time.Duration]string{time.Second: "subscribed presence.state", 10 * time.Second: "error"} {
		bubble(t, held.String(), func(t *testing.T) {
			b := backendtest.NewFaulty(realtime.NewMemory())
			h := start(t, open(), &realtime.Options{Backend: b})
			s := h.socket(get("/realtime"))
			b.Hold()
			h.join("room", "ada", nil)
			s.ask(subscribe("room") + `,"presence":true`)
			s.nothing()
			time.AfterFunc(held, b.Release)
			time.Sleep(held + time.Second)
			var got []string
			for _, o := range s.rest() {
				if got = append(got, o.Event); o.Event == "error" && (o.Code != "unavailable" || !*o.Retry) {
					t.Errorf("%s", o.raw)
				}
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// A roster that waits for the log does not keep Close.
func TestCloseWhileARosterIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.socket(get("/realtime"))
		b.Hold()
		h.join("room", "ada", nil)
		s.ask(subscribe("room") + `,"presence":true`)
		synctest.Wait()
		began := time.Now()
		if err := h.Close(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("Close returned %v after %v", err, time.Since(began))
		}
		if code, _ := s.closed(); code != 1012 {
			t.Errorf("closed with %d", code)
		}
	})
}

// A client that missed who came and went is not told so before it can be told who
// is there: else it would go on from there with the roster it had.
func TestResetWithoutRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := backendtest.NewFaulty(realtime.NewMemory())
		b := &unreadable{Backend: faulty}
		h := start(t, open(), &realtime.Options{Backend: b})
		h.join("room", "ada", nil)
		s := h.socket(get("/realtime"))
		s.ask(subscribe("room") + `,"presence":true`)
		cursor := s.want("subscribed").Cursor
		s.want("presence.state")
		b.broken.Store(true)
		faulty.NewEpoch()
		h.publish("room", 1)
		code, last := s.closed()
		if code != 4503 || len(last) != 1 || last[0].Event != "bye" || last[0].Reason != "unavailable" || last[0].Cursor != "" {
			t.Errorf("closed with %d, %+v", code, last)
		}
		b.broken.Store(false)
		s = h.socket(get("/realtime"))
		s.ask(since("room", cursor) + `,"presence":true`)
		if got := s.want("subscribed"); got.State != "reset" {
			t.Errorf("got %s", got.raw)
		}
		if got := s.want("presence.state"); len(got.Members) != 1 {
			t.Errorf("got %s", got.raw)
		}
	})
}

// unreadable is a backend that cannot say who is where while it is broken.
type unreadable struct {
	backend.Backend
	broken atomic.Bool
}

func (b *unreadable) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if b.broken.Load() && kind == "member" {
		return func(yield func(backend.Item, error) bool) {
			yield(backend.Item{}, errors.New("connection refused"))
		}
	}
	return b.Backend.List(ctx, kind, group)
}
