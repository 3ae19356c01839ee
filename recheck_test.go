package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

var errNotAllowed = errors.New("no longer allowed")

// rights are those of everybody to the channels "room" and "lobby", until they
// are taken away.
type rights struct {
	mu    sync.Mutex
	taken map[string]error // why, by channel
}

func (r *rights) take(channel string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == nil {
		r.taken = make(map[string]error)
	}
	r.taken[channel] = why
}

func (r *rights) to(channel string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[channel]
}

func (r *rights) policy() realtime.Policy {
	p := open()
	p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error { return r.to(a.Name) }
	p.Grants = func(context.Context, realtime.Identity) (grants []realtime.Grant, err error) {
		for _, channel := range []string{"room", "lobby"} {
			why := r.to(channel)
			if errors.Is(why, realtime.ErrTemporary) {
				return nil, why
			}
			if why == nil {
				grants = append(grants, realtime.GrantAll("realtime").Under(channel).WithData())
			}
		}
		return grants, nil
	}
	return p
}

const asAda = "Bearer ada"

func (h *host) recheck(user string) {
	h.t.Helper()
	began := time.Now()
	if err := h.Recheck(context.Background(), user); err != nil {
		h.t.Errorf("Recheck: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		h.t.Errorf("Recheck took %v", took)
	}
}

// talk publishes numbers to channels until it is ended, and hardly ever pauses.
type talk struct {
	next atomic.Int64 // the first that is perhaps not published yet
	stop chan struct{}
	all  sync.WaitGroup
}

func (h *host) talk(channels ...string) *talk {
	k := &talk{stop: make(chan struct{})}
	k.all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-k.stop:
				return
			default:
			}
			for _, channel := range channels {
				h.publish(channel, i)
			}
			k.next.Store(int64(i) + 1)
			if i%50 == 0 {
				time.Sleep(time.Millisecond) // or the rest of a test hardly gets a turn
			}
		}
	})
	return k
}

func (k *talk) end() {
	close(k.stop)
	k.all.Wait()
}

// Rights that are taken away end with Recheck. Everything else continues without a gap,
// while the publisher never pauses.
func TestRecheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range figure(3, 100) {
			recheckInTheMiddle(t)
		}
	})
}

func recheckInTheMiddle(t *testing.T) {
	var may rights
	h := start(t, may.policy(), noLimits)
	stream := h.ren(get("/ren", "Authorization", asAda))
	s := h.socket(get("/realtime", "Authorization", asAda))
	s.ok(subscribe("room"), subscribe("lobby"), `"op":"join","channel":"room"`, `"op":"join","channel":"lobby"`)
	bob := h.socket(get("/realtime", "Authorization", "Bearer bob"))
	bob.ok(subscribe("room"))
	talk := h.talk("lobby", "room")
	bob.data(60)
	may.take("room", errNotAllowed)
	h.recheck("ada")
	until := talk.next.Load() // the next one is perhaps on its way already
	members, err := h.Presence().Members(t.Context(), "room")
	if err != nil || len(members) != 0 {
		t.Errorf("still present: %v %v", members, err)
	}
	bob.data(60)
	talk.end()
	socketKeepsTheLobby(t, s.rest(), until, talk.next.Load())
	streamKeepsTheLobby(t, stream.rest(), until, talk.next.Load())
	s.ok(`"op":"ping"`)
	if members, _ := h.Presence().Members(t.Context(), "lobby"); len(members) != 1 {
		t.Errorf("members of the lobby: %v", members)
	}
	s.drop()
	bob.drop()
	stream.cut()
}

// socketKeepsTheLobby wants all of the lobby, and nothing of the room from until on.
func socketKeepsTheLobby(t *testing.T, list []object, until, all int64) {
	t.Helper()
	var told []string
	next := 0
	for _, o := range list {
		switch {
		case o.Event != "message":
			told = append(told, strings.Join([]string{o.Event, o.Channel, o.UserID, o.Code}, " "))
		case o.Channel == "lobby":
			if string(o.Data) != fmt.Sprint(next) {
				t.Fatalf("lobby: got %s, want %d", o.Data, next)
			}
			next++
		case number(o.Data) > until:
			t.Fatalf("room: got %s after Recheck, which returned at %d", o.Data, until)
		}
	}
	if want := "unsubscribed room  forbidden, left room ada forbidden"; strings.Join(told, ", ") != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if next != int(all) {
		t.Errorf("lobby: got %d of %d", next, all)
	}
}

// streamKeepsTheLobby is socketKeepsTheLobby for a stream, which says hello again.
func streamKeepsTheLobby(t *testing.T, list []renEvent, until, all int64) {
	t.Helper()
	hellos, next := 0, 0
	for _, ev := range list {
		switch {
		case ev.Name == "ren.hello":
			if hellos++; ev.State != "resumed" {
				t.Errorf("%s", ev.Raw)
			}
		case ev.Channel == "lobby":
			if string(ev.Data) != fmt.Sprint(next) {
				t.Fatalf("lobby: got %s, want %d", ev.Data, next)
			}
			next++
		case hellos > 0 || number(ev.Data) > until:
			t.Fatalf("got %s after Recheck", ev.Raw)
		}
	}
	if hellos != 1 || next != int(all) {
		t.Errorf("stream: %d hellos more, %d of %d events of the lobby", hellos, next, all)
	}
}

func number(data []byte) (n int64) {
	_, _ = fmt.Sscan(string(data), &n)
	return n
}

// Grants that grow or shrink change the domains of a stream that is open.
func TestRecheckDomains(t *testing.T) {
	kv, db, all := realtime.GrantAll("kv"), realtime.GrantAll("db"), realtime.GrantAll("*")
	for _, c := range []struct {
		name, ask     string
		before, after []realtime.Grant
		domains, got  string
	}{
		{"more", "/ren", []realtime.Grant{kv}, []realtime.Grant{kv, db}, "[db kv]", "1 2 ren.hello 3 4"},
		{"less", "/ren", []realtime.Grant{kv, db}, []realtime.Grant{db}, "[db]", "1 2 ren.hello 4"},
		{"other", "/ren", []realtime.Grant{kv}, []realtime.Grant{db}, "[db]", "1 ren.hello 4"},
		{"all to some", "/ren", []realtime.Grant{all}, []realtime.Grant{kv}, "[kv]", "1 2 ren.hello 3"},
		{"some to all", "/ren", []realtime.Grant{kv}, []realtime.Grant{all}, "[*]", "1 2 ren.hello 3 4"},
		{"not asked for", "/ren?s=kv", []realtime.Grant{kv}, []realtime.Grant{kv, db}, "[kv]", "1 2 ren.hello 3"},
		{"within a domain", "/ren", []realtime.Grant{kv}, []realtime.Grant{realtime.GrantAll("kv").Under("none")}, "[kv]", "1 ren.hello"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			var grants atomic.Pointer[[]realtime.Grant]
			grants.Store(&c.before)
			p := open()
			p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return *grants.Load(), nil }
			h := start(t, p, nil)
			s := h.ren(get(c.ask, "Authorization", asAda))
			h.emit(realtime.KVPut("n", "1"))
			if strings.Contains(c.got, "2") {
				h.emit(realtime.KVPut("n", "2"))
			}
			synctest.Wait()
			grants.Store(&c.after)
			h.recheck("ada")
			h.emit(realtime.KVPut("n", "3"))
			h.emit(realtime.DocumentCreated("c", "4"))
			var got []string
			for _, ev := range s.rest() {
				if got = append(got, ev.Key); ev.Name == "ren.hello" {
					got[len(got)-1] = ev.Name
					if fmt.Sprint(ev.Domains) != c.domains || ev.State != "resumed" {
						t.Errorf("hello %s, want domains %s", ev.Raw, c.domains)
					}
				}
			}
			if strings.Join(got, " ") != c.got {
				t.Errorf("got %q, want %q", got, c.got)
			}
		})
	}
}

var recheckTroubles = []struct {
	name    string
	trouble func() error
	told    string // on the WebSocket
	bye     string // of the stream
	code    int    // the WebSocket is closed with
}{
	{"all forbidden", func() error { return errNotAllowed }, "unsubscribed lobby forbidden false, unsubscribed room forbidden false", "forbidden", 0},
	{"temporary", func() error { return realtime.ErrTemporary }, "unsubscribed lobby unavailable true, unsubscribed room unavailable true", "unavailable", 0},
	{"panic", func() error { panic("host's fault") }, "", "internal", 1011},
}

// Answers of a policy other than yes and no.
func TestRecheckTrouble(t *testing.T) {
	for _, c := range recheckTroubles {
		bubble(t, c.name, func(t *testing.T) {
			var on atomic.Bool
			p := open()
			p.Allow = func(context.Context, realtime.Identity, realtime.Action) error {
				if on.Load() {
					return c.trouble()
				}
				return nil
			}
			p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
				if on.Load() {
					return nil, c.trouble()
				}
				return []realtime.Grant{realtime.GrantAll("*")}, nil
			}
			h := start(t, p, nil)
			stream, s := h.ren(get("/ren", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
			other := h.ren(get("/ren", "Authorization", "Bearer bob"))
			s.ok(subscribe("room"), subscribe("lobby"))
			on.Store(true)
			h.recheck("ada")
			h.emit(realtime.KVPut("n", "k"))
			h.publish("room", 1)
			var told []string
			for _, o := range s.rest() {
				if o.Event != "bye" {
					told = append(told, fmt.Sprint(o.Event, " ", o.Channel, " ", o.Code, " ", *o.Retry))
				}
			}
			if strings.Join(told, ", ") != c.told {
				t.Errorf("told %q, want %q", told, c.told)
			}
			// Only where it may succeed later the client is asked to come back.
			if bye := stream.next(); bye.Name != "ren.bye" || bye.Reason != c.bye || (bye.RetryMs > 0) != (c.bye != "forbidden") {
				t.Errorf("%s %s, want a bye because of %s", bye.Name, bye.Raw, c.bye)
			}
			stream.ended()
			if got := other.keys(1); got != "k" {
				t.Errorf("another user's stream has %q", got)
			}
			if c.code != 0 {
				if code, _ := s.closed(); code != c.code {
					t.Errorf("closed with %d", code)
				}
				return
			}
			on.Store(false)
			s.ok(subscribe("room"))
		})
	}
}

// A rule that shows other members after a change gets rosters that agree with it.
func TestRecheckSendsRostersAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hidden atomic.Bool
		p := open()
		p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return !(hidden.Load() && ev.User == "bob") }
		h := start(t, p, nil)
		h.join("room", "bob", nil)
		h.join("room", "cid", nil)
		synctest.Wait()
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("lobby"), subscribe("room")+`,"presence":true`)
		s.want("presence.state")
		hidden.Store(true)
		h.recheck("ada")
		if o := s.want("presence.state"); o.Channel != "room" || len(o.Members) != 1 || o.Members[0].UserID != "cid" {
			t.Errorf("%s", o.raw)
		}
		s.nothing()
	})
}

// No roster keeps a ghost because a rule hides how it goes; whom it does not show
// at all goes unnoticed as well.
func TestSeeCannotHideALeaveAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
			return ev.Type != "presence.leave" && !strings.Contains(string(ev.Data), "invisible")
		}
		h := start(t, p, nil)
		stream, s := h.presence(), h.socket(get("/realtime"))
		s.ok(subscribe("room") + `,"presence":true`)
		s.want("presence.state")
		for user, metadata := range map[string]string{"ada": "here", "bob": "invisible"} {
			h.join("room", user, metadata)
			if err := h.Presence().Leave(t.Context(), "room", user); err != nil {
				t.Error(err)
			}
		}
		if got := story(stream); got != `ada join "here", ada leave left` {
			t.Errorf("stream: told %q", got)
		}
		var got []string
		for _, o := range s.rest() {
			got = append(got, o.UserID+" "+o.Event)
		}
		if strings.Join(got, ", ") != "ada presence.join, ada presence.leave" {
			t.Errorf("WebSocket: told %q", got)
		}
	})
}

// Revoke ends what a revoked user has left of earlier connections.
func TestRevokeEndsTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), forever)
		watch := h.presence()
		h.tab("ada", "room").drop()
		synctest.Wait()
		if err := h.Revoke(t.Context(), "ada"); err != nil {
			t.Error(err)
		}
		if got := story(watch); got != "ada join, ada leave closed" {
			t.Errorf("told %q", got)
		}
	})
}
