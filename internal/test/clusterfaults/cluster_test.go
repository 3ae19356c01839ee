package clusterfaults

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

var engines = []struct {
	name  string
	start func(testing.TB) *engine
}{
	{"NATS", oneNATS},
	{"NATS of three", threeNATS},
	{"Redis", oneRedis},
	{"Redis with Sentinel", sentinelRedis},
	{"Postgres", onePostgres},
	{"Postgres with a standby", standbyPostgres},
}

// Three nodes, with clients, publishers, users who come and go and handlers, while
// nodes and the servers of the engine break: promises 1, 3, 6, 7, 8, 9, 18, 21 and 22
// of docs/reliability.md.
func TestFaults(t *testing.T) {
	side(t)
	for _, e := range engines {
		for s := range size[uint64](1, 5) {
			t.Run(fmt.Sprintf("%s/%d", e.name, *seed+s), func(t *testing.T) {
				side(t)
				w := newWorld(t, e.start(t), *seed+s, size(6, 12))
				w.testRevoke()
				ctx, stop := context.WithCancel(t.Context())
				w.act(ctx)
				for range size(1, 5) {
					w.run()
				}
				rest(t.Context(), time.Second)
				stop()
				w.acting.Wait()
				w.settle()
				w.testRevoke()
				w.conclude()
				w.check()
			})
		}
	}
}

// revokeTime is what promise 22 gives Revoke in a cluster.
const revokeTime = 2 * time.Second

// testRevoke ends the rights of a user who is connected to each of the nodes: Revoke
// returns when all of them have confirmed it, and the user gets nothing of what is
// published after that.
func (w *world) testRevoke() {
	longest := time.Duration(0)
	rounds := size(2, 20)
	for range rounds {
		longest = max(longest, w.revokeOnce())
	}
	figure(w.t, "14 22 Revoke", "%d users on %d nodes each: confirmed after %v at most", rounds, nodeCount, longest.Round(time.Millisecond))
	if longest > size(w.slow(5*revokeTime), revokeTime) {
		w.t.Errorf("Revoke took %v", longest)
	}
}

func (w *world) revokeOnce() time.Duration {
	w.t.Helper()
	w.revoked++
	user := fmt.Sprint("revoked", w.revoked)
	var clients []*follower
	for slot, n := range w.routable() {
		f := &follower{name: fmt.Sprint(user, " at ", slot), user: user, kind: []string{"REN", "WS"}[slot%2], dial: dialOnly(n)}
		f.start(channels)
		defer f.end()
		within(w.t, patience, f.name+" is greeted", f.open.Load)
		clients = append(clients, f)
	}
	a, err := w.node(0).call(w.t.Context(), "revoke", ask{User: user})
	if err != nil || a.Error != "" {
		w.t.Errorf("Revoke is not confirmed: %v %s", err, a.Error)
	}
	probe := w.publish(w.t.Context(), w.node(1), channels[0])
	for _, f := range clients {
		for _, v := range f.views {
			within(w.t, patience, v.name+" is told that its rights have ended", func() bool {
				list := v.all()
				return len(list) > 0 && strings.Contains(list[len(list)-1].reset, "forbidden")
			})
			if v.has(probe.id) {
				w.t.Errorf("%s was given what was published after Revoke had returned", v.name)
			}
		}
	}
	return a.Took
}
