package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backend/onestep"
)

// node is one of the cluster.
type node struct {
	*world
	id   int
	link *link
	rt   *realtime.Realtime
	stop context.CancelFunc // of its view
	gone sync.WaitGroup

	mu    sync.Mutex
	dead  bool
	began time.Time
	died  time.Time
	cuts  []cut
	view  []seen
	calls []call
	told  []time.Time // when its group missed something
}

// seen is what a subscriber got: an event, or that events were missed.
type seen struct {
	reset   bool
	typ     string
	channel string
	user    string
	reason  string // of a leave
	message string // its id
	at      time.Time
	said    time.Time // when the event was made, which may be long before; in whole milliseconds
}

// call is one call of a handler. It ended when the node no longer held the group, at
// the latest.
type call struct {
	message      string
	began, ended time.Time
	done         bool
}

// body is the data of a message.
type body struct {
	ID string `json:"id"`
}

// driver returns what speaks to the engine over a link.
func (w *world) driver(l *link) backend.Backend {
	if w.oneStep {
		return l
	}
	return struct {
		backend.Log
		backend.Store
		closer
	}{l, onestep.Store{Plain: l, Append: l.append}, closer{}}
}

type closer struct{}

func (closer) Close(context.Context) error { return nil }

// start adds a node. It fails while the engine cannot be reached.
func (w *world) start() (*node, error) {
	w.mu.Lock()
	id := w.started
	w.started++
	w.mu.Unlock()
	n := &node{world: w, id: id, began: time.Now()}
	n.link = &link{world: w, node: id, count: make(map[string]int)}
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{
		Backend: w.driver(n.link), Logger: slog.New(slog.DiscardHandler), Presence: realtime.PresenceOptions{Lease: w.ttl},
		History: realtime.History{Events: w.history},
	})
	w.trace("node %d starts: %v", id, err)
	if err != nil {
		n.link.kill()
		return nil, err
	}
	n.rt = rt
	if err := rt.Group("work", &realtime.GroupOptions{Missed: n.missed}, func(g *realtime.Group) error {
		return g.OnChannel(realtime.ChannelMatch{}, n.handle)
	}); err != nil {
		w.t.Error(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	cursor := rt.Cursor()
	n.gone.Go(func() { n.watch(ctx, cursor) })
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.mu.Unlock()
	return n, nil
}

// kill ends the node as a signal does: nothing of it reaches the engine any longer,
// except what is on its way.
func (n *node) kill() {
	n.mu.Lock()
	n.dead, n.died = true, time.Now()
	n.mu.Unlock()
	n.trace("node %d is killed", n.id)
	n.blame()
	n.world.mu.Lock()
	n.deaths = append(n.deaths, time.Now())
	n.world.mu.Unlock()
	n.link.kill()
	n.end()
}

// cut is a time in which a node cannot reach the engine.
type cut struct{ from, to time.Time }

// cut cuts the node off. It is healed after the given time, or earlier.
func (n *node) cut(away time.Duration) {
	n.mu.Lock()
	n.cuts = append(n.cuts, cut{time.Now(), time.Now().Add(away)})
	n.mu.Unlock()
	n.link.Cut()
}

// wasCut reports whether the node was cut off at some time in between.
func (n *node) wasCut(from, to time.Time) bool {
	return slices.ContainsFunc(n.cuts, func(c cut) bool { return c.from.Before(to) && c.to.After(from) })
}

func (l *link) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	l.Cut()
}

func (n *node) end() {
	n.stop()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	n.late.Go(func() { _ = n.rt.Close(ended) })
}

func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead
}

// watch notes all events of the node.
func (n *node) watch(ctx context.Context, after realtime.Cursor) {
	for ev, err := range n.rt.EventsAfter(ctx, realtime.EventMatch{}, after) {
		s := seen{at: time.Now()}
		var lost *realtime.ResetError
		switch {
		case errors.As(err, &lost):
			s.reset = true
			n.trace("node %d: reset: %s", n.id, lost.Reason)
		case err != nil:
			return
		default:
			s.typ, s.channel, s.user, s.said = ev.Type, ev.Channel, ev.User, time.UnixMilli(ev.UnixMilli)
			if s.typ == backend.PresenceLeave {
				s.reason = reasonOf(ev.Data)
			}
			if ev.Type == backend.Message && ev.Key == "" {
				s.message = messageID(ev.Data)
			}
			n.trace("node %d sees %s %s %s %s", n.id, s.typ, s.channel, s.user, s.message)
		}
		n.mu.Lock()
		n.view = append(n.view, s)
		n.mu.Unlock()
		n.stall(ctx)
	}
}

// stall has who follows the node read nothing for a while, now and then.
func (n *node) stall(ctx context.Context) {
	is := func(aspect string, n64 int64) int64 { return draw(n64, n.seed, n.id, "stall", len(n.view), aspect) }
	if n.history == 0 || !n.faulty() || is("whether", 40) > 0 {
		return
	}
	select {
	case <-time.After(time.Duration(is("long", int64(80*time.Second)))):
	case <-ctx.Done():
	}
}

func messageID(data []byte) string {
	var b body
	_ = json.Unmarshal(data, &b) // "" is no message of ours
	return b.ID
}

func reasonOf(data []byte) string {
	var why struct{ Reason string }
	_ = json.Unmarshal(data, &why) // "" is not what the checks look for
	return why.Reason
}

func (n *node) missed(err *realtime.ResetError) {
	n.trace("node %d: handlers missed events: %s", n.id, err.Reason)
	n.mu.Lock()
	n.told = append(n.told, time.Now())
	n.mu.Unlock()
}

// handle takes up to 3 s, and ends with the hold.
func (n *node) handle(ctx context.Context, ev realtime.RenEvent) error {
	if ev.Key != "" { // of a growing message
		return nil
	}
	c := call{message: messageID(ev.Data), began: time.Now()}
	select {
	case <-time.After(time.Duration(draw(int64(3*time.Second), n.seed, "handler", c.message)) + 1):
		c.done = true
	case <-ctx.Done():
	}
	c.ended = time.Now()
	n.trace("node %d handled %s: %v, began %v", n.id, c.message, c.done, c.ended.Sub(c.began))
	n.mu.Lock()
	n.calls = append(n.calls, c)
	n.mu.Unlock()
	if !c.done {
		return ctx.Err()
	}
	return nil
}

// publish returns whether the message is known to be in the log.
func (n *node) publish(id string) bool {
	err := n.rt.Publish(context.Background(), fmt.Sprintf("room%d", draw(3, n.seed, id)), body{id})
	n.trace("node %d publishes %s: %v", n.id, id, err)
	return err == nil
}
