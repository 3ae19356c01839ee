package realtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// node starts a host that shares the cluster.
func (c *cluster) node(t *testing.T, policy realtime.Policy) (*host, *nodeLink) {
	t.Helper()
	link := c.link()
	return start(t, policy, &realtime.Options{Backend: link}), link
}

// Rights end on all nodes before Revoke and Recheck return, whichever is asked.
func TestRightsEndEverywhere(t *testing.T) {
	bubble(t, "Revoke", func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		b, _ := c.node(t, open())
		ada, eve := b.socket(get("/realtime", "Authorization", asAda)), b.socket(get("/realtime", "Authorization", "Bearer eve"))
		stream := b.ren(get("/ren", "Authorization", asAda))
		ada.ok(subscribe("room"), `"op":"join","channel":"room"`)
		if err := a.Revoke(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		a.publish("room", "after")
		code, last := ada.closed()
		for _, o := range last {
			if o.Event == "message" {
				t.Errorf("delivered after Revoke: %s", o.raw)
			}
		}
		bye := stream.next()
		for bye.Name != "ren.bye" {
			bye = stream.next()
		}
		if code != 4403 || bye.Reason != "revoked" {
			t.Errorf("closed with %d, the stream ended with %q", code, bye.Reason)
		}
		if m, err := a.Presence().Members(t.Context(), "room"); err != nil || len(m) != 0 {
			t.Errorf("still there: %v %v", m, err)
		}
		eve.ok(`"op":"ping"`)
	})
	bubble(t, "Recheck", func(t *testing.T) {
		c, may := newCluster(), &rights{}
		a, _ := c.node(t, may.policy())
		b, _ := c.node(t, may.policy())
		s := b.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"), subscribe("lobby"))
		may.take("room", errNotAllowed)
		if err := a.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		a.publish("room", "hidden")
		a.publish("lobby", "shown")
		if o := s.next(); o.Event != "unsubscribed" || o.Channel != "room" {
			t.Errorf("%s", o.raw)
		}
		if o := s.next(); string(o.Data) != `"shown"` {
			t.Errorf("%s", o.raw)
		}
	})
}

// A node that does not answer is named, until it is given up; a node that begins
// later is not asked.
func TestRightsOfANodeThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		_, cut := c.node(t, open())
		cut.kill()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := a.Revoke(ctx, "ada"); err == nil || !strings.Contains(err.Error(), "not confirmed by the nodes") {
			t.Errorf("Revoke returned %v", err)
		}
		time.Sleep(time.Minute)
		c.node(t, open())
		if err := a.Revoke(t.Context(), "ada"); err != nil {
			t.Errorf("once the node is given up, Revoke returned %v", err)
		}
	})
}

// A node that was closed is not asked, as in a rolling update: neither by nodes that
// knew it, nor by those that begin later.
func TestRightsAfterANodeHasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		b, _ := c.node(t, open())
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		later, _ := c.node(t, open())
		for name, h := range map[string]*host{"knew it": a, "began later": later} {
			began := time.Now()
			err := errors.Join(h.Revoke(t.Context(), "ada"), h.Recheck(t.Context(), "ada"))
			if took := time.Since(began); err != nil || took > 0 {
				t.Errorf("%s: after %v: %v", name, took, err)
			}
		}
	})
}

// A node that is being closed, whose handlers go on, still carries out the requests of
// others, and makes its own.
func TestRightsWhileANodeIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		b, _ := c.node(t, open())
		err := b.Group("slow", nil, func(g *realtime.Group) error {
			return g.OnChannel(realtime.ChannelMatch{Channel: "jobs"}, func(ctx context.Context, _ realtime.RenEvent) error {
				time.Sleep(8 * time.Second)
				return b.Revoke(ctx, "eve")
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // b has the group
		a.publish("jobs", "work")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		closed := make(chan error)
		go func() { closed <- b.Close(ctx) }()
		synctest.Wait()
		began := time.Now()
		if err := a.Revoke(t.Context(), "ada"); err != nil || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close returned %v", err)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// A request that waits for another node does not outlast its own.
func TestRightsWhenTheNodeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		_, cut := c.node(t, open())
		cut.kill()
		revoked := make(chan error)
		go func() { revoked <- a.Revoke(t.Context(), "ada") }()
		synctest.Wait()
		began := time.Now()
		if err := a.Close(t.Context()); err != nil {
			t.Errorf("Close returned %v", err)
		}
		if err := <-revoked; !errors.Is(err, realtime.ErrClosed) || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// A policy that rechecks whenever it is asked does not keep the nodes busy with each
// other for ever.
func TestPolicyThatRechecksEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		var hosts []*host
		asked := make(chan struct{}, 1000)
		p := open()
		p.Allow = func(ctx context.Context, id realtime.Identity, _ realtime.Action) error {
			select {
			case asked <- struct{}{}:
			default:
			}
			for _, h := range hosts {
				if ctx.Value(hostKey{}) == nil {
					_ = h.Recheck(context.WithValue(ctx, hostKey{}, h), id.User)
				}
			}
			return nil
		}
		a, _ := c.node(t, p)
		b, _ := c.node(t, p)
		hosts = []*host{a, b}
		var sockets []*socket
		for _, h := range hosts { // first: who connects while rights are checked is sent away for a moment
			sockets = append(sockets, h.socket(get("/realtime", "Authorization", asAda)))
		}
		for _, s := range sockets {
			s.ok(subscribe("room"))
		}
		time.Sleep(time.Minute)
		if n := len(asked); n > 50 {
			t.Errorf("the policy was asked %d times", n)
		}
	})
}

type hostKey struct{}

// No view shows what nodes tell each other.
func TestControlRecordsAreHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		b, _ := c.node(t, open())
		s := b.ren(get("/ren"))
		seen := make(chan string, 10)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for ev := range b.Events(ctx, realtime.EventMatch{}) {
				seen <- ev.Type
			}
		}()
		synctest.Wait()
		if err := a.Revoke(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		a.publish("room", 1)
		if ev := s.next(); string(ev.Data) != "1" {
			t.Errorf("the stream got %s", ev.Raw)
		}
		if typ := <-seen; typ != "realtime.message" {
			t.Errorf("the loop got %s", typ)
		}
		stop()
	})
}
