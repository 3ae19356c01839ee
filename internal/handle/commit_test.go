package handle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// What failed before the store did is committed with what is done after it.
func TestUnsentFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unsteady{Store: memory.New(memory.Limits{})}
		s := groupsOver(t, store)
		s.group("mailer", Options{Attempts: 100, Backoff: time.Hour}, func(_ context.Context, d Delivery) error {
			if d.Event.Key == "fails" {
				return errors.New("later")
			}
			return nil
		})
		store.down.Store(true)
		s.put("fails")
		s.put("is done")
		store.down.Store(false)
		time.Sleep(groupLease / 2)
		synctest.Wait()
		p := s.progress("mailer")
		if p.Floor.Seq != 0 || !slices.Equal(p.Done, []uint64{2}) || len(p.Failed) != 1 || p.Failed[1] != 1 {
			t.Errorf("the progress is %+v", p)
		}
		s.close()
	})
}

// counted is a store that counts writes.
type counted struct {
	backend.Store
	puts atomic.Int64
}

func (c *counted) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	c.puts.Add(1)
	return c.Store.Put(ctx, w)
}

// A group with nothing to do writes to renew its hold, and for nothing else.
func TestIdleGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Store: memory.New(memory.Limits{})}
		s := groupsOver(t, store)
		s.group("mailer", Options{}, (&calls{}).handle)
		s.put("a")
		store.puts.Store(0)
		time.Sleep(10*groupLease + time.Second)
		synctest.Wait()
		// The floor moves past "a" with the commit of it, or with the first renewal.
		if n := store.puts.Load(); n != 30 && n != 31 {
			t.Errorf("%d writes in ten leases", n)
		}
		s.close()
	})
}

// A hold that another node has taken, or whose backend was closed, ends with the next commit
// or renewal. One that cannot be renewed lasts as long as its lease, and its node says so.
func TestHoldIsTaken(t *testing.T) {
	for _, c := range []struct {
		name  string
		take  func(c *cast, s *site, store *unsteady)
		after time.Duration
		logs  int
	}{
		{"taken", func(c *cast, _ *site, _ *unsteady) { c.lose(); c.hold("cem") }, groupLease / 3, 0},
		{"taken, and something is done", func(c *cast, s *site, _ *unsteady) {
			c.lose()
			c.hold("cem")
			time.Sleep(time.Second)
			s.put("done")
		}, time.Second, 0},
		{"the backend was closed, and something is done", func(c *cast, s *site, _ *unsteady) {
			_ = c.b.Close(context.Background())
			time.Sleep(time.Second)
			s.put("done")
		}, time.Second, 0},
		{"the store is down", func(_ *cast, _ *site, store *unsteady) { store.down.Store(true) }, groupLease, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			others := &cast{t: t, b: memory.New(memory.Limits{}), claims: make(map[string]*Claim)}
			store := &unsteady{Store: others.b}
			s := groupsOver(t, store)
			began := time.Now()
			var ended time.Duration
			s.group("mailer", Options{}, func(ctx context.Context, d Delivery) error {
				if d.Event.Key == "done" {
					return nil
				}
				<-ctx.Done()
				ended = time.Since(began)
				return ctx.Err()
			})
			s.put("a")
			c.take(others, s, store)
			time.Sleep(groupLease + time.Second)
			synctest.Wait()
			if ended != c.after {
				t.Errorf("%s: the hold ended after %v, want %v", c.name, ended, c.after)
			}
			s.close()
			if n := strings.Count(s.logs.String(), "cannot be renewed"); n != c.logs {
				t.Errorf("%s: logged %d times: %s", c.name, n, &s.logs)
			}
		})
	}
}
