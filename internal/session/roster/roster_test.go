package roster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/follow"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/session"
)

// node is a node whose store does something with each reading of a channel.
type node struct {
	*Rosters
	*memory.Backend
	t         *testing.T
	readings  atomic.Int32
	reading   func(ctx context.Context, n int) error // the n-th, from 1
	meanwhile func()                                 // after the store was read, before anything else
	lags      atomic.Bool                            // the history gets nothing that is appended
}

// followed is the log of a node as its history follows it.
type followed struct {
	*memory.Backend
	of *node
}

// Follow implements [backend.Log].
func (f followed) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	return f.Backend.Follow(ctx, after, func(records []backend.Record) {
		if f.of.lags.Load() {
			<-ctx.Done()
		}
		sink(records)
	})
}

// List implements [backend.Store].
func (n *node) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if n.meanwhile != nil && group == "room" {
		return n.stale(ctx, kind)
	}
	if n.reading != nil && group == "room" {
		if err := n.reading(ctx, int(n.readings.Add(1))); err != nil {
			return func(yield func(backend.Item, error) bool) { yield(backend.Item{}, err) }
		}
	}
	return n.Backend.List(ctx, kind, group)
}

// stale lists what the room held before something is done with it.
func (n *node) stale(ctx context.Context, kind string) iter.Seq2[backend.Item, error] {
	var items []backend.Item
	for it, err := range n.Backend.List(ctx, kind, "room") {
		if err != nil {
			n.t.Error(err)
		}
		items = append(items, it)
	}
	n.meanwhile()
	return func(yield func(backend.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// in runs a test in virtual time, with a node that keeps so many events.
func in(t *testing.T, events int, f func(t *testing.T, n *node)) {
	synctest.Test(t, func(t *testing.T) {
		running, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		n := &node{t: t, Backend: memory.New(memory.Limits{})}
		pos, err := follow.Start(t.Context(), n.Backend, events)
		if err != nil {
			t.Fatal(err)
		}
		history := ring.New(ring.Limits{Records: events, Bytes: 1 << 30, Age: time.Hour}, pos)
		follower := &follow.Follower{Log: followed{n.Backend, n}, History: history, Logger: slog.New(slog.DiscardHandler), Alone: true}
		all.Go(func() { follower.Run(running) })
		members := presence.New(n, presence.Options{Node: "a", NodeLease: time.Minute, Alone: true})
		n.Rosters = New(Node{
			Presence: members, Log: n.Backend, Ring: history, Uniform: true, Time: 5 * time.Second, Running: running, Go: func(f func()) { all.Go(f) },
		})
		f(t, n)
		synctest.Wait()
		if s := history.Stats(); s.Subscriptions > 0 {
			t.Errorf("%d readings still follow the channel", s.Subscriptions)
		}
	})
}

func (n *node) join(user, metadata string) {
	n.t.Helper()
	s := presence.Session{Key: presence.Key{Channel: "room", User: user, ID: "1"}, Metadata: []byte(metadata)}
	if err := n.node.Presence.Join(n.t.Context(), s); err != nil {
		n.t.Fatal(err)
	}
}

// say appends a message to a channel.
func (n *node) say(channel string) error {
	p := backend.Payload{Event: backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: channel}}
	_, err := n.Append(n.t.Context(), backend.Entry{ID: rand.Text(), Data: p.Encode()})
	return err
}

func (n *node) leave(user string) {
	n.t.Helper()
	k := presence.Key{Channel: "room", User: user, ID: "1"}
	if err := n.node.Presence.Leave(n.t.Context(), k, presence.Departure{Why: presence.Left}); err != nil {
		n.t.Fatal(err)
	}
}

// ask has so many clients ask for the roster. wait returns what they got.
func (n *node) ask(clients int) (wait func() []error) {
	var all sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		all.Go(func() {
			r, err := n.Read(n.t.Context(), "room")
			if (r == nil) != (err != nil) {
				n.t.Errorf("a roster: %v, and %v", r != nil, err)
			}
			errs[i] = err
		})
	}
	synctest.Wait()
	return func() []error { all.Wait(); return errs }
}

// Those who ask while a roster is read share the next reading, which comes after a
// pause of four times as long as the last took, a second at most.
func TestReadingsAreShared(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		took := 100 * time.Millisecond
		var began []time.Duration
		start := time.Now()
		n.reading = func(context.Context, int) error {
			began = append(began, time.Since(start))
			time.Sleep(took)
			return nil
		}
		first := n.ask(1)
		second := n.ask(20)
		first()
		third := n.ask(20) // in the pause: they can still be served by the next
		second()
		took = time.Minute // longer than a reading may
		third()
		took = 3 * time.Second
		n.ask(1)()
		n.ask(1)()
		want := []time.Duration{0, 500 * time.Millisecond, time.Second, 5 * time.Second}
		if !slices.Equal(began, want) {
			t.Errorf("readings began after %v, want %v", began, want)
		}
	})
}

// An error is told to all who wait, without another reading, and to nobody later.
func TestErrorsAreShared(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		broken := errors.New("the store is down")
		n.reading = func(context.Context, int) error {
			time.Sleep(time.Second)
			return broken
		}
		first, others := n.ask(1), n.ask(10)
		for _, err := range append(first(), others()...) {
			if !errors.Is(err, broken) {
				t.Errorf("a client gets %v", err)
			}
		}
		if r := n.readings.Load(); r != 1 {
			t.Errorf("%d readings", r)
		}
		n.reading = nil
		if err := n.ask(1)()[0]; err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// A client waits as long as its context, and a reading takes as long as it may.
func TestReadingHangs(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		n.reading = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		others := n.ask(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Read(ctx, "room"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that gives up gets %v", err)
		}
		start := time.Now()
		if err := others()[0]; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 4*time.Second {
			t.Errorf("the others get %v after %v", err, time.Since(start))
		}
	})
}

// Where more happens during a reading than the history keeps, the roster is read
// again, as long as there is time.
func TestMoreThanTheHistoryKeeps(t *testing.T) {
	in(t, 3, func(t *testing.T, n *node) {
		change := func() {
			for i := range 5 {
				n.join("ada", fmt.Sprint(time.Now().UnixNano()+int64(i)))
			}
			time.Sleep(time.Second)
		}
		busy := 2
		n.reading = func(_ context.Context, reading int) error {
			if reading <= busy {
				change()
			}
			return nil
		}
		if err := n.ask(1)()[0]; err != nil || n.readings.Load() != 3 {
			t.Errorf("%v after %d readings", err, n.readings.Load())
		}
		busy = 1 << 20
		if err := n.ask(1)()[0]; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v where changes do not end", err)
		}
	})
}

// Who joins, leaves or changes while the store is read is in the roster as the log has
// them at its place; everybody else is as the store has them.
func TestChangesDuringAReading(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		for _, user := range []string{"ada", "bob", "eve", "zoe"} {
			n.join(user, "1")
		}
		n.meanwhile = func() {
			n.join("ada", "2")
			n.leave("bob")
			n.join("carl", "1")
			n.join("dan", "1")
			n.leave("dan")
			n.leave("eve")
			n.join("eve", "3")
			if err := n.say("room"); err != nil {
				t.Error(err)
			}
		}
		changing, err := n.Read(t.Context(), "room")
		if err != nil {
			t.Fatal(err)
		}
		n.meanwhile = nil
		members, err := n.node.Presence.Members(t.Context(), "room")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range members {
			names = append(names, m.User+" "+string(m.Metadata))
		}
		if want := []string{"ada 2", "carl 1", "eve 3", "zoe 1"}; !slices.Equal(names, want) {
			t.Errorf("the store has %v, want %v", names, want)
		}
		if want := session.NewRoster("room", n.node.Ring.Head(), members, true); !reflect.DeepEqual(changing, want) {
			t.Errorf("the roster is %+v, want %+v", changing, want)
		}
	})
}

// A history that lags does not hold a reading for longer than that may take.
func TestReadingWhileTheHistoryLags(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		n.lags.Store(true)
		n.join("ada", "1")
		start := time.Now()
		if err := n.ask(1)()[0]; !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Clients that read slowly may hold any number of rosters: what is the same in the
// next one is there once.
func TestRostersShareMemory(t *testing.T) {
	in(t, 10_000, func(t *testing.T, n *node) {
		large := `"` + strings.Repeat("x", 1000) + `"`
		for i := range 100 {
			n.join(fmt.Sprint("user", i), large)
		}
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		var held []*session.Roster
		before := 0
		for range 31 {
			r, err := n.Read(t.Context(), "room")
			if err != nil {
				t.Fatal(err)
			}
			if held = append(held, r); len(held) == 1 {
				before = heap()
			}
		}
		if more := heap() - before; more > 1<<20 {
			t.Errorf("30 rosters of 100 kB take %d bytes", more)
		}
		runtime.KeepAlive(held)
	})
}

// Nothing is kept of rosters that no client holds.
func TestRostersAreForgotten(t *testing.T) {
	in(t, 100, func(t *testing.T, n *node) {
		for i := range 400 {
			if _, err := n.Read(t.Context(), fmt.Sprint("channel ", i)); err != nil {
				t.Fatal(err)
			}
			if i%50 == 0 {
				runtime.GC()
			}
		}
		time.Sleep(time.Minute)
		if n.Rosters.mu.Lock(); len(n.last) > 200 || len(n.next) > 0 {
			t.Errorf("%d rosters and %d readings are kept", len(n.last), len(n.next))
		}
		n.Rosters.mu.Unlock()
	})
}
