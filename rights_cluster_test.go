package realtime_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// Two pages at two nodes, which check their own rights at the same time, or those of each
// other, do not wait for each other.
func TestFragmentsRecheckAtTwoNodes(t *testing.T) {
	for name, c := range map[string]struct{ who, users [2]string }{
		"one user":     {[2]string{"ada", "ada"}, [2]string{"ada", "ada"}},
		"their own":    {[2]string{"ada", "bob"}, [2]string{"ada", "bob"}},
		"each other's": {[2]string{"ada", "bob"}, [2]string{"bob", "ada"}},
	} {
		bubble(t, name, func(t *testing.T) { fragmentsRecheck(t, c.who, c.users) })
	}
}

// fragmentsRecheck has the page of each user at a node of its own check the rights of a user.
func fragmentsRecheck(t *testing.T, who, users [2]string) {
	alone := who == users && who[0] != who[1] // nobody else ends the stream
	var hosts [2]*host
	var rendering sync.WaitGroup
	rendering.Add(2)
	c := newCluster()
	for i := range hosts {
		hosts[i] = withFragments(t, open(), &realtime.Options{Backend: c.link()}, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
			if ev.Key == "leaked" {
				rendering.Done()
				rendering.Wait()
				began := time.Now()
				err := hosts[i].Recheck(ctx, users[i])
				if took := time.Since(began); err != nil && (alone || ctx.Err() == nil) || took > time.Second {
					t.Errorf("node %d: %v after %v", i, err, took)
				}
			}
			return items(ctx, to, ev)
		})
	}
	var pages [2]*inbox[sse.Event]
	for i, h := range hosts {
		pages[i] = h.fragments("Authorization", "Bearer "+who[i])
	}
	synctest.Wait()
	hosts[0].emit(realtime.KVPut("", "leaked"))
	time.Sleep(time.Minute)
	ended := 0
	for _, page := range pages {
		if rendered(page) == "list=<ul>|</ul> bye end" {
			ended++
		}
	}
	if ended == 0 || alone && ended != 2 { // of two that wait for each other, the one may go on when the other has ended
		t.Errorf("%d streams have ended", ended)
	}
}

// Nor do two connections of one user whose policy checks their rights in Allow.
func TestRecheckInAllowAtTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts [2]*host
		var asking sync.WaitGroup
		asking.Add(2)
		c := newCluster()
		for i := range hosts {
			policy := open()
			policy.Allow = func(ctx context.Context, _ realtime.Identity, a realtime.Action) error {
				if a.Verb == realtime.VerbPublish {
					asking.Done()
					asking.Wait()
					return hosts[i].Recheck(ctx, "ada")
				}
				return nil
			}
			hosts[i], _ = c.node(t, policy)
		}
		var sockets [2]*socket
		for i, h := range hosts {
			sockets[i] = h.socket(get("/realtime", "Authorization", asAda))
			sockets[i].ok(subscribe("room"))
		}
		began := time.Now()
		for _, s := range sockets {
			s.ask(publish("room", "1"))
		}
		for i, s := range sockets {
			for {
				o := s.next()
				if o.Event == "ok" {
					break
				}
				if o.Event != "message" {
					t.Errorf("node %d: %s", i, o.raw)
					break
				}
			}
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
