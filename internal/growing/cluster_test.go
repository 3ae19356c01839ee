package growing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// cluster is nodes with one store and one log. What is logged, and what a node sends,
// reaches all nodes at once, unless the test says otherwise.
type cluster struct {
	t     *testing.T
	store *ledger
	said  journal

	mu    sync.Mutex
	nodes map[string]*growing.Growing
	log   []*backend.Event
	sent  []string        // live records, as node, type and size of the data
	deaf  map[string]bool // nodes that do not read the log
	cut   map[string]bool // nodes that send and get no live records
	lost  error           // of who asks the log for an end
}

// inCluster runs f in a bubble with an empty cluster.
func inCluster(t *testing.T, name string, f func(t *testing.T, c *cluster)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := &cluster{t: t, nodes: make(map[string]*growing.Growing), deaf: make(map[string]bool), cut: make(map[string]bool)}
			c.store = &ledger{Store: memory.New(memory.Limits{}), c: c, turn: make(chan struct{}, 1)}
			f(t, c)
		})
	})
}

var roomy = growing.Limits{Bytes: 1 << 20, Memory: 1 << 30, Open: 9, Channel: 9, Idle: time.Hour, Message: 1 << 20}

// start starts a node that runs until the end of the test, or until stop is called.
func (c *cluster) start(name string, alone bool, limits growing.Limits) (g *growing.Growing, stop func()) {
	ctx, stop := context.WithCancel(c.t.Context())
	g = growing.New(growing.Node{
		Name: func() string { return name }, Alone: alone, Store: c.store, Running: ctx, Go: func(f func()) { go f() },
		Append: func(_ context.Context, e backend.Entry) error {
			return c.store.call(ctx, "append", func() error { return c.deliver(e.Data) })
		},
		Send:   func() { go c.send(name) },
		Limits: limits, Logger: slog.New(slog.NewTextHandler(&c.said, nil)), Ended: c.ended,
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = g
	go g.Run(ctx)
	return g, stop
}

// node starts a node that is not alone and has much room.
func (c *cluster) node(name string) *growing.Growing {
	g, _ := c.start(name, false, roomy)
	return g
}

func (c *cluster) others(name string, without map[string]bool) (list []*growing.Growing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, g := range c.nodes {
		if other != name && !without[other] {
			list = append(list, g)
		}
	}
	return list
}

func (c *cluster) send(name string) {
	for more := true; more; {
		var batch []backend.Payload
		batch, more = c.nodes[name].Outgoing(1 << 20)
		for _, p := range batch {
			c.mu.Lock()
			c.sent = append(c.sent, fmt.Sprintf("%s %s %d", name, p.Event.Type, len(p.Event.Data)))
			silent := c.cut[name]
			c.mu.Unlock()
			if silent {
				continue
			}
			for _, other := range c.others(name, c.cut) {
				other.Take(&p.Event)
			}
		}
	}
}

// count returns how many live records of a type a node has sent since the last call for it.
func (c *cluster) count(name, typ string) (n int) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := c.sent[:0]
	for _, s := range c.sent {
		if strings.HasPrefix(s, name+" "+typ+" ") {
			n++
		} else {
			rest = append(rest, s)
		}
	}
	c.sent = rest
	return n
}

// separate cuts a node off from the live records of others, or connects it again.
func (c *cluster) separate(name string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[name] = is
}

// deafen lets a node read the log no more.
func (c *cluster) deafen(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf[name] = true
}

// forget leaves so many records of the log, the newest ones.
func (c *cluster) forget(left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = c.log[len(c.log)-left:]
}

// breakLog fails those who ask the log for an end.
func (c *cluster) breakLog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = errStore
}

// spell replaces the data of the last record of the log, which may be the first.
func (c *cluster) spell(data string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(slices.Clip(c.log[:max(0, len(c.log)-1)]), &backend.Event{
		Type: backend.Message, Resource: backend.Realtime, Channel: "room", Key: "a1", Version: "complete", Data: []byte(data),
	})
}

func (c *cluster) deliver(data []byte) error {
	p, err := backend.DecodePayload(data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.log = append(c.log, &p.Event)
	c.mu.Unlock()
	for _, g := range c.others("", c.deaf) {
		if p.Event.Type == growing.Stop {
			g.Stopped(&p.Event)
		} else {
			g.Take(&p.Event)
		}
	}
	return nil
}

func (c *cluster) ended(_ context.Context, k growing.Key) (*backend.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.log) - 1; i >= 0 && c.lost == nil; i-- {
		if id, state := wire.StreamOf(c.log[i]); id == k.ID && c.log[i].Channel == k.Channel && state != string(growing.Streaming) {
			return c.log[i], nil
		}
	}
	return nil, c.lost
}

// told returns the states that the log tells of a message, in order.
func (c *cluster) told(id string) string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var states []string
	for _, ev := range c.log {
		if of, state := wire.StreamOf(ev); of == id {
			states = append(states, state)
		}
	}
	return strings.Join(states, " ")
}

func (c *cluster) wantTold(when, id, want string) {
	c.t.Helper()
	if got := c.told(id); got != want {
		c.t.Errorf("%s: the log tells %q, want %q", when, got, want)
	}
}

// ledger is the store of a cluster. What is to be logged with a change is, when that is
// made. hook, if there is one, is called in place of each call, which is do; one at a time.
type ledger struct {
	backend.Store
	c    *cluster
	turn chan struct{} // guards what follows
	hook hook
	made int // calls since count
}

type hook func(ctx context.Context, call string, do func() error) error

// set sets the hook, or removes it.
func (l *ledger) set(h hook) {
	l.turn <- struct{}{}
	l.hook = h
	<-l.turn
}

// count returns how many calls there were since it was last called.
func (l *ledger) count() int {
	synctest.Wait()
	l.turn <- struct{}{}
	defer func() { l.made = 0; <-l.turn }()
	return l.made
}

func (l *ledger) call(ctx context.Context, name string, do func() error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.made++; l.hook == nil {
		return do()
	}
	return l.hook(ctx, name, do)
}

func (l *ledger) Get(ctx context.Context, k backend.Key) (it backend.Item, err error) {
	err = l.call(ctx, "get", func() error { it, err = l.Store.Get(ctx, k); return err })
	return it, err
}

func (l *ledger) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	entry := w.Append
	w.Append = nil
	err = l.call(ctx, "put", func() error {
		if rev, err = l.Store.Put(ctx, w); err == nil && entry != nil {
			err = l.c.deliver(entry.Data)
		}
		return err
	})
	return rev, err
}

func (l *ledger) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	return l.call(ctx, "delete", func() error {
		err := l.Store.Delete(ctx, k, rev, nil)
		if err == nil && e != nil {
			err = l.c.deliver(e.Data)
		}
		return err
	})
}

// fails lets the next n calls of a name fail: with do, after they have been made.
func (l *ledger) fails(n int, name string, with error, made bool) {
	l.set(func(_ context.Context, call string, do func() error) error {
		if call != name || n == 0 {
			return do()
		}
		n--
		if made {
			if err := do(); err != nil {
				return err
			}
		}
		return with
	})
}

var errStore = errors.New("the store is broken")

var room = growing.Key{Channel: "room", ID: "a1"}

// begin begins a message.
func (c *cluster) begin(g *growing.Growing, id string) *growing.Own {
	c.t.Helper()
	o, err := g.Begin(c.t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: id}}, func(error) {})
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

func (c *cluster) write(o *growing.Own, text string) {
	c.t.Helper()
	if _, err := o.Write([]byte(text)); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) end(o *growing.Own, state growing.State) {
	c.t.Helper()
	if err := o.End(c.t.Context(), growing.End{State: state}); err != nil {
		c.t.Error(err)
	}
}

// follow follows a message on a node for as long as the test takes.
func (c *cluster) follow(g *growing.Growing, id string) *growing.Text {
	c.t.Helper()
	text, err := g.Follow(c.t.Context(), growing.Key{Channel: "room", ID: id})
	if err != nil {
		c.t.Fatal(err)
	}
	text.Follow(func() {})
	return text
}

// wantText checks what a text shows: the content, and how it has ended.
func (c *cluster) wantText(when string, text *growing.Text, content, end string) {
	c.t.Helper()
	synctest.Wait()
	v, got := text.From(0), "grows"
	if v.End != nil {
		got = string(v.End.State)
		if v.End.Partial {
			got += " partial"
		}
		if v.End.Error != nil {
			got += " " + v.End.Error.Code
		}
	}
	if string(v.Content) != content || got != end {
		c.t.Errorf("%s: it shows %.40q and %q, want %.40q and %q", when, v.Content, got, content, end)
	}
}

func wantErr(t *testing.T, when string, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", when, err, want)
	}
}
