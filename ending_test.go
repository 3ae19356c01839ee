package realtime_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// A host's fault while connections are closing must not take the process with
// it, which a panic in a goroutine of the library's own would.
func TestPanicInSeeWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
			if string(ev.Data) == `"fault"` {
				panic("host's fault")
			}
			return true
		}
		h := start(t, p, nil)
		s := h.dialStalled(get("/realtime"))
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		s.send(`{` + since("room", string(h.Cursor())) + `}`)
		synctest.Wait() // the server is stuck in writing its hello
		h.publish("room", "fault")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		time.AfterFunc(time.Second, func() { _, _ = io.Copy(io.Discard, s.net) }) // when Close is under way
		_ = h.Close(ctx)
		if !strings.Contains(h.logs.String(), "host's fault") {
			t.Error("the fault is not in the log")
		}
	})
}

// A loop that lags ends as well.
func TestEventsEndsWhileBehind(t *testing.T) {
	for name, end := range map[string]func(*host, context.CancelFunc){
		"context": func(_ *host, cancel context.CancelFunc) { cancel() },
		"Close":   func(h *host, _ context.CancelFunc) { go h.Close(context.Background()) },
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, open(), nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			after := h.Cursor()
			for range 1000 {
				h.emit(realtime.KVPut("n", "k"))
			}
			var last error
			n := 0
			for _, err := range h.EventsAfter(ctx, realtime.EventMatch{}, after) {
				if last = err; n == 10 {
					end(h, cancel)
				}
				n++
				time.Sleep(time.Second)
			}
			if n > 20 || !errors.Is(last, context.Canceled) && !errors.Is(last, realtime.ErrClosed) {
				t.Errorf("ended with %v after %d events", last, n)
			}
		})
	}
}

// Close ends in time though a client with a large backlog reads slowly and the
// caller gave no deadline.
func TestCloseWithoutDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.renStalled(get("/ren"))
		for range 4000 {
			h.publish("room", strings.Repeat("x", 1500))
		}
		stop := make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			for buf := make([]byte, 16<<10); ; time.Sleep(4 * time.Second) {
				if _, err := io.ReadFull(s.resp.Body, buf); err != nil {
					return
				}
			}
		})
		began := time.Now()
		err := h.Close(context.Background())
		if took := time.Since(began); took > 6*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v after %v", err, took)
		}
		close(stop)
		reading.Wait()
	})
}

// A stream's life is bounded however slowly it is read, since its grants are as
// old as it is.
func TestASlowStreamIsRotated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{StreamLife: 10 * time.Second})
		s := h.renStalled(get("/ren"))
		for range 4000 {
			h.publish("room", strings.Repeat("x", 1500))
		}
		began := time.Now()
		for buf := make([]byte, 16<<10); ; time.Sleep(time.Second) {
			if _, err := io.ReadFull(s.resp.Body, buf); err != nil {
				break
			}
		}
		if life := time.Since(began); life > 40*time.Second { // it had 256 KiB on the way
			t.Errorf("the stream lived %v", life)
		}
	})
}

// When a handler has returned, its writer belongs to the server again.
func TestRevokeTouchesNoStreamThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		inner := h.handler
		var ended, touched atomic.Bool
		h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/ren" {
				inner.ServeHTTP(w, r)
				return
			}
			inner.ServeHTTP(&deadlines{ResponseWriter: w, set: func() { touched.Store(touched.Load() || ended.Load()) }}, r)
			ended.Store(true)
		})
		h.serve()
		stream := h.ren(get("/ren", "Authorization", "Bearer ada"))
		h.dialStalled(get("/realtime", "Authorization", "Bearer ada")).send(`{"op":"hello","cid":"` + tab1 + `"}`)
		synctest.Wait()
		if err := h.Revoke(t.Context(), "ada"); err != nil {
			t.Error(err)
		}
		stream.rest()
		time.Sleep(time.Minute)
		if !ended.Load() || touched.Load() {
			t.Errorf("the stream has ended: %v; its writer was touched after that: %v", ended.Load(), touched.Load())
		}
	})
}

type deadlines struct {
	http.ResponseWriter
	set func()
}

func (d *deadlines) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set()
	return http.NewResponseController(d.ResponseWriter).SetWriteDeadline(at)
}

// A user who is revoked while being authenticated is not let in by the old answer. Nobody
// else is turned away.
func TestRevokeWhileArriving(t *testing.T) {
	for revoked, want := range map[string]int{"ada": http.StatusServiceUnavailable, "bob": http.StatusOK} {
		bubble(t, revoked, func(t *testing.T) {
			p := open()
			inner := p.Authenticate
			p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
				id, err := inner(r)
				time.Sleep(time.Second)
				return id, err
			}
			h := start(t, p, nil)
			time.AfterFunc(time.Second/2, func() { _ = h.Revoke(context.Background(), revoked) })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			resp := h.do(ctx, get("/ren", "Authorization", "Bearer ada"))
			if resp.StatusCode != want {
				t.Errorf("%s, want %d", resp.Status, want)
			}
		})
	}
}

// shaky is a backend whose presence fails as an engine across a network may: it
// does what it is asked and cannot say so, or does nothing for a while.
type shaky struct {
	backend.Backend
	joins, leaves, refuses atomic.Bool
}

func (b *shaky) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if b.refuses.Load() && w.Kind == "member" {
		return 0, errors.New("connection lost")
	}
	rev, err := b.Backend.Put(ctx, w)
	if b.joins.Load() && w.Kind == "member" {
		return 0, backend.ErrMaybeStored
	}
	return rev, err
}

func (b *shaky) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	if b.leaves.Load() {
		return errors.New("connection lost")
	}
	return b.Backend.Delete(ctx, k, rev, e)
}

// However the backend fails, nobody stays present for ever.
func TestNoGhostsOfAFailingBackend(t *testing.T) {
	for _, fault := range []string{"join", "leave"} {
		bubble(t, fault, func(t *testing.T) {
			b := &shaky{Backend: realtime.NewMemory()}
			h := start(t, open(), &realtime.Options{Backend: b})
			b.joins.Store(fault == "join")
			s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
			s.call(`"op":"join","channel":"room"`)
			if members, _ := h.Presence().Members(t.Context(), "room"); len(members) != 1 {
				t.Fatalf("members: %v", members)
			}
			b.leaves.Store(fault == "leave")
			s.drop()
			time.Sleep(time.Minute)
			b.leaves.Store(false)
			time.Sleep(time.Minute)
			if members, _ := h.Presence().Members(t.Context(), "room"); len(members) != 0 {
				t.Errorf("still there: %v", members)
			}
		})
	}
}

// A client is not turned away for the faults of the backend.
func TestBackendFailuresAreNoErrorsOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &shaky{Backend: realtime.NewMemory()}
		b.refuses.Store(true)
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		for range 50 {
			if o := s.call(`"op":"join","channel":"room"`); o.Code != "unavailable" || o.Retry == nil || !*o.Retry {
				t.Fatalf("%s", o.raw)
			}
		}
		s.ok(`"op":"ping"`)
	})
}

// A flood ends the connection: refusing message after message costs as much as
// serving them.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		go func() {
			for s.ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"ping"}`)) == nil {
			}
		}()
		if code, _ := s.closed(); code != 1008 {
			t.Errorf("closed with %d", code)
		}
	})
}

// Options that cannot work are refused, and the error names the field.
func TestBadOptions(t *testing.T) {
	type limits = realtime.Limits
	const most = 8<<20 - 256<<10
	for name, o := range map[string]realtime.Options{
		"Heartbeat": {Heartbeat: -1}, "StreamLife": {StreamLife: 1}, "WriteTimeout": {WriteTimeout: -1},
		"Presence.Lease": {Presence: realtime.PresenceOptions{Lease: -1}},
		"History.Age":    {History: realtime.History{Age: time.Millisecond - 1}}, "History.Events": {History: realtime.History{Events: -1}},
		"History.Bytes": {History: realtime.History{Bytes: 512 << 10}}, "Limits.Metadata": {Limits: limits{Metadata: 60<<10 + 1}},
		"Limits.Publish": {Limits: limits{Publish: most + 1}}, "Limits.Message": {Limits: limits{Message: most + 1}},
	} {
		if rt, err := realtime.New(realtime.Policy{}, &o); err == nil {
			t.Errorf("%+v is accepted", o)
			rt.Close(t.Context())
		} else if !strings.Contains(err.Error(), "Options."+name+" ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	transactional := struct {
		backend.Backend
		backend.Transactional // whose events may have 1 MiB
	}{Backend: realtime.NewMemory()}
	for _, o := range []realtime.Options{
		{History: realtime.History{Bytes: 4*most - 1}, Limits: limits{Publish: most}},
		{History: realtime.History{Bytes: -1}, Limits: limits{Publish: most}},
		{History: realtime.History{Bytes: 4<<20 - 1}, Limits: limits{Publish: 1 << 10}, Backend: transactional},
	} {
		if rt, err := realtime.New(realtime.Policy{}, &o); err == nil {
			t.Errorf("%+v is accepted", o)
			rt.Close(t.Context())
		}
	}
	o := realtime.Options{History: realtime.History{Bytes: 4 << 20}, Limits: limits{Publish: 1 << 10}, Backend: transactional}
	rt, err := realtime.New(realtime.Policy{}, &o)
	noError(t, err)
	noError(t, rt.Close(t.Context()))
}

// The largest messages that the options permit reach everybody who reads at once,
// however small the history is for them, and some at a time.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]realtime.Options{
		"bytes":  {History: realtime.History{Bytes: 8 * 600_000}, Limits: realtime.Limits{Publish: 600_000}},
		"events": {History: realtime.History{Events: 1}, Limits: realtime.Limits{Publish: 600_000}},
		"most":   {Limits: realtime.Limits{Publish: 8<<20 - 256<<10}},
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, open(), &o)
			var handled atomic.Int64
			noError(t, h.OnChannel(realtime.ChannelMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
				handled.Add(int64(len(ev.Data)))
				return nil
			}))
			stream, s := h.ren(get("/ren")), h.socket(get("/realtime"))
			s.ok(subscribe("room"))
			data := strings.Repeat("x", o.Limits.Publish-2)
			burst := 2
			if o.History.Events == 1 {
				burst = 1
			}
			for range 3 {
				for range burst {
					h.publish("room", data)
				}
				for range burst {
					if got := s.data(1); len(got) != o.Limits.Publish {
						t.Errorf("the WebSocket got %.20s", got)
					}
					if got := stream.keys(1); len(got) != o.Limits.Publish {
						t.Errorf("the stream got %.20s", got)
					}
				}
				synctest.Wait()
			}
			if n := handled.Load(); n != int64(3*burst*o.Limits.Publish) {
				t.Errorf("%d bytes were handled", n)
			}
		})
	}
}
