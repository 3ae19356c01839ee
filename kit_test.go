package realtime_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

const (
	tab1 = "browser-0001.tab1"
	tab2 = "browser-0001.tab2"
)

// bubble runs a subtest in virtual time.
var bubble = testkit.Bubble

// open is a policy that lets every bearer of a token in, as the user that the
// token names, and everybody else as anonymous. "expired" and "later" are tokens
// that are refused.
func open() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			switch token := testkit.Bearer(r); token {
			case "expired":
				return realtime.Identity{}, realtime.ErrExpired
			case "later":
				return realtime.Identity{}, realtime.ErrTemporary
			case "bad":
				return realtime.Identity{}, errors.New("a secret reason")
			default:
				return realtime.Identity{User: token}, nil
			}
		},
		Allow:  func(context.Context, realtime.Identity, realtime.Action) error { return nil },
		Grants: realtime.AllowAll().Grants,
	}
}

// withGrants is open with these grants for all.
func withGrants(grants ...realtime.Grant) realtime.Policy {
	p := open()
	p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return grants, nil }
	return p
}

// expiring is open to ada, for so long after she has come.
func expiring(after time.Duration) realtime.Policy {
	p := open()
	p.Authenticate = func(*http.Request) (realtime.Identity, error) {
		return realtime.Identity{User: "ada", Expires: time.Now().Add(after)}, nil
	}
	return p
}

// hijack is how the connections of all tests are driven that do not say it themselves: the
// same tests are for both ways.
var hijack = flag.Int("hijack", 0, "realtime.Options.Hijack")

// host is a server with a Realtime, reached over a network in memory.
type host struct {
	*realtime.Realtime
	t        testing.TB
	srv      *realtimetest.Server
	logs     logs
	handler  http.Handler // without Attribute
	server   *http.Server
	listener *realtimetest.Network
	http     *http.Client
}

// logs is what a host has logged.
type logs struct{ srv *realtimetest.Server }

func (l logs) String() string { return l.srv.Logs() }

// prepare returns a host that does not serve yet.
func prepare(t testing.TB, policy realtime.Policy, opts *realtime.Options) *host {
	t.Helper()
	var o realtimetest.Options
	if opts != nil {
		o.Realtime = *opts
	}
	if o.Realtime.Hijack == 0 {
		o.Realtime.Hijack = realtime.Hijack(*hijack)
	}
	srv := realtimetest.NewUnstarted(t, policy, &o)
	return &host{
		Realtime: srv.Realtime, t: t, srv: srv, logs: logs{srv}, handler: srv.Realtime.Handler(),
		server: srv.Config, listener: srv.Net, http: srv.HTTPClient(),
	}
}

// start returns a host that serves until the test ends.
func start(t testing.TB, policy realtime.Policy, opts *realtime.Options) *host {
	t.Helper()
	h := prepare(t, policy, opts)
	h.serve()
	return h
}

func (h *host) serve() {
	h.server.Handler = h.handler
	h.srv.Start()
}

func (h *host) publish(channel string, data any, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Publish(context.Background(), channel, data, opts...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) emit(ev realtime.RenEvent, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Emit(context.Background(), ev, opts...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) join(channel, user string, metadata any, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Presence().Join(context.Background(), channel, user, metadata, opts...); err != nil {
		h.t.Fatal(err)
	}
}

// request is what a client asks for.
type request struct {
	method string // GET
	path   string
	header http.Header
}

func get(path string, header ...string) request {
	r := request{method: http.MethodGet, path: path, header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.header.Add(header[i], header[i+1])
	}
	return r
}

func (h *host) do(ctx context.Context, r request) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, r.method, "http://host.test"+r.path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header = r.header
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp
}

// refused returns the status and body of a request that is answered with an
// error.
func (h *host) refused(r request) (status int, f testkit.Refusal) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	resp := h.do(ctx, r)
	defer resp.Body.Close()
	if typ := resp.Header.Get("Content-Type"); typ != "application/json" {
		h.t.Errorf("%s %s: %s with Content-Type %q, want an error as JSON", r.method, r.path, resp.Status, typ)
		return resp.StatusCode, f
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, testkit.ParseRefusal(h.t, body)
}

// inbox is what a client received and the test has not read yet. It has room for
// everything, so that a test that is slow does not make its client so.
type inbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{}
}

func newInbox[T any]() *inbox[T] { return &inbox[T]{wake: make(chan struct{}, 1)} }

func (b *inbox[T]) put(item T) { b.change(func() { b.items = append(b.items, item) }) }

func (b *inbox[T]) close() { b.change(func() { b.closed = true }) }

func (b *inbox[T]) change(f func()) {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// all takes what there is, and says whether there will be more.
func (b *inbox[T]) all() (items []T, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, b.items = b.items, nil
	return items, !b.closed
}

// next waits for an item, or the end of them: then ok is false.
func (b *inbox[T]) next(t testing.TB, wait time.Duration) (item T, ok bool) {
	t.Helper()
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		b.mu.Lock()
		if len(b.items) > 0 {
			item, b.items = b.items[0], b.items[1:]
			b.mu.Unlock()
			return item, true
		}
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return item, false
		}
		select {
		case <-b.wake:
		case <-late.C:
			t.Fatalf("nothing came within %v", wait)
		}
	}
}

// end waits until nothing more comes, and forgets what was not read.
func (b *inbox[T]) end() {
	for {
		if _, more := b.all(); !more {
			return
		}
		<-b.wake
	}
}

// received is what a client of either kind reads.
type received interface {
	isPing() bool
	text() string // for errors
}

// incoming is how tests read from an open connection, whatever is its kind.
type incoming[T received] struct {
	t        testing.TB
	box      *inbox[T]
	err      error         // how it ended; valid once box has ended
	patience time.Duration // of next
}

func newIncoming[T received](t testing.TB) incoming[T] {
	return incoming[T]{t: t, box: newInbox[T](), patience: patience}
}

// any returns what comes next, pings too. It is false at the end.
func (c *incoming[T]) any(wait time.Duration) (T, bool) {
	c.t.Helper()
	return c.box.next(c.t, wait)
}

// some returns what comes next and is not a ping. It is false at the end.
func (c *incoming[T]) some(wait time.Duration) (T, bool) {
	c.t.Helper()
	for late := time.Now().Add(24 * time.Hour); ; {
		got, ok := c.any(wait)
		if !ok || !got.isPing() {
			return got, ok
		}
		if time.Now().After(late) {
			c.t.Fatal("nothing but pings came for a day")
		}
	}
}

// next is some of what has not ended.
func (c *incoming[T]) next() T {
	c.t.Helper()
	got, ok := c.some(c.patience)
	if !ok {
		c.t.Fatalf("the connection ended: %v", c.err)
	}
	return got
}

// rest returns, in a bubble, what else there is, without pings.
func (c *incoming[T]) rest() []T {
	synctest.Wait()
	all, _ := c.box.all()
	return slices.DeleteFunc(all, T.isPing)
}

// nothing fails if, in a bubble, there is anything but pings.
func (c *incoming[T]) nothing() {
	c.t.Helper()
	for _, got := range c.rest() {
		c.t.Errorf("unexpected %s", got.text())
	}
}

// patience is how long tests wait for what has to come: virtual time in bubbles.
const patience = 20 * time.Second
