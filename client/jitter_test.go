package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// link is one client's way to the server, which is lost and comes back.
type link struct {
	host *host
	http *http.Client

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func newLink(h *host) *link {
	l := &link{host: h}
	transport := &http.Transport{DialContext: l.dial, DisableKeepAlives: true}
	l.http = &http.Client{Transport: transport}
	h.t.Cleanup(transport.CloseIdleConnections)
	return l
}

var errDown = errors.New("the network is down")

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, errDown
	}
	conn, err := l.host.listen.Dial(ctx, network, addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

func (l *link) set(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

// jitter loses the link every 13 to 17 seconds, for two.
func (l *link) jitter(ctx context.Context, rng *rand.Rand) {
	for {
		for _, step := range []struct {
			down bool
			wait time.Duration
		}{{false, 13*time.Second + time.Duration(rng.Int64N(int64(4*time.Second))) - 2*time.Second}, {true, 2 * time.Second}} {
			l.set(step.down)
			select {
			case <-time.After(step.wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// delays are how long messages took, each of which says when it was sent.
type delays struct {
	mu   sync.Mutex
	list []time.Duration
	next map[string]int // by client: the number of the next message
}

func (d *delays) note(t *testing.T, who string, text string) {
	var n int
	var sent int64
	if _, err := fmt.Sscan(text, &n, &sent); err != nil {
		t.Errorf("%s got %q", who, text)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n != d.next[who] {
		t.Errorf("%s got %d in place of %d", who, n, d.next[who])
	}
	d.next[who] = n + 1
	d.list = append(d.list, time.Since(time.UnixMilli(sent)))
}

// percentile returns the delay that so many of a hundred do not exceed.
func (d *delays) percentile(p float64) time.Duration {
	slices.Sort(d.list)
	return d.list[min(int(float64(len(d.list))*p/100), len(d.list)-1)]
}

// jitteryFollowers begin a client of each kind, and return its loop.
var jitteryFollowers = map[string]func(*host, *http.Client) func(context.Context, func(string)){
	"REN": func(h *host, web *http.Client) func(context.Context, func(string)) {
		r := newRen(h.t, &client.RenOptions{HTTPClient: web, Logger: h.logs.logger()})
		return func(ctx context.Context, tell func(string)) {
			for ev, err := range r.Events(ctx) {
				if err == nil {
					tell(ev.Key)
				} else if ctx.Err() == nil {
					tell(err.Error())
				}
			}
		}
	},
	"channels": func(h *host, web *http.Client) func(context.Context, func(string)) {
		rt := newRealtime(h.t, &client.RealtimeOptions{HTTPClient: web, Logger: h.logs.logger()})
		rt.Connect()
		h.t.Cleanup(func() { rt.Close() })
		return func(ctx context.Context, tell func(string)) {
			for m, err := range rt.Subscribe(ctx, "room") {
				if err == nil {
					tell(wordOfMessage(m))
				} else if ctx.Err() == nil {
					tell(err.Error())
				}
			}
		}
	},
}

// A jittery link loses nothing, and is not punished: two messages a second, and
// every client is cut off every 13 to 17 seconds, for two.
func TestJitteryLinks(t *testing.T) {
	const clients, messages = 6, 1200 // ten minutes
	for name, follow := range jitteryFollowers {
		bubble(t, name, func(t *testing.T) {
			h := start(t, realtime.AllowAll(), nil)
			got := &delays{next: make(map[string]int)}
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			for i := range clients {
				l := newLink(h)
				loop := follow(h, l.http)
				running.Go(func() { loop(ctx, func(text string) { got.note(t, strconv.Itoa(i), text) }) })
				synctest.Wait()
				running.Go(func() { l.jitter(ctx, rand.New(rand.NewPCG(uint64(i), 19))) })
			}
			for n := range messages {
				text := fmt.Sprint(n, " ", time.Now().UnixMilli())
				if name == "REN" {
					h.emit(text)
				} else {
					h.publish("room", text)
				}
				time.Sleep(500 * time.Millisecond)
			}
			time.Sleep(10 * time.Second)
			cancel()
			running.Wait()
			if len(got.list) != clients*messages {
				t.Errorf("%d of %d messages were delivered", len(got.list), clients*messages)
			}
			p95, p99, most := got.percentile(95), got.percentile(99), got.percentile(100)
			t.Logf("p95 %v, p99 %v, max %v", p95, p99, most)
			if p95 > 4*time.Second || p99 > 5*time.Second || most > 10*time.Second {
				t.Errorf("p95 %v, p99 %v, max %v", p95, p99, most)
			}
		})
	}
}
