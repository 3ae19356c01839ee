package client_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

const (
	renURL      = "http://host.test/api/maravilla/ren"
	realtimeURL = "http://host.test/api/maravilla/realtime"
)

// bubble runs a test in virtual time.
var bubble = testkit.Bubble

// logs is a log that tests can read.
type logs struct{ testkit.Logs }

func (l *logs) logger() *slog.Logger {
	return l.Logger(slog.LevelDebug)
}

// network serves handlers in memory, one after the other.
type network struct {
	t      testing.TB
	listen *memnet.Listener
	http   *http.Client
	logs   *logs

	mu       sync.Mutex
	handler  http.Handler
	requests []*http.Request
}

func newNetwork(t testing.TB, handler http.Handler) *network {
	n := &network{t: t, listen: memnet.Listen(), handler: handler, logs: &logs{}}
	transport := &http.Transport{DialContext: n.listen.Dial, DisableCompression: true}
	n.http = &http.Client{Transport: transport}
	server := &http.Server{Handler: n, ErrorLog: slog.NewLogLogger(n.logs.logger().Handler(), slog.LevelError)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(n.listen) })
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		serving.Wait()
	})
	return n
}

func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	h := n.handler
	n.requests = append(n.requests, r)
	n.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (n *network) serve(h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handler = h
}

// asked returns the requests so far.
func (n *network) asked() []*http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.requests)
}

// host is a network with a real server in it.
type host struct {
	*network
	*realtime.Realtime
	backend *hooked
}

func start(t testing.TB, policy realtime.Policy, opts *realtime.Options) *host {
	t.Helper()
	h := &host{network: newNetwork(t, nil)}
	h.Realtime = h.restart(policy, opts)
	return h
}

// restart puts a new server, with a log of its own, in the place of the one
// before, which is left running.
func (h *host) restart(policy realtime.Policy, opts *realtime.Options) *realtime.Realtime {
	h.t.Helper()
	var o realtime.Options
	if opts != nil {
		o = *opts
	}
	o.Logger = h.logs.logger()
	h.backend = &hooked{Backend: memory.New(memory.Limits{Records: 1 << 16, Bytes: 64 << 20, Age: 5 * time.Minute}), hooks: make(map[string]func())}
	o.Backend = h.backend
	rt, err := realtime.New(policy, &o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = rt.Close(ctx)
	})
	h.serve(rt.Attribute(rt.Handler()))
	h.Realtime = rt
	return rt
}

func (h *host) emit(keys ...string) {
	h.t.Helper()
	for _, key := range keys {
		if err := h.Emit(context.Background(), realtime.KVPut("demo", key)); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *host) publish(channel string, messages ...string) {
	h.t.Helper()
	for _, m := range messages {
		if err := h.Publish(context.Background(), channel, m); err != nil {
			h.t.Fatal(err)
		}
	}
}

// byToken is a policy that lets bearers of tokens in, as the user the token
// names; "bad" and "none" are nobody.
func byToken() realtime.Policy {
	p := realtime.AllowAll()
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		token := testkit.Bearer(r)
		if token == "" || token == "bad" {
			return realtime.Identity{}, errors.New("who is it?")
		}
		return realtime.Identity{User: token}, nil
	}
	return p
}

// tape is what a loop has been told and the test has not read yet, in words.
type tape struct {
	mu    sync.Mutex
	words []string
	done  bool
	stop  context.CancelFunc
}

// record runs a loop in the background until the test ends.
func record[T any](t testing.TB, events func(context.Context) iter.Seq2[T, error], word func(T) string) *tape {
	ctx, cancel := context.WithCancel(context.Background())
	tp := &tape{stop: cancel}
	var loop sync.WaitGroup
	seq := events(ctx)
	loop.Go(func() {
		for ev, err := range seq {
			switch reset := (*realtime.ResetError)(nil); {
			case errors.As(err, &reset):
				tp.add("reset:" + reset.Reason)
			case err != nil:
				tp.add("error:" + err.Error())
			default:
				tp.add(word(ev))
			}
		}
		tp.mu.Lock()
		defer tp.mu.Unlock()
		tp.done = true
	})
	t.Cleanup(func() {
		cancel()
		loop.Wait()
	})
	return tp
}

func (tp *tape) add(word string) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.words = append(tp.words, word)
}

// take returns what came since, once nothing more comes without time passing.
func (tp *tape) take() string {
	synctest.Wait()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	words := tp.words
	tp.words = nil
	return strings.Join(words, " ")
}

func (tp *tape) want(t testing.TB, want string) {
	t.Helper()
	if got := tp.take(); got != want {
		t.Errorf("the loop was told %q, want %q", got, want)
	}
}

func (tp *tape) ended() bool {
	synctest.Wait()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.done
}

func wordOfEvent(ev realtime.RenEvent) string { return ev.Key }

func wordOfMessage(m client.Message) string { return strings.Trim(string(m.Data), `"`) }

func wordOfChange(c client.Change) string {
	word := c.Type + ":" + c.Member.UserID
	if c.Member.Metadata != nil {
		word += string(c.Member.Metadata)
	}
	if c.Reason != "" {
		word += "/" + c.Reason
	}
	return word
}

// newRen returns a client of the REN stream in the network.
func newRen(t testing.TB, opts *client.RenOptions) *client.Ren {
	t.Helper()
	r, err := client.NewRen(renURL, opts)
	must(t, err)
	return r
}

// newRealtime returns a client of the channels in the network.
func newRealtime(t testing.TB, opts *client.RealtimeOptions) *client.Realtime {
	t.Helper()
	rt, err := client.NewRealtime(realtimeURL, opts)
	must(t, err)
	return rt
}

// ren returns a client with a loop that is recorded.
func (n *network) ren(opts *client.RenOptions) (*client.Ren, *tape) {
	n.t.Helper()
	if opts == nil {
		opts = &client.RenOptions{}
	}
	opts.HTTPClient, opts.Logger = n.http, n.logs.logger()
	r := newRen(n.t, opts)
	return r, record(n.t, r.Events, wordOfEvent)
}

// realtime returns a client that is connected.
func (n *network) realtime(opts *client.RealtimeOptions) *client.Realtime {
	n.t.Helper()
	if opts == nil {
		opts = &client.RealtimeOptions{}
	}
	opts.HTTPClient, opts.Logger = n.http, n.logs.logger()
	rt := newRealtime(n.t, opts)
	rt.Connect()
	n.t.Cleanup(func() { rt.Close() })
	synctest.Wait()
	return rt
}

func messages(t testing.TB, rt *client.Realtime, channel string) *tape {
	return record(t, func(ctx context.Context) iter.Seq2[client.Message, error] { return rt.Subscribe(ctx, channel) }, wordOfMessage)
}

func changes(t testing.TB, rt *client.Realtime, channel string) *tape {
	return record(t, rt.Presence(channel).Events, wordOfChange)
}

// later runs f in the background and hands over its error.
func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// states records OnState.
type states struct {
	mu   sync.Mutex
	list []string
}

func (s *states) on(state client.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, string(state))
}

func (s *states) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return strings.Join(list, " ")
}

type eventSeq = iter.Seq2[realtime.RenEvent, error]

// onAppend calls f when the next message of a channel is in the log, before its
// publisher can hear so.
func (h *host) onAppend(channel string, f func()) {
	h.backend.mu.Lock()
	defer h.backend.mu.Unlock()
	h.backend.hooks[channel] = f
}

// hooked is a backend that tells when something was appended, and that cannot say who is
// where while it is unreadable.
type hooked struct {
	backend.Backend
	unreadable atomic.Bool
	mu         sync.Mutex
	hooks      map[string]func()
}

func (b *hooked) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if b.unreadable.Load() && kind == "member" {
		return func(yield func(backend.Item, error) bool) { yield(backend.Item{}, errors.New("connection refused")) }
	}
	return b.Backend.List(ctx, kind, group)
}

func (b *hooked) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	pos, err := b.Backend.Append(ctx, e)
	p, _ := backend.DecodePayload(e.Data) // as it was encoded
	b.mu.Lock()
	f := b.hooks[p.Event.Channel]
	delete(b.hooks, p.Event.Channel)
	b.mu.Unlock()
	if f != nil {
		f()
	}
	return pos, err
}
