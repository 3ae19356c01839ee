package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// connectionsOf lists the open connections as text.
func connectionsOf(rt *realtime.Realtime) (list []string) {
	for c := range rt.Connections() {
		list = append(list, fmt.Sprintf("%d %s %s %s sees %s joined %s", c.ID, c.Kind, c.User, c.Source,
			strings.Join(c.Sees(), "; "), strings.Join(c.Joined(), "; ")))
	}
	return list
}

func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, withGrants(realtime.GrantAll("kv").In("todos").Under("ada"), realtime.GrantAll("realtime").WithData(), realtime.GrantAll("*")), nil)
		if list := connectionsOf(h.Realtime); len(list) > 0 {
			t.Fatalf("at first there are %q", list)
		}
		began := time.Now()
		h.ren(get("/ren?s=kv,db", "Authorization", "Bearer ada", "X-Ren-Client", tab1))
		h.ren(get("/ren"))
		time.Sleep(time.Minute)
		s := h.dial(get("/realtime?auth=hello"))
		synctest.Wait()
		want := []string{
			"1 ren ada " + wire.Tag(tab1) + " sees db; kv; kv in todos under ada joined ",
			"2 ren   sees *; kv in todos under ada; realtime, with data joined ",
			"3 websocket   sees  joined ",
		}
		if got := connectionsOf(h.Realtime); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		s.send(`{"op":"hello","cid":"` + tab2 + `","token":"grace"}`)
		s.next()
		s.ok(`"op":"subscribe","channel":"b"`, `"op":"subscribe","channel":"a"`, `"op":"join","channel":"a"`)
		want[2] = "3 websocket grace " + wire.Tag(tab2) + " sees a; b joined a"
		if got := connectionsOf(h.Realtime); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		synctest.Wait() // until all is written
		for c := range h.Connections() {
			if since := c.Since.Sub(began); since != time.Duration(c.ID/3)*time.Minute || c.Address == "" || c.Unread > 0 || c.Lag > 0 || c.Writing {
				t.Errorf("%+v", c)
			}
		}
		s.ok(`"op":"unsubscribe","channel":"b"`, `"op":"leave","channel":"a"`)
		want[2] = "3 websocket grace " + wire.Tag(tab2) + " sees a joined "
		if got := connectionsOf(h.Realtime); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		var last realtime.Connection
		for c := range h.Connections() {
			last = c
		}
		s.drop()
		synctest.Wait()
		if got := connectionsOf(h.Realtime); !slices.Equal(got, want[:2]) {
			t.Errorf("%q, want %q", got, want[:2])
		}
		for range h.Connections() {
			break
		}
		if (realtime.Connection{}).Sees() != nil || (realtime.Connection{}).Joined() != nil || last.ID != 3 {
			t.Error("a connection that is none sees something")
		}
		last.Sees() // what is over may be asked as well
	})
}

// A client that does not read is seen lagging, until it reads.
func TestConnectionsLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		stream := h.renStalled(get("/ren"))
		other := h.ren(get("/ren"))
		data := strings.Repeat("x", 60<<10)
		for range 40 {
			h.publish("room", data)
			other.next()
			time.Sleep(100 * time.Millisecond)
		}
		var got [2]realtime.Connection
		for c := range h.Connections() {
			got[c.ID-1] = c
		}
		if c := got[0]; !c.Writing || c.Unread < 20 || c.Lag < 2*time.Second || c.Lag > 5*time.Second {
			t.Errorf("the one that does not read: %+v", c)
		}
		if c := got[1]; c.Writing || c.Unread > 0 || c.Lag > 0 {
			t.Errorf("the one that reads: %+v", c)
		}
		stream.pump()
		synctest.Wait()
		for c := range h.Connections() {
			if c.Writing || c.Unread > 0 || c.Lag > 0 {
				t.Errorf("after all was read: %+v", c)
			}
		}
	})
}

// Recheck changes what a connection is seen to see.
func TestConnectionsRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grants, allowed := []realtime.Grant{realtime.GrantAll("kv")}, true
		p := open()
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return grants, nil }
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error {
			if !allowed {
				return errors.New("no longer")
			}
			return nil
		}
		h := start(t, p, nil)
		h.ren(get("/ren", "Authorization", "Bearer ada"))
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		s.ok(`"op":"subscribe","channel":"a"`)
		grants, allowed = []realtime.Grant{realtime.GrantAll("db")}, false
		if err := h.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		want := []string{"1 ren ada  sees db joined ", "2 websocket ada " + wire.Tag(tab1) + " sees  joined "}
		if got := connectionsOf(h.Realtime); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// refusalsOf lists the refusals as text.
func refusalsOf(rt *realtime.Realtime) (list []string) {
	for _, r := range rt.Refusals() {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%d %s %s %s %s %s", r.Count, r.Code, r.User, r.Action.Verb, r.Action.Name, r.Reason)))
	}
	return list
}

// Refusals are remembered, with the reason that the client is not told.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if a.Name != "room" {
				return errors.New("not a member of " + a.Name)
			}
			return nil
		}
		p.Grants = func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			return nil, fmt.Errorf("no grants for %s", id.User)
		}
		h := start(t, p, nil)
		h.refused(get("/ren", "Authorization", "Bearer bad"))
		h.refused(get("/ren", "Authorization", "Bearer expired"))
		h.refused(get("/ren", "Authorization", "Bearer later"))
		h.refused(get("/ren", "Authorization", "Bearer ada"))
		h.refused(get("/ren", "Origin", "https://evil.test"))
		h.refused(get("/ren?s=!"))
		s := h.socket(get("/realtime", "Authorization", "Bearer grace"))
		for range 3 {
			s.call(`"op":"subscribe","channel":"secret"`)
		}
		s.call(`"op":"publish","channel":"other","data":1`)
		s.call(`"op":"dance","channel":"room"`)
		r, _ := http.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", "Bearer ada")
		if _, err := h.Authorize(r, realtime.Action{Verb: realtime.VerbUpload, Name: "a.png"}); err == nil {
			t.Error("the upload is allowed")
		}
		want := []string{
			`1 forbidden ada upload a.png not a member of a.png`,
			`1 unknown_op grace dance room "dance" is no operation`,
			`1 forbidden grace publish other not a member of other`,
			`3 forbidden grace subscribe secret not a member of secret`,
			`1 bad_request    "!" is no resource domain`,
			`1 origin    origin "https://evil.test" at host "host.test"`,
			`1 forbidden ada   no grants for ada`,
			`1 unavailable    realtime: temporarily unavailable`,
			`1 expired    realtime: credentials expired`,
			`1 unauthorized    a secret reason`,
		}
		got := refusalsOf(h.Realtime)
		if !slices.Equal(got, want) {
			t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, r := range h.Refusals() {
			if r.Time.IsZero() || r.Address == "" && r.Code != "bad_request" && r.Action.Verb != realtime.VerbUpload {
				t.Errorf("%+v", r)
			}
		}
	})
}

// They are bounded, in number and size, whatever clients send.
func TestRefusalsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{}, errors.New(testkit.Bearer(r) + strings.Repeat("ü", 1000))
		}
		h := start(t, p, nil)
		for i := range 300 {
			h.refused(get("/ren", "Authorization", fmt.Sprintf("Bearer %d ", i)))
		}
		all := h.Refusals()
		if len(all) != 200 || !strings.HasPrefix(all[0].Reason, "299") || !strings.HasPrefix(all[199].Reason, "100") {
			t.Errorf("%d, from %.5s to %.5s", len(all), all[0].Reason, all[len(all)-1].Reason)
		}
		if n := len(all[0].Reason); n > 515 {
			t.Errorf("a reason of %d bytes", n)
		}
	})
}

// The memory for a refusal is bounded, however long the names are that the client sends.
func TestRefusalsOfLongNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { return errors.New("no") }
		h := start(t, p, nil)
		r, _ := http.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", "Bearer ada")
		if _, err := h.Authorize(r, realtime.Action{Verb: realtime.VerbUpload, Name: strings.Repeat("x", 4<<10)}); err == nil {
			t.Error("the upload is allowed")
		}
		if name := h.Refusals()[0].Action.Name; len(name) != 512 {
			t.Errorf("a name of %d bytes", len(name))
		}
		h.refused(get("/realtime")) // without an upgrade
		if f := h.Refusals()[0]; f.Address == "" {
			t.Errorf("nobody knows where that came from: %+v", f)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		noError(t, h.Group("work", &realtime.GroupOptions{DeadLetter: func(context.Context, realtime.DeadLetter) {}}, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
				return fmt.Errorf("%w: %s", realtime.ErrPermanent, ev.Key)
			})
		}))
		for i := range 150 {
			h.emit(realtime.KVPut("n", fmt.Sprint("k", i)))
			synctest.Wait()
		}
		all := h.DeadLetters()
		if len(all) != 100 || all[0].Event.Key != "k149" || all[99].Event.Key != "k50" || all[0].Delivery.Group != "work" ||
			!strings.HasSuffix(all[0].Err.Error(), "k149") || all[0].Event.Data != nil {
			t.Errorf("%d: %+v", len(all), all[0])
		}
	})
}

func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		if nodes, err := h.Nodes(t.Context()); err != nil || !slices.Equal(nodes, []string{h.Node()}) || h.Node() == "" {
			t.Errorf("alone: %q, %v", nodes, err)
		}
		c := realtimetest.NewCluster(t, 3, open(), nil)
		nodes, err := c.Node(0).Realtime.Nodes(t.Context())
		if err != nil || len(nodes) != 3 {
			t.Errorf("three: %q, %v", nodes, err)
		}
		for i := range 3 {
			if !slices.Contains(nodes, c.Node(i).Realtime.Node()) {
				t.Errorf("node %d is not among %q", i, nodes)
			}
		}
	})
}

// BenchmarkConnections is what a page of operators costs, for each connection.
func BenchmarkConnections(b *testing.B) {
	h := start(b, open(), nil)
	for range 100 {
		h.ren(get("/ren"))
	}
	b.ResetTimer()
	for b.Loop() {
		n := 0
		for c := range h.Connections() {
			n += len(c.Sees())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/connection")
}

// A refusal by Recheck is listed with the address of the connection, and counted.
func TestRefusalsOfARecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fault atomic.Pointer[error]
		said := func() error {
			if err := fault.Load(); err != nil {
				return *err
			}
			return nil
		}
		p := open()
		p.AskHistory = true
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { return said() }
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("kv")}, said()
		}
		h := start(t, p, nil)
		h.ren(get("/ren", "Authorization", asAda))
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"), `"op":"join","channel":"room"`)
		reason := errors.New("the subscription was not paid")
		fault.Store(&reason)
		noError(t, h.Recheck(t.Context(), "ada"))
		synctest.Wait()
		got := refusalsOf(h.Realtime)
		slices.Sort(got)
		want := []string{
			"1 forbidden ada   the subscription was not paid",
			"1 forbidden ada join room the subscription was not paid",
			"1 forbidden ada subscribe room the subscription was not paid",
		}
		if !slices.Equal(got, want) || h.Stats().Refusals["forbidden"] != 3 {
			t.Errorf("%q; counted: %d", got, h.Stats().Refusals["forbidden"])
		}
		for _, r := range h.Refusals() {
			if r.Address == "" {
				t.Errorf("%+v", r)
			}
		}
		// A policy that cannot decide is noted as well.
		fault.Store(nil)
		s.rest()
		s.ok(subscribe("room"))
		later := fmt.Errorf("%w: no database", realtime.ErrTemporary)
		fault.Store(&later)
		noError(t, h.Recheck(t.Context(), "ada"))
		if n := h.Stats().Refusals["unavailable"]; n != 1 || h.Refusals()[0].Code != "unavailable" {
			t.Errorf("counted: %d; %+v", n, h.Refusals()[0])
		}
	})
}

// A user who may no longer be present as somebody else is refused.
func TestRefusalsOfARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		any := true
		p := open()
		authenticate := p.Authenticate
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			id, err := authenticate(r)
			id.AnyUser = any
			return id, err
		}
		h := start(t, p, nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(`"op":"join","channel":"room","userId":"bob"`)
		any = false
		s.ask(`"op":"hello","cid":"` + tab1 + `","token":"ada"`)
		synctest.Wait()
		if f := h.Refusals(); len(f) != 1 || f[0].Code != "user_mismatch" || f[0].Address == "" || h.Stats().Refusals["user_mismatch"] != 1 {
			t.Errorf("%+v", f)
		}
	})
}
