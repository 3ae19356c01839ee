package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memory"
)

func session(user, id, node string) backend.Session {
	return backend.Session{SessionKey: backend.SessionKey{Channel: "room", User: user, ID: id}, Node: node}
}

// events returns what was stored behind after, one line each, and the head.
func events(t *testing.T, b *memory.Backend, after backend.Position) (lines []string, head backend.Position) {
	t.Helper()
	page, err := b.Read(t.Context(), after, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		e := r.Event
		lines = append(lines, fmt.Sprintf("%s %s/%s %s", e.Type, e.Channel, e.User, e.Data))
	}
	return lines, page.Head
}

// TestFirstEndCounts sweeps late, when several causes are over.
func TestFirstEndCounts(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name              string
		ttl, leave, lease time.Duration
		want              backend.Reason
	}{
		{"TTL", 1 * s, 2 * s, 3 * s, backend.ReasonTimeout},
		{"TTL without lease", 1 * s, 2 * s, 0, backend.ReasonTimeout},
		{"leave", 2 * s, 1 * s, 3 * s, backend.ReasonClosed},
		{"leave without TTL", 0, 1 * s, 3 * s, backend.ReasonClosed},
		{"lease", 3 * s, 2 * s, 1 * s, backend.ReasonNode},
		{"lease alone", 0, 0, 1 * s, backend.ReasonNode},
		{"lease long before", 30 * s, 20 * s, 1 * s, backend.ReasonNode},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Limits{})
				ann := session("ann", "1", "node")
				ann.TTL = c.ttl
				var errs []error
				if c.lease > 0 {
					_, err := b.Sweep(t.Context(), "node", c.lease)
					errs = append(errs, err)
				}
				errs = append(errs, b.Join(t.Context(), ann))
				if c.leave > 0 {
					errs = append(errs, b.Leave(t.Context(), ann.SessionKey, backend.Departure{Why: backend.ReasonClosed, In: c.leave}))
				}
				_, head := events(t, b, backend.Position{})
				time.Sleep(10 * s)
				_, err := b.Sweep(t.Context(), "other", time.Minute)
				if err := errors.Join(append(errs, err)...); err != nil {
					t.Fatal(err)
				}
				want := []string{fmt.Sprintf(`presence.leave room/ann {"reason":"%s"}`, c.want)}
				if got, _ := events(t, b, head); !slices.Equal(got, want) {
					t.Errorf("the events are %q, want %q", got, want)
				}
			})
		})
	}
}

// A node that sweeps late keeps what nobody has ended yet.
func TestLateNodeKeepsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{})
		for range 3 {
			if _, err := b.Sweep(t.Context(), "node", time.Second); err != nil {
				t.Fatal(err)
			}
			if err := b.Join(t.Context(), session("ann", "1", "node")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if got, _ := events(t, b, backend.Position{}); len(got) != 1 {
			t.Errorf("the events are %q", got)
		}
	})
}

func TestSweepNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{})
		sweep := func(node string, want time.Duration) {
			t.Helper()
			if next, err := b.Sweep(t.Context(), node, 30*time.Second); next != want || err != nil {
				t.Errorf("Sweep returned %v and %v, want %v", next, err, want)
			}
		}
		sweep("a", 10*time.Second)
		if err := b.Join(t.Context(), session("ann", "1", "a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second)
		sweep("b", 5*time.Second) // then the lease of a runs out
		ttl := session("ann", "2", "a")
		ttl.TTL = 3 * time.Second
		if err := b.Join(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		sweep("b", 3*time.Second)
		time.Sleep(5 * time.Second)
		sweep("b", 10*time.Second) // which has ended everything
		if got, _ := b.Members(t.Context(), "room"); len(got) > 0 {
			t.Errorf("the members are %v", got)
		}
	})
}

// stepsOfPresence are the calls that append, on a backend where ann is.
var stepsOfPresence = map[string]func(ctx context.Context, b *memory.Backend) error{
	"join": func(ctx context.Context, b *memory.Backend) error { return b.Join(ctx, session("bob", "1", "node")) },
	"update": func(ctx context.Context, b *memory.Backend) error {
		s := session("ann", "1", "node")
		s.Metadata = []byte("1")
		return b.Join(ctx, s)
	},
	"leave": func(ctx context.Context, b *memory.Backend) error {
		return b.Leave(ctx, session("ann", "1", "node").SessionKey, backend.Departure{Why: backend.ReasonLeft})
	},
	"sweep": func(ctx context.Context, b *memory.Backend) error {
		_, err := b.Sweep(ctx, "other", time.Minute)
		return err
	},
}

// TestFailedStepChangesNothing gives up while the log is full.
func TestFailedStepChangesNothing(t *testing.T) {
	for name, step := range stepsOfPresence {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, r, gate := full(t)
				membersBefore, _ := b.Members(t.Context(), "room")
				_, head := events(t, b, backend.Position{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := step(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("returned %v", err)
				}
				members, _ := b.Members(t.Context(), "room")
				if got, _ := events(t, b, head); len(got) > 0 || fmt.Sprint(members) != fmt.Sprint(membersBefore) {
					t.Errorf("changed the members from %v to %v and stored %q", membersBefore, members, got)
				}
				close(gate)
				if err := step(t.Context(), b); err != nil {
					t.Error(err)
				}
				if got, _ := events(t, b, head); len(got) != 1 {
					t.Errorf("tried again, stored %q", got)
				}
				r.stop()
			})
		})
	}
}

// full is slow with no room left, and ann in the room on a node that is dead.
func full(t *testing.T) (b *memory.Backend, r *reader, gate chan struct{}) {
	b, r, gate = slow(t)
	if _, err := b.Sweep(t.Context(), "node", time.Second); err != nil {
		t.Fatal(err)
	}
	if err := b.Join(t.Context(), session("ann", "1", "node")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	return b, r, gate
}

// A sink asks for presence while joins wait for its follower.
func TestSinkMayUsePresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{Records: 8})
		ctx, stop := context.WithCancel(t.Context())
		gate, ended := make(chan struct{}), make(chan error)
		go func() {
			ended <- b.Follow(ctx, backend.Position{}, func([]*backend.Record) {
				<-gate
				_, err1 := b.Members(t.Context(), "room")
				_, err2 := b.PresentChannels(t.Context())
				err3 := b.Join(t.Context(), session("ann", "1", "node")) // changes nothing, so it does not wait
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Error(err)
				}
			})
		}()
		if err := b.Join(ctx, session("ann", "1", "node")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is in the sink
		joined := make(chan error, 20)
		for i := range cap(joined) {
			go func() { joined <- b.Join(ctx, session(fmt.Sprint("user-", i), "1", "node")) }()
		}
		synctest.Wait()
		if len(joined) == cap(joined) {
			t.Fatal("no join waits")
		}
		close(gate)
		for range cap(joined) {
			if err := <-joined; err != nil {
				t.Error(err)
			}
		}
		stop()
		<-ended
	})
}

func TestMetadataOutlivesTheCallersBuffer(t *testing.T) {
	b := memory.New(memory.Limits{})
	s := session("ann", "1", "node")
	s.Metadata = []byte("1")
	if err := b.Join(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.Metadata[0] = '2'
	if got, err := b.Members(t.Context(), "room"); err != nil || string(got[0].Metadata) != "1" {
		t.Errorf("the members are %v, with error %v", got, err)
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	m := memory.New(memory.Limits{})
	for i := range 1000 {
		if err := m.Join(b.Context(), session(fmt.Sprint("user-", i), "1", "node")); err != nil {
			b.Fatal(err)
		}
	}
	s := session("ann", "1", "node")
	s.TTL = time.Minute
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Join(b.Context(), s); err != nil {
			b.Fatal(err)
		}
		if err := m.Leave(b.Context(), s.SessionKey, backend.Departure{Why: backend.ReasonLeft}); err != nil {
			b.Fatal(err)
		}
	}
}
