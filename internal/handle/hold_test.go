package handle

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// A handler that is added to a running group gets what comes from then on: not what had
// come before and waits for room.
func TestAddedToARunningGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.node.Pending = 1
		release := make(chan struct{})
		g := s.group("mailer", Options{}, func(context.Context, Delivery) error {
			<-release
			return nil
		})
		s.put("a")
		s.put("b") // waits for room
		var c calls
		if err := g.Add(everything(), c.handle); err != nil {
			t.Fatal(err)
		}
		close(release)
		s.put("c")
		c.expect(t, "c/1")
		s.close()
	})
}

// No more events wait in a group than may, also while it is given up.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.node.Pending = 2
		g := s.group("mailer", Options{}, func(ctx context.Context, _ Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		})
		for _, key := range []string{"a", "b", "c", "d"} {
			s.put(key)
		}
		if n := g.Pending(); n != 2 {
			t.Errorf("%d events wait", n)
		}
		s.close()
	})
}

// A group that is given up has ended when its handlers have, and has the progress of the
// place where it began, though it has handled nothing since.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.put("before", "before")
		var ended atomic.Bool
		s.group("mailer", Options{}, func(ctx context.Context, _ Delivery) error {
			<-ctx.Done()
			time.Sleep(time.Second) // for which nobody has asked
			ended.Store(true)
			return ctx.Err()
		})
		s.put("a")
		s.Stop()
		s.work.Wait()
		if !ended.Load() {
			t.Error("a handler runs on")
		}
		if p := s.progress("mailer"); p.Floor != at(2) {
			t.Errorf("the progress is %+v", p)
		}
	})
}

// slow is a store that takes its time for a change, and counts those under way.
type slow struct {
	backend.Store
	now, most atomic.Int64
}

func (s *slow) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	time.Sleep(500 * time.Millisecond)
	return s.Store.Put(context.WithoutCancel(ctx), w)
}

// A group makes one change of its record at a time, also at its end.
func TestOneChangeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{Store: memory.New(memory.Limits{})}
		s := groupsOver(t, store)
		s.group("mailer", Options{}, (&calls{}).handle)
		time.Sleep(time.Minute + time.Second/4)
		s.put("a")
		s.close()
		if n := store.most.Load(); n != 1 {
			t.Errorf("%d changes at a time", n)
		}
		if s.logs.Len() > 0 {
			t.Error(&s.logs)
		}
	})
}

// A group that another node has taken by the time it is given up is given up silently.
func TestTakenBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := &cast{t: t, b: memory.New(memory.Limits{}), claims: make(map[string]*Claim)}
		s := groupsOver(t, others.b)
		s.group("mailer", Options{}, (&calls{}).handle)
		s.put("a")
		others.lose()
		others.hold("cem")
		s.put("b")
		s.close()
		if s.logs.Len() > 0 {
			t.Error(&s.logs)
		}
	})
}

// The progress moves past what the history has evicted, though it runs still: so what is
// remembered as done is bounded.
func TestProgressPassesWhatIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.group("mailer", Options{Missed: func(string) {}}, func(ctx context.Context, d Delivery) error {
			if d.Event.Key == "stuck" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		s.put("stuck")
		for range 300 { // the history has 100
			s.put("a")
		}
		time.Sleep(groupLease)
		synctest.Wait()
		if p := s.progress("mailer"); p.Floor.Seq < 200 {
			t.Errorf("the floor is %d", p.Floor.Seq)
		}
		s.close()
	})
}

// The waits before retries double up to their bound.
func TestBackoff(t *testing.T) {
	h := &hold{g: &Group{opts: Options{Backoff: time.Second, MaxBackoff: 10 * time.Second}}}
	for failed, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 50: 10 * time.Second} {
		for range 20 {
			if wait := h.backoff(failed); wait < want/2 || wait > want {
				t.Errorf("%v after %d failures, want %v or half of it", wait, failed, want)
			}
		}
	}
	h.g.opts.Backoff, h.g.opts.MaxBackoff = time.Minute, time.Second
	if wait := h.backoff(1); wait > time.Second {
		t.Errorf("%v, with a bound of a second", wait)
	}
}

// What becomes of events is counted.
func TestGroupStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.group("mailer", Options{Attempts: 3}, func(context.Context, Delivery) error { return errors.New("no") })
		s.put("a")
		time.Sleep(time.Minute)
		s.ring.Reset(backend.Position{Epoch: 2})
		synctest.Wait()
		got := s.Stats()["mailer"]
		if got.Retries != 2 || got.DeadLetters != 1 || got.Missed["epoch"] != 1 {
			t.Errorf("%+v", got)
		}
		s.close()
		if logs := s.logs.String(); strings.Count(logs, "was not handled") != 1 || strings.Count(logs, "missed events") != 1 {
			t.Error(logs)
		}
	})
}

// Without groups there is nothing to drain, nor to settle.
func TestDrainOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.node.Settle = func(context.Context) { t.Error("it settles") }
		s.Close()
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		s.close()
	})
}
