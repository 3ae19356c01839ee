package handle

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/match"
)

// site is a node with groups of handlers, and a ring that the test fills.
type site struct {
	*Groups
	t     *testing.T
	store backend.Store
	ring  *ring.Ring
	logs  bytes.Buffer // read it after close
	stop  context.CancelFunc
	work  sync.WaitGroup
}

func groupsOver(t *testing.T, store backend.Store) *site {
	s := &site{t: t, store: store, ring: ring.New(ring.Limits{Records: 100, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.Groups = New(ctx, Node{
		Name: "here", Store: store, Ring: s.ring, Logger: slog.New(slog.NewTextHandler(&s.logs, nil)),
		Pending: 100, Depth: 8, Go: s.work.Go,
		Now: s.ring.Head, Settle: func(context.Context) {}, Ending: func() bool { return false },
	})
	return s
}

// close gives the groups up and waits for them.
func (s *site) close() {
	s.stop()
	s.work.Wait()
}

// group launches a group with one handler of all events.
func (s *site) group(name string, o Options, h Handler) *Group {
	s.t.Helper()
	defaults := Options{Concurrency: 4, Attempts: stdcmp.Or(o.Attempts, 3), Backoff: stdcmp.Or(o.Backoff, time.Second), MaxBackoff: time.Hour, Timeout: time.Minute}
	defaults.DeadLetter, defaults.Missed = o.DeadLetter, o.Missed
	defaults.Final = func(error) bool { return false }
	defaults.Context = func(ctx context.Context, _ Delivery) context.Context { return ctx }
	g := s.New(name, defaults)
	if err := errors.Join(g.Add(everything(), h), s.Launch(g)); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
	return g
}

// everything is the rule of all events.
func everything() (r match.Rule) {
	for _, p := range []*match.Pattern{&r.Resource, &r.Type, &r.Namespace, &r.Key, &r.Channel} {
		*p, _ = match.Compile("")
	}
	return r
}

// put adds events of these keys to the ring.
func (s *site) put(keys ...string) {
	for _, key := range keys {
		s.ring.Put([]*backend.Logged{{Pos: s.ring.Head().Next(), Event: backend.Event{Resource: "kv", Type: "kv.put", Key: key}}})
	}
	synctest.Wait()
}

func (s *site) progress(name string) Progress {
	s.t.Helper()
	p, err := Read(context.Background(), s.store, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// A name that the host did not give is not shown.
func TestPublicName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var names sync.Map
		for _, name := range []string{"mailer", "$process:x"} {
			s.group(name, Options{}, func(_ context.Context, d Delivery) error {
				names.Store(d.Group, true)
				return errors.New("no")
			})
		}
		s.put("a")
		time.Sleep(time.Minute)
		s.close()
		var got []string
		for name := range names.Range {
			got = append(got, name.(string))
		}
		if slices.Sort(got); !slices.Equal(got, []string{"", "mailer"}) {
			t.Errorf("%q", got)
		}
		if logs := s.logs.String(); strings.Contains(logs, "$") || strings.Count(logs, "was not handled") != 2 {
			t.Error(logs)
		}
	})
}

// The group of the process starts with the first handlers that can be added, and there is
// one of them. Where there are other nodes it needs a name.
func TestOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var of []*Group
		register := func(err error) func(*Group) error {
			return func(g *Group) error {
				of = append(of, g)
				return err
			}
		}
		if err := s.Own(Options{}, register(nil)); !errors.Is(err, ErrBadGroup) || len(of) > 0 {
			t.Errorf("among other nodes: %v", err)
		}
		s.node.Alone = true
		errNo := errors.New("no")
		if err := s.Own(Options{}, register(errNo)); err != errNo || len(s.Stats()) > 0 {
			t.Errorf("of handlers that cannot be added: %v, and there is %v", err, s.Stats())
		}
		for range 2 {
			if err := s.Own(Options{}, register(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if of[0] == of[1] || of[1] != of[2] {
			t.Error("the handlers are not of one group")
		}
		if _, there := s.Stats()["$process"]; !there || len(s.Stats()) != 1 {
			t.Errorf("there is %v", s.Stats())
		}
		s.close()
		late := groupsOver(t, s.store)
		late.node.Alone = true
		late.Close()
		if err := late.Own(Options{}, register(nil)); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}

// Missed events and dead letters are logged, unless the host wants to be told.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var told []string
		s.group("mailer", Options{
			Missed:     func(reason string) { told = append(told, reason) },
			DeadLetter: func(_ context.Context, d Delivery, err error) { told = append(told, d.Event.Key+": "+err.Error()) },
		}, func(context.Context, Delivery) error { return errors.New("no") })
		s.put("a")
		time.Sleep(time.Minute)
		s.ring.Reset(backend.Position{Epoch: 2})
		synctest.Wait()
		s.close()
		if diff := cmp.Diff([]string{"a: no", string(ring.Epoch)}, told); diff != "" || s.logs.Len() > 0 {
			t.Errorf("%s, logs %s", diff, &s.logs)
		}
	})
}

// The context of a call ends with the call. A handler that fails because its group is
// given up has not failed: the next holder calls it again.
func TestContextOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var first context.Context
		var attempts atomic.Int64
		s.group("mailer", Options{}, func(ctx context.Context, d Delivery) error {
			if d.Event.Key == "a" {
				first = ctx
				return nil
			}
			attempts.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		s.put("a")
		if first.Err() == nil {
			t.Error("the context of a call outlives it")
		}
		s.put("b")
		s.close()
		if attempts.Load() != 1 || s.logs.Len() > 0 {
			t.Errorf("%d attempts, logs %s", attempts.Load(), &s.logs)
		}
		if p := s.progress("mailer"); p.Floor.Seq != 1 || len(p.Done)+len(p.Failed) > 0 {
			t.Errorf("the progress is %+v", p)
		}
	})
}

// unsteady is a store whose changes fail while it is down.
type unsteady struct {
	backend.Store
	down atomic.Bool
}

func (s *unsteady) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if s.down.Load() {
		return 0, errDown
	}
	return s.Store.Put(ctx, w)
}

// Progress that could not be stored is stored with the next, and no more of it than is
// still of use.
func TestUnsentProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unsteady{Store: memory.New(memory.Limits{})}
		s := groupsOver(t, store)
		s.group("mailer", Options{Attempts: 100}, func(ctx context.Context, d Delivery) error {
			if strings.Contains("bd", d.Event.Key) {
				return errors.New("later")
			}
			return nil
		})
		store.down.Store(true)
		s.put("a", "b", "c")
		time.Sleep(100 * time.Millisecond)
		s.put("d", "e")
		store.down.Store(false)
		time.Sleep(groupLease/3 - 200*time.Millisecond) // before b and d are given up
		s.close()
		p := s.progress("mailer")
		if p.Floor.Seq != 1 || len(p.Done) != 2 || p.Failed[2] == 0 || p.Failed[4] == 0 || len(p.Failed) != 2 {
			t.Errorf("the progress is %+v", p)
		}
	})
}

// A store that fails while the node ends is no news.
func TestQuietEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unsteady{Store: memory.New(memory.Limits{})}
		store.down.Store(true)
		s := groupsOver(t, store)
		s.stop()
		s.group("mailer", Options{}, func(context.Context, Delivery) error { return nil })
		s.close()
		if s.logs.Len() > 0 {
			t.Error(&s.logs)
		}
	})
}

// After Close nothing is added, and a name is taken once.
func TestClosedGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		nothing := func(context.Context, Delivery) error { return nil }
		g := s.group("mailer", Options{}, nothing)
		if err := s.Launch(s.New("mailer", Options{})); err != ErrTaken {
			t.Error(err)
		}
		s.Close()
		if err := s.Launch(s.New("other", Options{})); err != ErrClosed {
			t.Error(err)
		}
		if err := g.Add(match.Rule{}, nothing); err != ErrClosed {
			t.Error(err)
		}
		s.close()
	})
}

// A group whose record cannot be read waits until it can, and says so once. Others go on.
func TestOddRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Limits{})
		odd, err := store.Put(t.Context(), backend.Write{Key: key("odd"), Value: garbage})
		if err != nil {
			t.Fatal(err)
		}
		s := groupsOver(t, store)
		handled := make(map[string]int)
		var mu sync.Mutex
		for _, name := range []string{"mailer", "odd"} {
			s.group(name, Options{}, func(context.Context, Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				handled[name]++
				return nil
			})
		}
		s.put("a", "b")
		time.Sleep(30 * time.Minute)
		s.put("c")
		if diff := cmp.Diff(map[string]int{"mailer": 3}, handled); diff != "" {
			t.Error(diff)
		}
		if err := store.Delete(t.Context(), key("odd"), odd, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.put("d")
		s.close()
		if handled["odd"] == 0 || handled["mailer"] != 4 {
			t.Errorf("in the end %v", handled)
		}
		if said := s.logs.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "cannot be read") {
			t.Errorf("the log says %s", said)
		}
	})
}
