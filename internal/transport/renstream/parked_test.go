package renstream

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
)

const (
	heartbeat = 25 * time.Second
	writeTime = 10 * time.Second
)

// link is a connection that takes, or fails, as the test says.
type link struct {
	full bool

	mu     sync.Mutex
	err    error
	tried  int
	closed bool
	got    strings.Builder
}

func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	if l.full || l.err != nil {
		return 0, l.err
	}
	return l.got.Write(p)
}

func (l *link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// take returns what was written since the last call, in how many writes, and whether the
// connection was closed.
func (l *link) take() (said string, tried int, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said, tried = l.got.String(), l.tried
	l.got.Reset()
	l.tried = 0
	return said, tried, l.closed
}

// parkedOver returns a stream over l that has said hello, if l takes that.
func parkedOver(t *testing.T, l *link) (*parked, *Driver) {
	log := slog.New(slog.DiscardHandler)
	var shards sync.WaitGroup
	pool := shard.New(1, shards.Go, log)
	d := New(Node{Life: time.Hour, Node: driver.Node{
		Ring: ring.New(ring.Limits{Records: 100, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1}), Conns: conns.New(conns.Limits{}),
		Shards: pool, Policy: new(policy.Policy), Logger: log, Heartbeat: heartbeat, WriteTimeout: writeTime,
	}})
	p := &parked{link: l, pingAt: time.Now().Add(heartbeat)}
	p.stream, p.task = &stream{Driver: d, parked: p, sent: d.tally.Open()}, pool.NewTask(p)
	p.session = session.NewStream(d.node.Ring, p.task.Wake)
	follow(p.stream)
	p.conn.Cancel = p.cancel
	handshake := d.node.Conns.Begin()
	if err := handshake.Add(&p.conn, ""); err != nil {
		t.Fatal(err)
	}
	handshake.End()
	p.task.Start()
	t.Cleanup(func() {
		p.conn.Abort()
		p.task.Wake()
		<-p.conn.Done()
		pool.Close()
		shards.Wait()
	})
	synctest.Wait()
	return p, d
}

// endings returns how the streams of a driver have ended.
func endings(d *Driver) (list []string) {
	for why, n := range d.Stats().Ended {
		for range n {
			list = append(list, why)
		}
	}
	return list
}

// A stream ends at once, with the reason that the server gives and a word about it, or,
// where there is none, without a word.
func TestParkedStreamEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(*parked)
		said  string
		ended string
	}{
		{"revoked", func(p *parked) { p.conn.Cancel(conns.Revoked) }, "event: ren.bye", "revoked"},
		{"the first reason counts", func(p *parked) { p.conn.Cancel(conns.Revoked); p.conn.Cancel(conns.Rotated) }, "event: ren.bye", "revoked"},
		{"for no reason", func(p *parked) { p.conn.Cancel(nil) }, "", "client"},
		{"for an error", func(p *parked) { p.conn.Cancel(driver.ErrSlow) }, "", "slow"},
		{"the client is gone", func(p *parked) { p.Ready(poll.Gone) }, "", "client"},
		{"gone while it ends", func(p *parked) { p.Ready(poll.Gone); p.conn.Cancel(conns.Revoked) }, "", "revoked"},
		{"aborted", func(p *parked) { p.conn.OnAbort(p.task.Wake); p.conn.Cancel(conns.Expired); p.conn.Abort() }, "", "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(link)
				p, d := parkedOver(t, l)
				l.take()
				c.end(p)
				synctest.Wait()
				said, _, closed := l.take()
				if ended := endings(d); len(ended) != 1 || ended[0] != c.ended || !closed {
					t.Errorf("ended %q, closed %v, want %s", ended, closed, c.ended)
				}
				if (c.said == "") != (said == "") || !strings.Contains(said, c.said) {
					t.Errorf("it said %q", said)
				}
			})
		})
	}
}

// A stream that ends when a ping is due says its last word, and does not ping.
func TestParkedPingAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(link)
		p, _ := parkedOver(t, l)
		l.take()
		why := error(conns.Rotated)
		p.why.Store(&why) // nobody wakes it before the ping
		time.Sleep(heartbeat)
		synctest.Wait()
		if said, _, _ := l.take(); strings.Contains(said, "ren.ping") || !strings.Contains(said, "ren.bye") {
			t.Errorf("it said %q", said)
		}
	})
}

// A connection that is full is tried again when it has room and when its time is over, not
// for each event. Then the stream ends, as slow.
func TestParkedFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{full: true}
		p, d := parkedOver(t, l)
		tried := func(want int, what string) {
			t.Helper()
			synctest.Wait()
			if _, tried, _ := l.take(); tried != want {
				t.Errorf("%s: tried %d times, want %d", what, tried, want)
			}
		}
		tried(1, "hello")
		for range 3 {
			p.task.Wake()
			tried(0, "an event")
		}
		if s := d.Stats(); s.Writing != 1 {
			t.Errorf("%d streams wait for their clients", s.Writing)
		}
		p.Ready(poll.Writable)
		tried(1, "room")
		time.Sleep(writeTime - 1)
		tried(0, "in time")
		time.Sleep(time.Nanosecond)
		tried(1, "late")
		_, _, closed := l.take()
		if ended := endings(d); len(ended) != 1 || ended[0] != "slow" || d.Stats().Writing != 0 || !closed {
			t.Errorf("ended %q, %d write, closed %v", ended, d.Stats().Writing, closed)
		}
	})
}

// A write that fails ends the stream, for the reason that there was before it.
func TestParkedWriteFails(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, c := range map[string]struct {
		cancel error
		ended  string
	}{"alone": {nil, "client"}, "in the last word": {conns.Revoked, "revoked"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(link)
				p, d := parkedOver(t, l)
				l.take()
				l.fail(broken)
				if c.cancel != nil {
					p.conn.Cancel(c.cancel)
				} else {
					p.session.Do(func() { p.session.Ping(1) })
				}
				synctest.Wait()
				_, tried, _ := l.take()
				if ended := endings(d); len(ended) != 1 || ended[0] != c.ended || tried != 1 {
					t.Errorf("ended %q, after %d writes", ended, tried)
				}
			})
		})
	}
}

// So does one that fails when a full connection is tried again.
func TestParkedRetryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{full: true}
		p, d := parkedOver(t, l)
		l.take()
		l.fail(errors.New("broken pipe"))
		p.Ready(poll.Writable)
		synctest.Wait()
		_, tried, closed := l.take()
		if ended := endings(d); len(ended) != 1 || ended[0] != "client" || tried != 1 || !closed {
			t.Errorf("ended %q, after %d writes, closed %v", ended, tried, closed)
		}
	})
}

// What describes a body, which a middleware may have set, is not said of a stream.
func TestParkedHeadOfABody(t *testing.T) {
	h := http.Header{"X-Of-The-Host": {"kept"}, "Date": {"today"}}
	for _, name := range []string{"Content-Encoding", "Content-Length", "Trailer", "Transfer-Encoding"} {
		h.Set(name, "1")
	}
	const want = "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: today\r\nX-Of-The-Host: kept\r\n\r\n"
	if got := string(responseHead(h)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if len(h) != 6 {
		t.Errorf("the host's own headers are changed: %v", h)
	}
}
