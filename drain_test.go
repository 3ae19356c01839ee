package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// lasting is a backend that survives the node.
type lasting struct{ backend.Backend }

func (lasting) Close(context.Context) error { return nil }

// shutDown is how a server ends: as documented at Close.
func (h *host) shutDown(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	h.server.RegisterOnShutdown(func() { _ = h.Close(ctx) })
	return errors.Join(h.server.Shutdown(ctx), h.Close(ctx))
}

// A plain EventSource sees a stream that ends as it should, with the time to come
// back; a WebSocket its code; and Shutdown waits for both.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		stream, s := h.renStalled(get("/ren")), h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		body := make(chan string, 1)
		go func() {
			b, err := io.ReadAll(stream.resp.Body)
			body <- fmt.Sprint(string(b), err)
		}()
		h.publish("room", "accepted")
		began := time.Now()
		if err := h.shutDown(5 * time.Second); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		code, last := s.closed()
		if code != 1012 || len(last) != 2 || string(last[0].Data) != `"accepted"` || *last[1].RetryMs > 5000 {
			t.Errorf("closed with %d, last %+v", code, last)
		}
		got := <-body
		accepted, bye := strings.Index(got, "accepted"), strings.LastIndex(got, "event: ren.bye")
		if accepted < 0 || bye < accepted || !strings.HasSuffix(got, "\n\n<nil>") {
			t.Errorf("the stream ends with %q", got)
		}
		if retry := strings.LastIndex(got, "retry: "); retry < accepted || retry > bye {
			t.Errorf("no retry before the bye: %q", got)
		}
	})
}

// While clients publish, publish is refused, or what it accepts is delivered: by
// this node before it ends, or by the one after it to a client that comes back.
// Nobody who comes back has left meanwhile.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	for round := range figure(2, 50) {
		bubble(t, fmt.Sprint(round), func(t *testing.T) {
			b := lasting{realtime.NewMemory()}
			defer b.Backend.Close(context.Background())
			opts := *forever
			opts.Backend = b
			h := start(t, open(), &opts)
			watch := start(t, open(), &opts).presence() // another node, which stays

			const clients = 20
			var readers []*reader
			for i := range clients {
				r := &reader{user: fmt.Sprint("user", i)}
				r.open(h)
				readers = append(readers, r)
			}
			if got := strings.Count(story(watch), "join"); got != clients {
				t.Fatalf("%d joins", got)
			}
			var written accepted
			for restart := range 3 {
				stop := written.write(h, restart)
				time.Sleep(20 * time.Millisecond)
				if err := h.shutDown(2 * time.Second); err != nil {
					t.Error(err)
				}
				stop()
				h = start(t, open(), &opts)
				for _, r := range readers {
					time.Sleep(r.leave(t)) // as they were told to
					r.open(h)
				}
			}
			synctest.Wait()
			for _, r := range readers {
				r.read()
				for kind, got := range map[string][]string{"WebSocket": r.onSocket, "REN": r.onStream} {
					if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(written.list))) {
						t.Errorf("%s %s: %d of %d accepted messages", r.user, kind, len(got), len(written.list))
					}
				}
			}
			if got := story(watch); got != "" {
				t.Errorf("presence flaps: %s", got)
			}
			time.Sleep(time.Minute)
			if got := story(watch); got != "" {
				t.Errorf("presence flaps later: %s", got)
			}
		})
	}
}

// accepted is what was published without an error.
type accepted struct {
	mu   sync.Mutex
	list []string
}

// write publishes from four goroutines until stop is called.
func (a *accepted) write(h *host, restart int) (stop func()) {
	stopped := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stopped:
					return
				case <-time.After(time.Millisecond):
				}
				msg := fmt.Sprintf("%d.%d.%d", restart, w, i)
				if err := h.Publish(context.Background(), "room", msg); err == nil {
					a.mu.Lock()
					a.list = append(a.list, msg)
					a.mu.Unlock()
				}
			}
		})
	}
	return func() {
		close(stopped)
		writers.Wait()
	}
}

// reader is a user with a WebSocket and a REN stream, who comes back with the
// cursors of both.
type reader struct {
	user               string
	socket             *socket
	stream             *ren
	socketAt, streamAt string
	onSocket, onStream []string
}

func (r *reader) open(h *host) {
	as := "Bearer " + r.user
	r.socket = h.tab(r.user, "room")
	ask := subscribe("room")
	if r.socketAt != "" {
		ask = since("room", r.socketAt)
	}
	r.socketAt = r.socket.call(ask).Cursor
	r.stream = h.ren(get("/ren?s=realtime", "Authorization", as, "Last-Event-ID", r.streamAt))
	r.streamAt = r.stream.hello.Cursor
}

// read takes what came, and returns when the client was told to come back.
func (r *reader) read() (retry time.Duration) {
	synctest.Wait()
	objects, _ := r.socket.box.all()
	for _, o := range objects {
		switch o.Event {
		case "message":
			r.onSocket, r.socketAt = append(r.onSocket, string(o.Data[1:len(o.Data)-1])), o.ID
		case "bye":
			retry = time.Duration(*o.RetryMs) * time.Millisecond
			fallthrough
		case "ping":
			r.socketAt = o.Cursor
		}
	}
	events, _ := r.stream.box.all()
	for _, ev := range events {
		if r.streamAt = ev.ID; ev.Name == "message" {
			r.onStream = append(r.onStream, string(ev.Data[1:len(ev.Data)-1]))
		}
	}
	return retry
}

// leave takes the rest of what a server that has ended said.
func (r *reader) leave(t *testing.T) time.Duration {
	retry := r.read()
	if _, more := r.socket.box.all(); more {
		t.Errorf("%s: the WebSocket has not ended", r.user)
	}
	return retry / 20 // they come back one after the other here, not at once
}

// Subscribing, publishing and connecting while Close runs: each gets an answer or
// an end, and nothing is left.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	for range figure(3, 100) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), noLimits)
			var busy sync.WaitGroup
			for i := range 8 {
				s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
				busy.Go(func() {
					for n := 0; ; n++ {
						time.Sleep(100 * time.Microsecond) // or the bubble's time stands still
						for _, op := range []string{subscribe("room"), `"op":"join","channel":"room"`, publish("room", fmt.Sprint(n)), `"op":"unsubscribe","channel":"room"`} {
							if s.ws.Write(t.Context(), 1, []byte("{"+op+"}")) != nil {
								return
							}
						}
					}
				})
				busy.Go(func() {
					for n := 0; h.Publish(t.Context(), "room", n) == nil; n++ {
						if n%10 == 9 {
							time.Sleep(time.Millisecond)
						}
					}
				})
				busy.Go(func() {
					for {
						req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://host.test/ren", nil)
						resp, err := h.http.Do(req)
						if err != nil {
							return
						}
						resp.Body.Close()
						if resp.StatusCode == http.StatusServiceUnavailable {
							return
						}
						time.Sleep(time.Duration(i+1) * time.Millisecond)
					}
				})
			}
			time.Sleep(5 * time.Millisecond)
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := h.Close(ctx); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("Close: %v after %v", err, time.Since(began))
			}
			busy.Wait()
			if users, _ := h.Remembered(); users != 0 {
				t.Errorf("%d users are left", users)
			}
		})
	}
}

// silent is a backend of which nothing comes through for a while.
type silent struct {
	backend.Backend
	mu      sync.Mutex
	held    [][]backend.Record
	on, err bool
}

func (b *silent) set(on, err bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on, b.err = on, err
}

func (b *silent) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	return b.Backend.Follow(ctx, after, func(recs []backend.Record) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held = append(b.held, recs); b.on {
			return
		}
		for _, recs := range b.held {
			sink(recs)
		}
		b.held = nil
	})
}

func (b *silent) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	if err {
		return backend.Page{}, errors.New("connection refused")
	}
	return b.Backend.Read(ctx, after, limit)
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &silent{Backend: realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b})
		check := func(want string, after time.Duration) {
			t.Helper()
			began := time.Now()
			err := h.Health(context.Background())
			if fmt.Sprint(err) != want || time.Since(began) != after {
				t.Errorf("%v after %v, want %s after %v", err, time.Since(began), want, after)
			}
		}
		check("<nil>", 0)
		h.publish("room", 1)
		check("<nil>", 0)
		b.set(true, false)
		check("<nil>", 0) // nothing is missing yet
		if _, err := b.Append(t.Context(), backend.Entry{Data: []byte("of another node")}); err != nil {
			t.Fatal(err)
		}
		const late = "realtime: the backend has events that do not come through: context deadline exceeded"
		check(late, 2*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Health(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b.set(false, false)
		time.AfterFunc(time.Second, func() { h.publish("room", 2) })
		check("<nil>", time.Second)
		b.set(false, true)
		check("realtime: the backend does not answer: connection refused", 0)
		b.set(false, false)
		check("<nil>", 0)

		// Not ready while it drains, and not after.
		h.renStalled(get("/ren"))
		closed := make(chan error, 1)
		go func() { closed <- h.Close(t.Context()) }()
		synctest.Wait()
		check("realtime: closed", 0)
		<-closed
		check("realtime: closed", 0)
		if err := h.Health(t.Context()); !errors.Is(err, realtime.ErrClosed) {
			t.Error(err)
		}
	})
}

// A function of the host's that does not return cannot keep Close, not even one
// that waits for Close.
func TestCloseLeavesBehind(t *testing.T) {
	closeAll := func(t *testing.T, h *host) {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		began := time.Now()
		if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("Close took %v", d)
		}
	}
	bubble(t, "a handler that does not return", func(t *testing.T) {
		h, release := start(t, open(), nil), make(chan struct{})
		noError(t, h.OnChannel(realtime.ChannelMatch{}, func(context.Context, realtime.RenEvent) error { <-release; return nil }))
		h.publish("room", 1)
		closeAll(t, h)
		close(release)
	})
	bubble(t, "a policy that does not return", func(t *testing.T) {
		policy, release := open(), make(chan struct{})
		policy.Allow = func(context.Context, realtime.Identity, realtime.Action) error { <-release; return nil }
		h := start(t, policy, nil)
		s := h.socket(get("/realtime"))
		s.send("{" + subscribe("room") + "}")
		synctest.Wait()
		closeAll(t, h)
		close(release)
	})
	bubble(t, "a handler that closes", func(t *testing.T) {
		h, closed := start(t, open(), nil), make(chan error, 1)
		noError(t, h.OnChannel(realtime.ChannelMatch{}, func(context.Context, realtime.RenEvent) error {
			closed <- h.Close(context.Background())
			return nil
		}))
		h.publish("room", 1)
		select {
		case err := <-closed:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close returned %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("a handler waits for Close, which waits for the handler")
		}
	})
}
