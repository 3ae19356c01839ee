package faulttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"golang.org/x/sys/unix"
)

// namespace is a network of its own, joined to the host's by one cable.
type namespace struct {
	t    testing.TB
	name string
	host string // the address of the host's end
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	program(t, "ip")
	program(t, "iptables")
	need(t, "root", os.Getuid() == 0)
	id := rand.N(1 << 14)
	ns := &namespace{t, fmt.Sprintf("fault%d", id), fmt.Sprintf("10.231.%d.%d", id>>6, id&63<<2+1)}
	inside := fmt.Sprintf("10.231.%d.%d", id>>6, id&63<<2+2)
	_, err := exec.Command("ip", "netns", "add", ns.name).CombinedOutput()
	need(t, "network namespaces", err == nil)
	outer, inner := ns.name+"h", ns.name+"c"
	t.Cleanup(func() {
		ns.run("ip", "link", "del", outer)
		ns.run("ip", "netns", "del", ns.name)
	})
	ns.run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
	ns.run("ip", "link", "set", inner, "netns", ns.name)
	ns.run("ip", "addr", "add", ns.host+"/30", "dev", outer)
	ns.run("ip", "link", "set", outer, "up")
	ns.inside("ip", "addr", "add", inside+"/30", "dev", inner)
	ns.inside("ip", "link", "set", inner, "up")
	return ns
}

func (ns *namespace) run(name string, args ...string) {
	ns.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		ns.t.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (ns *namespace) inside(args ...string) {
	ns.t.Helper()
	ns.run("ip", append([]string{"netns", "exec", ns.name}, args...)...)
}

// drop loses every packet from now on, and tells nobody.
func (ns *namespace) drop() {
	ns.inside("iptables", "-A", "INPUT", "-j", "DROP")
	ns.inside("iptables", "-A", "OUTPUT", "-j", "DROP")
}

// client is an HTTP client that lives in the namespace.
func (ns *namespace) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: ns.dial}}
}

// dial opens a socket in the namespace, where it stays.
func (ns *namespace) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	runtime.LockOSThread() // without Unlock where the way back fails: the thread ends with its goroutine
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + ns.name)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, back
	}
	runtime.UnlockOSThread()
	return conn, err
}

// Promise 5: a peer whose network vanishes is given up, and leaves once.
func TestDeadPeers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind string
		tuned      bool
		opts       realtime.Options
		bound      time.Duration // what the promise says, for these options
	}{
		{"WS", "WS", false, size(realtime.Options{Heartbeat: 4 * time.Second, Presence: realtime.PresenceOptions{DropGrace: time.Second}}, realtime.Options{}), size(14*time.Second, 35*time.Second)},
		{"WS with ConnContext", "WS", true, size(realtime.Options{Heartbeat: 4 * time.Second, Presence: realtime.PresenceOptions{DropGrace: time.Second}}, realtime.Options{}), size(14*time.Second, 35*time.Second)},
		{"SSE with ConnContext", "SSE", true, realtime.Options{Heartbeat: size(4*time.Second, 25*time.Second)}, 30 * time.Second},
		{"SSE without, life bounded", "SSE", false, realtime.Options{StreamLife: size(8*time.Second, 10*time.Minute)}, size(10*time.Second, 12*time.Minute)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			srv := newServer(t, &c.opts)
			if !c.tuned {
				srv.http.ConnContext = nil
			}
			srv.listen(t, ns.host+":0")
			events := watch(t, srv)
			if c.kind == "WS" {
				joinAs(t, ns.client(), srv.addr, "ada")
				eventually(t, "ada has joined", func() bool { return events.joins.Load() == 1 })
			} else {
				follower := (&client{kind: "SSE", base: "http://" + srv.addr, http: ns.client()}).start(t)
				eventually(t, "the stream is greeted", follower.open.Load)
			}
			began := time.Now()
			ns.drop()
			within(t, c.bound+patience, "the peer is given up", func() bool { return srv.streams() == 0 })
			took := time.Since(began)
			if c.kind == "SSE" {
				figure(t, "5 dead peer, "+c.name, "given up after %.1f s of at most %v", took.Seconds(), c.bound)
			} else {
				within(t, patience, "ada has left", func() bool { return events.leaves.Load() > 0 })
				left := time.Since(began)
				time.Sleep(time.Second) // for a second leave, which must not come
				figure(t, "5 dead peer, "+c.name, "given up after %.1f s of at most %v; %d leave, after %.1f s",
					took.Seconds(), c.bound, events.leaves.Load(), left.Seconds())
				if n := events.leaves.Load(); n != 1 {
					t.Errorf("%d leaves, want 1", n)
				}
			}
			if took > c.bound+slow(10*time.Second) {
				t.Errorf("given up after %v, promised %v", took, c.bound)
			}
		})
	}
}

// presence counts the joins and leaves of a server.
type presence struct{ joins, leaves atomic.Int64 }

func watch(t testing.TB, srv *server) *presence {
	p := &presence{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	after := srv.Cursor()
	go func() {
		defer close(done)
		for ev, err := range srv.EventsAfter(ctx, realtime.EventMatch{Resource: "presence"}, after) {
			switch {
			case err != nil:
			case ev.Type == "presence.join":
				p.joins.Add(1)
			case ev.Type == "presence.leave":
				p.leaves.Add(1)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// joinAs opens a WebSocket that joins a room, and reads as long as it can.
func joinAs(t testing.TB, network *http.Client, addr, user string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ws, _, err := websocket.Dial(ctx, "http://"+addr+"/realtime", &websocket.DialOptions{HTTPClient: network, Subprotocols: []string{"maravilla.realtime.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	for _, op := range []string{`{"op":"hello","cid":"0123456789abcdef"}`, fmt.Sprintf(`{"op":"join","channel":"room","userId":%q}`, user)} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	}()
}
