package realtime_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// hanging is a backend of which some methods hang: until their context ends, or,
// where it is deaf, until it is released.
type hanging struct {
	backend.Backend
	deaf bool

	mu    sync.Mutex
	hangs map[string]chan struct{}
}

func (b *hanging) hang(methods ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hangs = make(map[string]chan struct{})
	for _, m := range methods {
		b.hangs[m] = make(chan struct{})
	}
}

func (b *hanging) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, hang := range b.hangs {
		close(hang)
	}
	b.hangs = nil
}

func (b *hanging) wait(ctx context.Context, method string) error {
	b.mu.Lock()
	hang := b.hangs[method]
	b.mu.Unlock()
	if hang == nil {
		return nil
	}
	if b.deaf {
		<-hang
		return nil
	}
	select {
	case <-hang:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *hanging) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if err := b.wait(ctx, "Append"); err != nil {
		return backend.Position{}, err
	}
	return b.Backend.Append(ctx, e)
}

func (b *hanging) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	return b.Backend.Follow(ctx, after, func(recs []backend.Record) {
		if b.wait(ctx, "Follow") == nil {
			sink(recs)
		}
	})
}

func (b *hanging) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if err := b.wait(ctx, "Read"); err != nil {
		return backend.Page{}, err
	}
	return b.Backend.Read(ctx, after, limit)
}

func (b *hanging) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if err := b.wait(ctx, "Get "+k.Kind); err != nil {
		return backend.Item{}, err
	}
	return b.Backend.Get(ctx, k)
}

func (b *hanging) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		if err := b.wait(ctx, "List "+kind); err != nil {
			yield(backend.Item{}, err)
			return
		}
		b.Backend.List(ctx, kind, group)(yield)
	}
}

func (b *hanging) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if err := b.wait(ctx, "Put "+w.Kind); err != nil {
		return 0, err
	}
	return b.Backend.Put(ctx, w)
}

func (b *hanging) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	if err := b.wait(ctx, "Delete "+k.Kind); err != nil {
		return err
	}
	return b.Backend.Delete(ctx, k, rev, e)
}

func (b *hanging) Close(ctx context.Context) error {
	if err := b.wait(ctx, "Close"); err != nil {
		return err
	}
	return b.Backend.Close(ctx)
}

// everyMethod are those of a backend that return by themselves, those of the store
// with what they are about.
var everyMethod = []string{
	"Append", "Follow", "Read", "Close", "Get member", "Put member", "Delete member", "List member",
	"Get node", "Put node", "Delete node", "List node", "Get group", "Put group",
}

// hangs runs a test with a backend that obeys its contexts, and one that does not.
func hangs(t *testing.T, policy realtime.Policy, f func(t *testing.T, h *host, b *hanging)) {
	for name, deaf := range map[string]bool{"obeys": false, "deaf": true} {
		bubble(t, name, func(t *testing.T) {
			b := &hanging{Backend: lasting{realtime.NewMemory()}, deaf: deaf}
			defer b.Backend.(lasting).Backend.Close(context.Background())
			h := start(t, policy, &realtime.Options{Backend: b})
			f(t, h, b)
			b.release()
			synctest.Wait()
		})
	}
}

// within calls f, which has to return within 5 s.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	began := time.Now()
	err := f()
	if took := time.Since(began); took >= 5*time.Second {
		t.Errorf("%s took %v", what, took)
	}
	return err
}

// Whatever hangs, calls of the Go API return within 5 s, with an error that says
// whether something has perhaps happened.
func TestCallsOfABackendThatHangs(t *testing.T) {
	hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
		write, p := realtime.ErrTemporary, h.Presence()
		if b.deaf {
			write = realtime.ErrMaybeStored
		}
		b.hang(everyMethod...)
		ctx := context.Background()
		for what, c := range map[string]struct {
			f    func() error
			want error
		}{
			"Publish":  {func() error { return h.Publish(ctx, "room", 1) }, write},
			"Emit":     {func() error { return h.Emit(ctx, realtime.KVPut("n", "k")) }, write},
			"Join":     {func() error { return p.Join(ctx, "room", "ada", nil) }, write},
			"Leave":    {func() error { return p.Leave(ctx, "room", "ada") }, realtime.ErrTemporary},
			"Members":  {func() error { _, err := p.Members(ctx, "room"); return err }, realtime.ErrTemporary},
			"Channels": {func() error { _, err := h.Channels(ctx); return err }, realtime.ErrTemporary},
			"Health":   {func() error { return h.Health(ctx) }, realtime.ErrTemporary},
		} {
			err := within(t, what, c.f)
			if !errors.Is(err, c.want) || errors.Is(err, realtime.ErrMaybeStored) != (c.want == realtime.ErrMaybeStored) {
				t.Errorf("%s: %v", what, err)
			}
		}
		canceled, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		if err := h.Publish(canceled, "room", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("a context that was cancelled: %v", err)
		}
	})
}

// A client is told that the engine does not answer, and its connection goes on.
func TestWSOfABackendThatHangs(t *testing.T) {
	t.Parallel()
	for method, ops := range map[string][]string{
		"Append":        {publish("room", "1"), publish("room", "2")},
		"Put member":    {`"op":"join","channel":"room"`, `"op":"update","channel":"here","metadata":1`},
		"Delete member": {`"op":"leave","channel":"here"`},
		"List member":   {subscribe("room") + withPresence},
		"Read":          {subscribe("room") + withPresence},
	} {
		t.Run(method, func(t *testing.T) {
			hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
				s := h.socket(get("/realtime", "Authorization", asAda))
				for range 3 { // however its pings fall
					s.ok(`"op":"join","channel":"here"`) // a leave that failed is made up for
					b.hang(method)
					for _, op := range ops {
						_ = within(t, op, func() error {
							if o := s.call(op); o.Code != "unavailable" || !*o.Retry {
								t.Errorf("%s: %s", op, o.raw)
							}
							return nil
						})
					}
					time.Sleep(time.Minute)
					b.release()
					s.ok(`"op":"ping"`)
				}
				s.ok(publish("elsewhere", "1"))
				if log := h.logs.String(); !strings.Contains(log, "did not answer") {
					t.Errorf("the log does not tell: %s", log)
				}
			})
		})
	}
	t.Run("Touch", func(t *testing.T) { // is not what the client asked for
		hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
			s := h.socket(get("/realtime", "Authorization", asAda))
			s.ok(`"op":"join","channel":"room"`)
			time.Sleep(time.Minute) // a touch is stored once in 30 s
			b.hang("Get member", "Put member")
			_ = within(t, "publish", func() error { s.ok(publish("room", "1")); return nil })
		})
	})
}

// A call that hangs costs neither the node its lease nor the members it has; what
// could not be ended is ended when that is possible, once, and not before its time.
func TestLeaseOfABackendThatHangs(t *testing.T) {
	t.Parallel()
	hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
		other := start(t, open(), &realtime.Options{Backend: b.Backend, StreamLife: forever.StreamLife})
		watch := other.presence()
		eve, bob := h.tab("eve", "room"), h.tab("bob", "room")
		ada := h.tab("ada", "room")
		b.hang("Put member", "Delete member", "List member")
		bob.drop()
		ada.leave()
		time.Sleep(10 * time.Minute)
		if got := story(watch); got != "eve join, bob join, ada join" {
			t.Errorf("told %q", got)
		}
		b.release()
		time.Sleep(time.Minute)
		if got := story(watch); got != "bob leave timeout, ada leave closed" && got != "ada leave closed, bob leave timeout" {
			t.Errorf("then told %q", got)
		}
		eve.ok(`"op":"ping"`)
	})
}

// A grace is not over because the backend could not be told of it at once.
func TestGraceOfABackendThatHangs(t *testing.T) {
	hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
		watch := h.presence()
		b.hang("Delete member")
		h.tab("ada", "room").drop()
		time.Sleep(4 * time.Second)
		b.release()
		time.Sleep(9 * time.Second) // of 15
		if got := story(watch); got != "ada join" {
			t.Errorf("told %q", got)
		}
		time.Sleep(10 * time.Second)
		if got := story(watch); got != "ada leave timeout" {
			t.Errorf("told %q", got)
		}
	})
}

// Close takes no longer for calls that do not return.
func TestCloseOfABackendThatHangsEverywhere(t *testing.T) {
	hangs(t, open(), func(t *testing.T, h *host, b *hanging) {
		noError(t, h.Group("g", nil, func(g *realtime.Group) error {
			return g.OnChannel(realtime.ChannelMatch{}, func(context.Context, realtime.RenEvent) error { return nil })
		}))
		s := h.tab("ada", "room")
		synctest.Wait()
		b.hang(everyMethod...)
		s.ask(subscribe("room") + withPresence)
		s.ask(publish("room", "1"))
		go func() { _ = h.Publish(context.Background(), "room", 2) }()
		time.Sleep(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		_ = h.Close(ctx)
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// stuckPolicy hangs for the user "stuck", for actions on "stuck" and, if it is to, for
// grants: until its context ends or, if it is deaf, until it is released.
type stuckPolicy struct {
	deaf    bool
	release chan struct{}
	grants  atomic.Bool
}

func (s *stuckPolicy) hang(ctx context.Context) error {
	if s.deaf {
		<-s.release
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *stuckPolicy) policy() realtime.Policy {
	p := open()
	authenticate, grants := p.Authenticate, p.Grants
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		if testkit.Bearer(r) == "stuck" {
			return realtime.Identity{}, s.hang(r.Context())
		}
		return authenticate(r)
	}
	p.Allow = func(ctx context.Context, _ realtime.Identity, a realtime.Action) error {
		if a.Name == "stuck" {
			return s.hang(ctx)
		}
		return nil
	}
	p.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
		if s.grants.Load() {
			return nil, s.hang(ctx)
		}
		return grants(ctx, id)
	}
	return p
}

// A policy that hangs refuses for now, on every way in, and holds up nobody else.
func TestPolicyThatHangs(t *testing.T) {
	for name, deaf := range map[string]bool{"obeys": false, "deaf": true} {
		bubble(t, name, func(t *testing.T) {
			stuck := &stuckPolicy{deaf: deaf, release: make(chan struct{})}
			h := start(t, stuck.policy(), nil)
			upgrade := get("/realtime", "Authorization", "Bearer stuck", "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
			refusedFor := func(what string, r request) {
				began := time.Now()
				status, f := h.refused(r)
				if took := time.Since(began); status != http.StatusServiceUnavailable || f.Code != "unavailable" || !*f.Retry || took > 6*time.Second {
					t.Errorf("%s: %d %+v after %v", what, status, f, took)
				}
			}
			refusedFor("upgrade", upgrade)
			refusedFor("REN", get("/ren", "Authorization", "Bearer stuck"))
			stuck.grants.Store(true)
			refusedFor("Grants", get("/ren"))
			stuck.grants.Store(false)
			if _, err := h.Authorize(authorized("stuck"), realtime.Action{}); !temporary(err) {
				t.Errorf("Authorize: %v", err)
			}

			s := h.dial(get("/realtime?auth=hello"))
			s.send(`{"op":"hello","cid":"` + tab1 + `","token":"stuck"}`)
			if o := s.want("error"); o.Code != "unavailable" || !*o.Retry {
				t.Errorf("hello: %s", o.raw)
			}
			s = h.socket(get("/realtime", "Authorization", asAda))
			for _, op := range []string{subscribe("stuck"), publish("stuck", "1"), `"op":"join","channel":"stuck"`} {
				if o := s.call(op); o.Code != "unavailable" || !*o.Retry {
					t.Errorf("%s: %s", op, o.raw)
				}
			}
			s.ok(subscribe("room"))
			if log := h.logs.String(); !strings.Contains(log, "function=Authenticate") || !strings.Contains(log, "function=Allow") {
				t.Errorf("the log does not tell: %s", log)
			}
			close(stuck.release)
			synctest.Wait()
		})
	}
}

func authorized(token string) *http.Request {
	r, _ := http.NewRequest(http.MethodGet, "http://host.test/", nil) // a good URL
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func temporary(err error) bool {
	var refused *realtime.RefusedError
	return errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.Retry
}
