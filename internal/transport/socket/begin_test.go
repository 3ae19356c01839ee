package socket

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// client is the other end of a connection in memory. It reads until it is told to stop.
type client struct {
	net.Conn
	mu   sync.Mutex
	text strings.Builder
}

// dial returns both ends of a connection.
func dial(t *testing.T) (*client, net.Conn) {
	l := memnet.Listen()
	dialled := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Dial(t.Context(), "", "")
		dialled <- conn
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return read(<-dialled), conn
}

func read(conn net.Conn) *client {
	c := &client{Conn: conn}
	go io.Copy(c, conn)
	return c
}

// Write implements [io.Writer] for what is read.
func (c *client) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// stop reads no longer.
func (c *client) stop() { _ = c.SetReadDeadline(time.Now()) }

func (c *client) got(text string) int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Count(c.text.String(), text)
}

const ping = `{"op":"ping"}` // which is refused before the hello

func always() bool { return true }

// What a client sends is read, however it comes: after the handshake or with it, and over
// connections that nobody watches.
func TestFirstOperationIsRead(t *testing.T) {
	frame := string(testkit.Frame(0x81, &[4]byte{1, 2, 3, 4}, []byte(ping)))
	for name, c := range map[string]struct{ early, watched bool }{
		"later": {false, true}, "with the handshake": {true, true}, "unwatched": {false, false}, "unwatched, with the handshake": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var conn net.Conn
				var peer *client
				if c.watched {
					peer, conn = dial(t)
				} else {
					var other net.Conn
					conn, other = net.Pipe()
					peer = read(other)
				}
				in := bufio.NewReader(conn)
				if c.early {
					in = bufio.NewReader(io.MultiReader(strings.NewReader(frame), conn))
					if _, err := in.Peek(len(frame)); err != nil {
						t.Fatal(err)
					}
				}
				d := newDriver(t, nil)
				s := begunAfter(t, d, conn, in, always)
				synctest.Wait()
				if !c.early {
					go io.WriteString(peer.Conn, frame)
				}
				if n := peer.got("hello_required"); n != 1 {
					t.Errorf("%d answers", n)
				}
				if n := d.Operations()["ping"]; n != 1 {
					t.Errorf("%d operations are counted", n)
				}
				peer.Close()
				<-s.conn.Done()
			})
		})
	}
}

// A client that takes nothing is ended when its time is over, though no ping is due.
func TestFullSocketEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, nil)
		peer, conn := dial(t)
		s := begun(t, d, conn, always)
		synctest.Wait()
		peer.stop()
		synctest.Wait()
		s.session.Do(func() { s.session.Answer(wire.Frame{Event: "ok"}) })
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if n := d.Stats().Writing; n != 1 {
			t.Errorf("%d connections wait for their clients", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if stats := d.Stats(); stats.Ended["slow"] != 1 || stats.Writing != 0 {
			t.Errorf("ended %v, %d write", stats.Ended, stats.Writing)
		}
		peer.Close()
		<-s.conn.Done()
	})
}

// A client that does not answer a ping is dropped when the answer is due, also where it has
// longer for what is being written to it, and takes nothing of that.
func TestDeadSocketEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const due = 20 * time.Second // of the first ping
		d := newDriver(t, nil)
		d.node.Heartbeat = due
		peer, conn := dial(t)
		began := time.Now()
		s := begun(t, d, conn, always)
		time.Sleep(due + 50*time.Second)
		peer.stop()
		synctest.Wait()
		s.session.Do(func() { s.session.Answer(wire.Frame{Event: "ok"}) })
		<-s.conn.Done()
		if early := time.Until(began.Add(due + time.Minute)); early < 0 || early > time.Second {
			t.Errorf("it ended %v before the answer was due", early)
		}
		if ended := d.Stats().Ended; ended["dead"] != 1 {
			t.Errorf("ended %v", ended)
		}
	})
}

// One that is aborted ends at once, whatever is being written.
func TestAbortedSocketEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer, conn := dial(t)
		s := begun(t, newDriver(t, nil), conn, always)
		synctest.Wait()
		peer.stop()
		synctest.Wait()
		s.session.Do(func() { s.session.Answer(wire.Frame{Event: "ok"}) })
		synctest.Wait()
		began := time.Now()
		s.conn.Cancel(conns.Revoked)
		s.conn.Abort()
		if <-s.conn.Done(); time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}

// open is a link that takes all.
type open struct{}

func (open) Write(p []byte) (int, error) { return len(p), nil }

func (open) Close() {}

// Everything that has come goes out at once, though it takes several batches and the
// connection has room for them all.
func TestBatchesFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, nil)
		peer, conn := dial(t)
		s := begun(t, d, conn, always)
		synctest.Wait()
		s.session.Do(func() { // on the shard
			s.link = open{}
			if err := s.ws.Share(&s.out, open{}, nil, s.task.Wake); err != nil {
				t.Error(err)
			}
			s.session.Subscribe(wire.Op{Channel: "room"}, session.Rewind{}, 1)
		})
		synctest.Wait()
		var all []*backend.Logged
		const n = 700
		for pos := d.node.Ring.Head(); len(all) < n; {
			pos = pos.Next()
			all = append(all, &backend.Logged{Pos: pos, Event: backend.Event{
				Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`1`), UnixMilli: time.Now().UnixMilli(),
			}})
		}
		d.node.Ring.Put(all)
		synctest.Wait()
		if got := d.Stats().Delivered; got != n {
			t.Errorf("%d of %d messages have gone out", got, n)
		}
		s.conn.Cancel(conns.Rotated)
		peer.Close()
		<-s.conn.Done()
	})
}

// A connection that has room for more to be written has nothing to be read.
func TestRoomIsNotRead(t *testing.T) {
	d := newDriver(t, nil)
	s := &socket{Driver: d}
	s.task = d.node.Shards.NewTask(s)
	s.Ready(poll.Writable)
	if s.reader.Load() != resting || !s.room.Load() {
		t.Error("room is taken for something to read")
	}
}
