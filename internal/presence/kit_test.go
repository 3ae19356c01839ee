package presence_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

const (
	lease   = 30 * time.Second
	channel = "room"
)

// world is a store, a log, and the nodes that share them.
type world struct {
	t     *testing.T
	ctx   context.Context
	b     *memory.Backend
	seen  backend.Position // what events has returned
	nodes []*node
}

type node struct {
	*presence.Presence
	name  string
	store *flaky
	die   context.CancelFunc
	gone  chan struct{}
}

// flaky is a store that a node may lose.
type flaky struct {
	backend.Store
	mu    sync.Mutex
	err   error
	fault func(backend.Key) fault // of each change; nil: none
}

// fault is what becomes of a change.
type fault struct {
	err  error
	late time.Duration // it is made so late, and its outcome is unknown
	slow time.Duration
}

var errCut = errors.New("the store cannot be reached")

func (f *flaky) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *flaky) failing(fault func(backend.Key) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *flaky) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	err = f.change(ctx, w.Key, func(ctx context.Context) error {
		rev, err = f.Store.Put(ctx, w)
		return err
	})
	return rev, err
}

func (f *flaky) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	return f.change(ctx, k, func(ctx context.Context) error { return f.Store.Delete(ctx, k, rev, e) })
}

func (f *flaky) change(ctx context.Context, k backend.Key, do func(context.Context) error) error {
	f.mu.Lock()
	now := fault{err: f.err}
	if f.err == nil && f.fault != nil {
		now = f.fault(k)
	}
	f.mu.Unlock()
	switch {
	case now.err != nil:
		return now.err
	case now.late > 0:
		time.AfterFunc(now.late, func() { _ = do(context.WithoutCancel(ctx)) })
		return backend.ErrMaybeStored
	}
	time.Sleep(now.slow)
	return do(ctx)
}

// in runs a test in virtual time, alone and as one node of several.
func in(t *testing.T, f func(w *world, n *node)) {
	t.Helper()
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprintf("alone %v", alone), func(t *testing.T) {
			inWorld(t, func(w *world) { f(w, w.start("a", alone)) })
		})
	}
}

func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		w := &world{t: t, ctx: ctx, b: memory.New(memory.Limits{Age: 48 * time.Hour})}
		f(w)
		for _, n := range w.nodes {
			n.kill()
		}
		cancel()
	})
}

func (w *world) start(name string, alone bool) *node {
	w.t.Helper()
	return w.startWith(presence.Options{Node: name, NodeLease: lease, Alone: alone})
}

func (w *world) startWith(o presence.Options) *node {
	w.t.Helper()
	return w.startOn(o, w.b, nil)
}

func (w *world) startOn(o presence.Options, store backend.Store, log *slog.Logger) *node {
	w.t.Helper()
	n := &node{name: o.Node, store: &flaky{Store: store}, gone: make(chan struct{})}
	o.Logger = log
	n.Presence = presence.New(n.store, o)
	w.must(n.Start(w.ctx))
	ctx, die := context.WithCancel(w.ctx)
	n.die = die
	go func() {
		defer close(n.gone)
		n.Run(ctx)
	}()
	w.nodes = append(w.nodes, n)
	return n
}

func (n *node) kill() {
	n.die()
	<-n.gone
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func key(user, id string) presence.Key { return presence.Key{Channel: channel, User: user, ID: id} }

func tab(user, id string) presence.Session {
	return presence.Session{Key: key(user, id), Source: "tab-" + id}
}

func with(s presence.Session, metadata string) presence.Session {
	s.Metadata = json.RawMessage(metadata)
	return s
}

func lasting(s presence.Session, ttl time.Duration) presence.Session {
	s.TTL = ttl
	return s
}

func (w *world) join(n *node, sessions ...presence.Session) {
	w.t.Helper()
	for _, s := range sessions {
		w.must(n.Join(w.ctx, s))
	}
}

func (w *world) leave(n *node, user, id string, why presence.Reason, in time.Duration) {
	w.t.Helper()
	w.must(n.Leave(w.ctx, key(user, id), presence.Departure{Why: why, In: in}))
}

// pass lets time pass, and all that happens then happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// payloads returns what the log has that was not returned before.
func (w *world) payloads() (list []backend.Payload) {
	w.t.Helper()
	for {
		page, err := w.b.Read(w.ctx, w.seen, 1000)
		w.must(err)
		if len(page.Records) == 0 {
			return list
		}
		for _, r := range page.Records {
			p, err := backend.DecodePayload(r.Data)
			w.must(err)
			list = append(list, p)
			w.seen = r.Pos
		}
	}
}

// expect compares the new events with want; sorted, those of one moment.
func (w *world) expect(step string, want ...string) {
	w.t.Helper()
	var got []string
	for _, p := range w.payloads() {
		got = append(got, fmt.Sprintf("%s %s %s", p.Event.Type, p.Event.User, p.Event.Data))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: the events are %q, want %q", step, got, want)
	}
}

func (w *world) members(n *node) []presence.Member {
	w.t.Helper()
	members, err := n.Members(w.ctx, channel)
	w.must(err)
	return members
}

func (w *world) present(n *node, step string, want ...string) {
	w.t.Helper()
	var got []string
	for _, m := range w.members(n) {
		got = append(got, m.User)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: the members are %q, want %q", step, got, want)
	}
}

func (w *world) lastSeen(n *node, user string) time.Time {
	w.t.Helper()
	for _, m := range w.members(n) {
		if m.User == user {
			return m.LastSeen
		}
	}
	w.t.Fatalf("%s is no member", user)
	return time.Time{}
}
