package realtime_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A subscription that was allowed a moment before Recheck, and is not done yet.
func TestRecheckWhileSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var may rights
		p := may.policy()
		inner := p.Allow
		p.Allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			err := inner(ctx, id, a)
			time.Sleep(100 * time.Millisecond)
			return err
		}
		h := start(t, p, nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ask(subscribe("room"))
		s.ask(`"op":"join","channel":"room"`)
		time.Sleep(150 * time.Millisecond) // room is subscribed to, and join is being decided
		s.ask(subscribe("lobby"))
		may.take("room", errNotAllowed)
		may.take("lobby", errNotAllowed)
		h.recheck("ada")
		h.publish("room", "secret")
		h.publish("lobby", "secret")
		time.Sleep(time.Second)
		for _, o := range s.rest() {
			if o.Event == "message" {
				t.Errorf("got %s after Recheck", o.raw)
			}
		}
		if members, _ := h.Presence().Members(t.Context(), "room"); len(members) != 0 {
			t.Errorf("present: %v", members)
		}
	})
}

// Rights that change while their owner is busy.
func TestRecheckWhileBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var may rights
		h := start(t, may.policy(), noLimits)
		s := h.socket(get("/realtime", "Authorization", asAda))
		stop := make(chan struct{})
		var busy sync.WaitGroup
		busy.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				s.ask(subscribe("room"))
				s.ask(`"op":"join","channel":"room","metadata":` + fmt.Sprint(i))
				if i%3 == 0 {
					s.ask(`"op":"leave","channel":"room"`)
				}
			}
		})
		for i := range 200 {
			if i%2 == 0 {
				may.take("room", realtime.ErrTemporary) // being refused is no fault of the client then
			} else {
				may.take("room", nil)
			}
			h.recheck("ada")
			if members, _ := h.Presence().Members(t.Context(), "room"); i%2 == 0 && len(members) > 0 {
				t.Fatalf("round %d: present: %v", i, members)
			}
			time.Sleep(3 * time.Millisecond)
		}
		close(stop)
		busy.Wait()
	})
}

// A client is not let in if its rights are taken away while it is being let in.
func TestRecheckWhileArriving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var may rights
		p := may.policy()
		inner := p.Grants
		p.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			grants, err := inner(ctx, id)
			time.Sleep(time.Second)
			return grants, err
		}
		h := start(t, p, nil)
		time.AfterFunc(time.Second/2, func() {
			may.take("room", errNotAllowed)
			h.recheck("ada")
		})
		if status, f := h.refused(get("/ren", "Authorization", asAda)); status != http.StatusServiceUnavailable || !*f.Retry {
			t.Errorf("%d %+v", status, f)
		}
	})
}

// rawREN and rawSocket are clients whose every byte a test sees when it is sent.
func (h *host) rawREN(cursor string) net.Conn {
	h.t.Helper()
	conn, err := h.listener.Dial(context.Background(), "", "")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	go fmt.Fprintf(conn, "GET /ren?lastEventId=%s HTTP/1.1\r\nHost: host.test\r\nAuthorization: %s\r\n\r\n", cursor, asAda)
	return conn
}

func (h *host) rawSocket(cursor string) net.Conn {
	h.t.Helper()
	s := h.dialStalled(get("/realtime", "Authorization", asAda))
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	s.send(`{` + since("room", cursor) + `}`)
	return s.net
}

// Rights that end in the middle of a replay end it, however fast its client reads.
func TestRightsEndDuringReplay(t *testing.T) {
	t.Parallel()
	clients := map[string]func(h *host, cursor string) net.Conn{"REN": (*host).rawREN, "WebSocket": (*host).rawSocket}
	for kind, open := range clients {
		for what, pause := range map[string]time.Duration{"fast": 10 * time.Millisecond, "slow": time.Second, "stalled": time.Hour} {
			for _, verb := range []string{"Recheck", "Revoke"} {
				c := rightsInAReplay{open: open, pause: pause, verb: verb, goesOn: what == "fast" && verb == "Recheck"}
				bubble(t, kind+"/"+what+"/"+verb, c.end)
			}
		}
	}
}

// drained is what came over a connection.
type drained struct {
	mu    sync.Mutex
	bytes []byte
	ended chan struct{}
}

// drain reads 16 KiB at a time, with pauses, until the connection ends.
func drain(conn net.Conn, pause time.Duration) *drained {
	d := &drained{ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		buf := make([]byte, 16<<10)
		for {
			n, err := conn.Read(buf)
			d.mu.Lock()
			d.bytes = append(d.bytes, buf[:n]...)
			d.mu.Unlock()
			if err != nil {
				return
			}
			time.Sleep(pause)
		}
	}()
	return d
}

// take returns what came since the last time.
func (d *drained) take() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.bytes
	d.bytes = nil
	return got
}

type rightsInAReplay struct {
	open   func(h *host, cursor string) net.Conn
	pause  time.Duration // of the client, after each 16 KiB
	verb   string        // that ends the rights
	goesOn bool          // the connection
}

func (c rightsInAReplay) end(t *testing.T) {
	var may rights
	h := start(t, may.policy(), nil)
	cursor := string(h.Cursor())
	for range 1500 {
		h.publish("room", strings.Repeat("secret ", 130))
	}
	conn := c.open(h, cursor)
	got := drain(conn, c.pause)
	time.Sleep(300*time.Millisecond + 1)
	may.take("room", errNotAllowed)
	began := time.Now()
	var err error
	if c.verb == "Revoke" {
		err = h.Revoke(t.Context(), "ada")
	} else {
		err = h.Recheck(t.Context(), "ada")
	}
	if took := time.Since(began); err != nil || took > time.Second {
		t.Errorf("%s: %v after %v", c.verb, err, took)
	}
	synctest.Wait()
	if n := len(got.take()); n == 0 || n > 1<<20 {
		t.Errorf("%d bytes of the replay came before: the test tests nothing", n)
	}
	time.Sleep(time.Minute)
	after := got.take()
	if bytes.Contains(after, []byte("secret")) {
		t.Errorf("%d bytes of the replay came after it", len(after))
	}
	ended := !bytes.Contains(after, []byte("ping")) || bytes.Contains(after, []byte("bye"))
	if c.goesOn && ended {
		t.Errorf("the connection did not go on: %s", after)
	}
	conn.Close()
	<-got.ended
}

// Of two calls at the same time, the one that asked first does not have the last
// word.
func TestRecheckOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var may rights
		policy, hold := may.policy(), make(chan struct{})
		var asked atomic.Int32
		grants := policy.Grants
		policy.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			n := asked.Add(1)
			answer, err := grants(ctx, id)
			if n == 2 { // the first Recheck has to wait for its answer
				<-hold
			}
			return answer, err
		}
		h := start(t, policy, nil)
		stream := h.ren(get("/ren", "Authorization", asAda))
		var first sync.WaitGroup
		first.Go(func() { h.recheck("ada") })
		synctest.Wait()
		may.take("room", errNotAllowed)
		h.recheck("ada")
		close(hold)
		first.Wait()
		stream.rest()
		h.publish("room", "secret")
		h.publish("lobby", "open")
		if ev := stream.next(); string(ev.Data) != `"open"` {
			t.Errorf("got %+v", ev)
		}
	})
}
