package realtime_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Clients that are cut at random moments, stall, and come back with their
// cursors, on REN and on WebSockets with several channels, against the list of
// all that was published: each gets what follows its cursor, in order, once, or
// is told of a reset where something of its view is out of the history; and no
// cursor it is told hides an event it was not given.
func TestResumeModel(t *testing.T) {
	for name, history := range map[string]realtime.History{
		"count": {Events: 30, Bytes: 1 << 40, Age: 1000 * time.Hour},
		"bytes": {Events: 1 << 20, Bytes: 30 * maxSize, Age: 1000 * time.Hour},
		"age":   {Events: 1 << 20, Bytes: 1 << 40, Age: 10 * time.Second},
	} {
		for seed := range uint64(figure(4, 200)) {
			t.Run(fmt.Sprint(name, "/seed ", seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					m := newResumeModel(t, history, rand.New(rand.NewPCG(seed, uint64(len(name)))))
					for range 500 {
						m.step()
					}
					if m.counts["resumed"] == 0 || m.counts["reset"] == 0 {
						t.Errorf("the test tests nothing: %v", m.counts)
					}
				})
			})
		}
	}
}

// maxSize is more than an event of the model takes of the history's bytes.
const maxSize = 2 << 10

type resumeModel struct {
	t       *testing.T
	rnd     *rand.Rand
	host    *host
	history realtime.History
	first   uint64 // seq before the first event
	log     []logged
	clients []*resumer
	counts  map[string]int
}

// logged is an event that was published.
type logged struct {
	view string // channel or domain
	at   time.Time
}

// resumer is a client.
type resumer struct {
	m     *resumeModel
	name  string
	views map[string]*follow // by name; a REN stream has one, "kv", "db" or "*"
	http  bool               // it is a REN stream

	open   chan struct{} // holds one unless the client stalls
	stream *ren
	socket *socket
	gone   bool
}

// follow is what a client follows with one cursor.
type follow struct {
	name   string
	cursor string // "": none
	seq    uint64 // of the cursor
	live   bool   // it was answered
	asked  bool
}

func newResumeModel(t *testing.T, history realtime.History, rnd *rand.Rand) *resumeModel {
	opts := *noLimits
	opts.History, opts.StreamLife = history, time.Minute
	opts.Limits.Publish, opts.Limits.Message, opts.Limits.Metadata = maxSize, maxSize, maxSize
	m := &resumeModel{t: t, rnd: rnd, host: start(t, open(), &opts), history: history, counts: map[string]int{}}
	pos, _ := wire.ParseCursor(string(m.host.Cursor()))
	m.first = pos.Seq
	for i, views := range [][]string{{"kv"}, {"db"}, {"*"}, {"a", "b", "c"}, {"a", "b", "c"}, {"c"}} {
		c := &resumer{m: m, name: fmt.Sprint("client ", i, " ", views), views: map[string]*follow{}, http: i < 3}
		for _, name := range views {
			c.views[name] = &follow{name: name}
		}
		m.clients = append(m.clients, c)
	}
	t.Cleanup(func() {
		for _, c := range m.clients {
			if c.connected() {
				c.end()
			}
		}
	})
	return m
}

func (m *resumeModel) step() {
	c := pick(m.rnd, m.clients...)
	switch m.rnd.IntN(12) {
	case 0, 1, 2, 3, 4:
		m.publish(1 + m.rnd.IntN(5))
	case 5:
		if m.rnd.IntN(4) == 0 {
			m.publish(60) // more than the history holds
		}
	case 6:
		time.Sleep(pick(m.rnd, time.Millisecond, time.Second, 3*time.Second, 26*time.Second))
	case 7:
		c.cut()
	case 8:
		c.stall(m.rnd.IntN(2) == 0)
	case 9:
		c.toggle()
	default:
		for _, c := range m.clients {
			if m.rnd.IntN(2) == 0 {
				c.connect()
			}
		}
	}
	synctest.Wait()
	for _, c := range m.clients {
		c.take(1 << 30)
		c.settled()
	}
}

func (m *resumeModel) publish(n int) {
	for range n {
		view := pick(m.rnd, "kv", "db", "a", "b", "c", "c", "c")
		switch view {
		case "kv":
			m.host.emit(realtime.KVPut("n", "k"))
		case "db":
			m.host.emit(realtime.DocumentUpdated("n", "k"))
		default:
			m.host.publish(view, strings.Repeat("x", 100))
		}
		m.log = append(m.log, logged{view, time.Now()})
	}
}

// after returns the seq of the first event of a view after seq, 0 if there is
// none.
func (m *resumeModel) after(view string, seq uint64) uint64 {
	for i := int(seq - m.first); i < len(m.log); i++ {
		if view == "*" || m.log[i].view == view {
			return m.first + uint64(i) + 1
		}
	}
	return 0
}

// lost reports whether the history may have let go of what follows seq in a view.
func (m *resumeModel) lost(view string, seq uint64) bool {
	next := m.after(view, seq)
	i := int(next - m.first - 1)
	switch held := m.history; {
	case held.Events < 1<<20 && int(seq-m.first) < len(m.log)-2*held.Events:
		return true // views that nobody follows are not remembered for ever
	case next == 0:
		return false
	case held.Events < 1<<20:
		return i < len(m.log)-held.Events
	case held.Bytes < 1<<40:
		return int64(len(m.log)-i)*maxSize > held.Bytes
	default:
		return time.Since(m.log[i].at) > held.Age
	}
}

// seq parses a cursor that a client was told.
func (c *resumer) seq(cursor string) uint64 {
	pos, ok := wire.ParseCursor(cursor)
	if !ok {
		c.m.t.Fatalf("%s: told cursor %q", c.name, cursor)
	}
	return pos.Seq
}

func (f *follow) moveTo(cursor string, seq uint64) { f.cursor, f.seq = cursor, seq }

// event is told: it has to be the next one.
func (c *resumer) event(f *follow, cursor string) {
	c.m.counts["event"]++
	seq := c.seq(cursor)
	if next := c.m.after(f.name, f.seq); !f.live || seq != next {
		c.m.t.Fatalf("%s: %s at %d: told event %d, want %d", c.name, f.name, f.seq, seq, next)
	}
	f.moveTo(cursor, seq)
}

// complete is told: nothing up to the cursor is missing.
func (c *resumer) complete(f *follow, cursor string) {
	seq := c.seq(cursor)
	if next := c.m.after(f.name, f.seq); seq < f.seq || next != 0 && next <= seq {
		c.m.t.Fatalf("%s: %s at %d: told to be complete up to %d, without event %d", c.name, f.name, f.seq, seq, next)
	}
	f.moveTo(cursor, seq)
}

// start is told, or a reset in the middle.
func (c *resumer) start(f *follow, state, cursor string) {
	seq := c.seq(cursor)
	c.m.counts[state]++
	switch {
	case state == "fresh" && f.cursor == "", state == "resumed" && cursor == f.cursor:
	case state == "reset" && f.cursor != "" && c.m.lost(f.name, f.seq) && seq >= f.seq:
	default:
		c.m.t.Fatalf("%s: %s at %d: told %s at %d", c.name, f.name, f.seq, state, seq)
	}
	f.live = true
	f.moveTo(cursor, seq)
}

func (c *resumer) connected() bool { return c.stream != nil || c.socket != nil }

// gated is a connection whose reader can be held up.
type gated struct {
	net.Conn
	open chan struct{}
}

func (g gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.open <- <-g.open
	return n, err
}

func (c *resumer) connect() {
	if c.connected() {
		return
	}
	c.gone, c.open = false, make(chan struct{}, 1)
	c.open <- struct{}{}
	h := c.m.host
	var conn net.Conn
	open := c.open
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		conn, err = h.listener.Dial(ctx, network, addr)
		return gated{conn, open}, err
	}}}
	if c.http {
		f := c.only()
		ask := "http://host.test/ren?s=" + f.name + "&lastEventId=" + f.cursor
		resp, err := client.Get(ask)
		if err != nil {
			c.m.t.Fatal(err)
		}
		c.stream = &ren{incoming: newIncoming[renEvent](c.m.t), resp: resp, cancel: func() { conn.Close() }}
		c.stream.pump()
		return
	}
	ws, _, err := websocket.Dial(context.Background(), "ws://host.test/realtime", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		c.m.t.Fatal(err)
	}
	c.socket = &socket{incoming: newIncoming[object](c.m.t), ws: ws, net: conn}
	c.m.t.Cleanup(func() { conn.Close() })
	c.socket.pump()
	c.try(`"op":"hello","cid":"` + tab1 + `"`)
	for name := range c.views {
		if c.m.rnd.IntN(4) > 0 {
			c.subscribe(name)
		}
	}
}

func (c *resumer) only() *follow {
	for _, f := range c.views {
		return f
	}
	return nil
}

func (c *resumer) subscribe(name string) {
	f := c.views[name]
	f.asked = true
	if f.cursor == "" {
		c.try(subscribe(name))
	} else {
		c.try(since(name, f.cursor))
	}
}

// try sends an operation over a connection that may be about to end.
func (c *resumer) try(op string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.socket.ws.Write(ctx, websocket.MessageText, []byte("{"+op+"}"))
}

// toggle subscribes to a channel, or ends that.
func (c *resumer) toggle() {
	if c.socket == nil || len(c.open) == 0 {
		return
	}
	f := c.views[pick(c.m.rnd, slices.Sorted(maps.Keys(c.views))...)]
	switch {
	case !f.asked:
		c.subscribe(f.name)
	case f.live:
		c.try(`"op":"unsubscribe","channel":"` + f.name + `"`)
		synctest.Wait()
		c.take(1 << 30)
		f.asked, f.live = false, false
	}
}

func (c *resumer) stall(on bool) {
	switch {
	case !c.connected():
	case on && len(c.open) == 1:
		<-c.open
	case !on && len(c.open) == 0:
		c.open <- struct{}{}
	}
}

// cut breaks the connection, or closes it, before the client has seen all that
// was on its way.
func (c *resumer) cut() {
	if !c.connected() {
		return
	}
	c.m.publish(3)
	synctest.Wait()
	c.take(c.m.rnd.IntN(3))
	c.end()
}

func (c *resumer) end() {
	c.stall(false)
	switch {
	case c.stream != nil:
		c.stream.cut()
	case c.m.rnd.IntN(2) == 0:
		c.socket.leave()
	default:
		c.socket.drop()
	}
	c.stream, c.socket = nil, nil
	for _, f := range c.views {
		f.live, f.asked = false, false
	}
}

// take looks at what came, at most n of it.
func (c *resumer) take(n int) {
	switch {
	case c.stream != nil:
		events, more := c.stream.box.all()
		for _, ev := range events[:min(n, len(events))] {
			c.onStream(ev)
		}
		c.gone = !more
	case c.socket != nil:
		objects, more := c.socket.box.all()
		for _, o := range objects[:min(n, len(objects))] {
			c.onSocket(o)
		}
		c.gone = !more
	}
}

func (c *resumer) onStream(ev renEvent) {
	f := c.only()
	switch ev.Name {
	case "message":
		c.event(f, ev.ID)
	case "ren.hello":
		c.start(f, ev.State, ev.Cursor)
	case "ren.reset":
		c.start(f, "reset", ev.Cursor)
	default:
		c.complete(f, ev.Cursor)
	}
}

func (c *resumer) onSocket(o object) {
	f := c.views[o.Channel]
	switch o.Event {
	case "message":
		c.event(f, o.ID)
	case "subscribed":
		c.start(f, o.State, o.Cursor)
	case "reset":
		c.start(f, "reset", o.Cursor)
	case "ping", "bye":
		for _, f := range c.views {
			if f.live && o.Cursor != "" {
				c.complete(f, o.Cursor)
			}
		}
	case "hello", "ok":
	default:
		c.m.t.Fatalf("%s: %s", c.name, o.raw)
	}
}

// settled checks that a client that reads has everything, and lets one that was
// sent away come back later.
func (c *resumer) settled() {
	if c.gone && c.connected() {
		c.end()
	}
	if !c.connected() || len(c.open) == 0 {
		return
	}
	for _, f := range c.views {
		if next := c.m.after(f.name, f.seq); (f.live || c.http) && next != 0 {
			c.m.t.Fatalf("%s: %s at %d has nothing to read, but event %d is there", c.name, f.name, f.seq, next)
		} else if f.asked && !f.live {
			c.m.t.Fatalf("%s: %s was not answered", c.name, f.name)
		}
	}
}
