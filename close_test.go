package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// While handlers finish, what they cause is accepted and delivered, and nothing
// else: publishers without end cannot keep Close.
func TestCloseRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, finish := start(t, open(), nil), &calls{}, make(chan struct{})
		noError(t, h.OnChannel(realtime.ChannelMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
			c.add("handled " + ev.Channel)
			if ev.Channel != "room" {
				return nil
			}
			<-finish
			return errors.Join(h.Publish(ctx, "effect", 1), h.Presence().Join(ctx, "effect", "bob", nil))
		}))
		follower, writer := h.socket(get("/realtime")), h.socket(get("/realtime", "Authorization", "Bearer ada"))
		follower.ok(subscribe("room"), subscribe("effect"))
		writer.ok(`"op":"join","channel":"room"`)
		h.publish("room", 1)
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- h.Close(t.Context()) }()
		synctest.Wait()
		for what, err := range map[string]error{
			"Publish": h.Publish(t.Context(), "room", 2),
			"Emit":    h.Emit(t.Context(), realtime.KVPut("n", "k")),
			"Join":    h.Presence().Join(t.Context(), "room", "bob", nil),
		} {
			if !errors.Is(err, realtime.ErrClosed) {
				t.Errorf("%s while Close runs: %v", what, err)
			}
		}
		// A client that has something to say is sent to another server, where it says it.
		writer.ask(publish("room", "3"))
		if code, last := writer.closed(); code != 1012 || len(last) != 1 || last[0].Event != "bye" || *last[0].RetryMs <= 0 {
			t.Errorf("the client that publishes is closed with %d, %+v", code, last)
		}
		if err := h.Presence().Leave(t.Context(), "room", "bob"); err != nil {
			t.Errorf("Leave while Close runs: %v", err)
		}
		close(finish)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		code, last := follower.closed()
		if code != 1012 || len(last) != 3 || last[0].Channel != "room" || last[1].Channel != "effect" || last[2].Event != "bye" {
			t.Errorf("the follower is closed with %d, %+v", code, last)
		}
		c.wantSorted(t, "handled effect", "handled room")
	})
}

// hesitant is a backend that takes its time to append.
type hesitant struct {
	backend.Backend
	wait time.Duration
}

func (b hesitant) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	time.Sleep(b.wait)
	return b.Backend.Append(ctx, e)
}

// An event that is on its way into the log when Close is called is accepted, so it must
// be delivered.
func TestCloseDeliversWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Backend: hesitant{realtime.NewMemory(), time.Second}})
		stream, accepted := h.ren(get("/ren")), make(chan error, 1)
		go func() { accepted <- h.Publish(t.Context(), "room", "late") }()
		synctest.Wait()
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-accepted; err != nil {
			t.Errorf("Publish: %v", err)
		}
		if got := stream.keys(2); got != `"late" ren.bye` {
			t.Errorf("the stream ends with %s", got)
		}
	})
}

// A backend that hangs does not take the time that connections need to end, and
// who waits for it is told that it hangs.
func TestCloseOfABackendThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Backend: hesitant{realtime.NewMemory(), time.Hour}})
		stream, accepted := h.ren(get("/ren")), make(chan error, 1)
		go func() { accepted <- h.Publish(t.Context(), "room", "lost") }()
		synctest.Wait()
		began := time.Now()
		if err := h.Close(t.Context()); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("Close returned %v after %v", err, time.Since(began))
		}
		if got := stream.keys(1); got != "ren.bye" {
			t.Errorf("the stream ends with %s", got)
		}
		if err := <-accepted; !errors.Is(err, realtime.ErrMaybeStored) || time.Since(began) > 5*time.Second {
			t.Errorf("Publish: %v after %v", err, time.Since(began))
		}
		if log := h.logs.String(); !strings.Contains(log, "does not return") {
			t.Errorf("the log does not tell: %s", log)
		}
		time.Sleep(time.Hour) // the abandoned call returns
	})
}

// Another node may publish faster than the connections of this one get it: they
// end with what was there when they were told to.
func TestCloseEndsBehindWhatWasThere(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"REN", "WebSocket"} {
		bubble(t, kind, func(t *testing.T) {
			b := lasting{realtime.NewMemory()}
			defer b.Backend.Close(context.Background())
			other := start(t, open(), &realtime.Options{Backend: b})
			const backlog = 2000
			var seen atomic.Int64
			policy := open()
			policy.See = func(realtime.Identity, realtime.RenEvent) bool {
				seen.Add(1)
				time.Sleep(time.Millisecond)
				other.publish("room", "more")
				return true
			}
			h := start(t, policy, &realtime.Options{Backend: b})
			cursor := string(h.Cursor())
			for range backlog {
				other.publish("room", "there")
			}
			synctest.Wait() // until this node has it
			ended := make(chan int, 1)
			if kind == "REN" {
				stream := h.ren(get("/ren", "Last-Event-ID", cursor))
				go func() { stream.box.end(); ended <- 1012 }()
			} else {
				s := h.socket(get("/realtime"))
				s.ok(since("room", cursor))
				go func() { code, _ := s.closed(); ended <- code }()
			}
			if seen.Load() == backlog {
				t.Fatal("Close has nothing to wait for")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := h.Close(ctx); err != nil {
				t.Error(err)
			}
			if code := <-ended; code != 1012 {
				t.Errorf("closed with %d", code)
			}
			if n := seen.Load(); n < backlog || n > backlog+1024 { // some batches
				t.Errorf("%d events were delivered, %d had to be", n, backlog)
			}
		})
	}
}

// However many functions of the host's do not return, and wherever, Close waits
// 2 s longer than it was to, and their contexts have ended by then.
func TestCloseLeavesBehindOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, release := open(), make(chan struct{})
		policy.Allow = func(context.Context, realtime.Identity, realtime.Action) error { <-release; return nil }
		h, told := start(t, policy, nil), make(chan time.Time, 1)
		noError(t, h.OnChannel(realtime.ChannelMatch{}, func(ctx context.Context, _ realtime.RenEvent) error {
			<-ctx.Done()
			told <- time.Now()
			// Nobody would deliver it.
			if err := h.Publish(context.WithoutCancel(ctx), "room", 2); !errors.Is(err, realtime.ErrClosed) {
				t.Errorf("Publish of a handler that is late: %v", err)
			}
			<-release
			return nil
		}))
		h.publish("room", 1)
		h.socket(get("/realtime")).ask(subscribe("room"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began := time.Now()
		if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		if took, after := time.Since(began), (<-told).Sub(began); took != 6*time.Second || after > 4*time.Second {
			t.Errorf("Close took %v; the handler was told after %v", took, after)
		}
		close(release)
	})
}

// A connection that is dropped looks no further for what it might deliver.
func TestCloseDropsWhatHasNothingToSay(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"REN", "WebSocket"} {
		bubble(t, kind, func(t *testing.T) {
			policy := open()
			var hidden atomic.Int64
			policy.See = func(realtime.Identity, realtime.RenEvent) bool {
				hidden.Add(1)
				time.Sleep(time.Millisecond)
				return false
			}
			h := start(t, policy, nil)
			const backlog = 20_000 // takes 20 s
			cursor := string(h.Cursor())
			for range backlog {
				h.publish("room", 1)
			}
			if kind == "REN" {
				h.ren(get("/ren", "Last-Event-ID", cursor))
			} else {
				h.socket(get("/realtime")).ok(since("room", cursor))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := h.Close(ctx)
			if n := hidden.Load(); !errors.Is(err, context.DeadlineExceeded) || n > 2000+1024 { // some batches
				t.Errorf("%v, after a look at %d events", err, n)
			}
		})
	}
}

// Once what handlers cause is refused, none begins, and it is held against none
// that they fail: another node handles the event.
func TestCloseFailsNoHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lasting{realtime.NewMemory()}
		defer b.Backend.Close(context.Background())
		c, begun, finish := &calls{}, make(chan struct{}), make(chan struct{})
		node := func(name string) *host {
			h := start(t, open(), &realtime.Options{Backend: b})
			opts := &realtime.GroupOptions{Attempts: 1, DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
				c.add("dead " + d.Event.Key)
			}}
			noError(t, h.Group("g", opts, func(g *realtime.Group) error {
				return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
					if ev.Type == "kv.put" && ev.Key == "slow" && name == "first" {
						close(begun)
						<-finish
					}
					if ev.Type == "kv.put" { // else there is nothing that could fail
						if err := h.Publish(ctx, "effect", 1); err != nil {
							return err
						}
					}
					c.add(name + " handled " + ev.Type + " " + ev.Key)
					return nil
				})
			}))
			synctest.Wait()
			return h
		}
		first := node("first")
		second := node("second")
		first.renStalled(get("/ren")) // keeps Close until its time is over
		second.emit(realtime.KVPut("n", "slow"))
		second.emit(realtime.KVDelete("n", "slow"))
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		time.AfterFunc(3*time.Second, func() {
			second.emit(realtime.KVPut("n", "other"))
			close(finish)
		})
		_ = first.Close(ctx)
		time.Sleep(time.Minute)
		c.wantSorted(t, "second handled kv.delete slow", "second handled kv.put other", "second handled kv.put slow")
	})
}

// When the handlers are done, another node can take their group over at once, and need
// not wait for the slowest connection to end.
func TestCloseGivesGroupsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lasting{realtime.NewMemory()}
		defer b.Backend.Close(context.Background())
		handled := make(chan string, 1)
		node := func(name string) *host {
			h := start(t, open(), &realtime.Options{Backend: b})
			noError(t, h.Group("g", nil, func(g *realtime.Group) error {
				return g.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error {
					handled <- name
					return nil
				})
			}))
			synctest.Wait()
			return h
		}
		first := node("first")
		second := node("second")
		first.renStalled(get("/ren")) // keeps Close for 10 s
		closed := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { first.Close(ctx); close(closed) }()
		synctest.Wait()
		second.emit(realtime.KVPut("n", "k"))
		select {
		case name := <-handled:
			if name != "second" {
				t.Errorf("handled by the %s", name)
			}
		case <-closed:
			t.Error("nobody handles anything while Close runs")
		}
		<-closed
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var sockets []*socket
		var streams []*ren
		for range 20 {
			s := h.socket(get("/realtime"))
			s.ok(subscribe("room"))
			sockets, streams = append(sockets, s), append(streams, h.ren(get("/ren")))
		}
		h.publish("room", "accepted")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		began := time.Now()
		if err := h.Close(ctx); err != nil || time.Since(began) > time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(began))
		}
		delays := map[int64]bool{}
		check := func(kind, reason, cursor string, retry int64) {
			delays[retry] = true
			if reason != "closing" || cursor == "" || retry < 0 || retry > 8000 {
				t.Errorf("%s: bye %s %q %d", kind, reason, cursor, retry)
			}
		}
		for i, s := range sockets {
			code, last := s.closed()
			if len(last) != 2 || last[0].Event != "message" || last[1].Event != "bye" || code != 1012 {
				t.Fatalf("closed with %d, last %+v", code, last)
			}
			check("WebSocket", last[1].Reason, last[1].Cursor, *last[1].RetryMs)
			if got := streams[i].keys(1); got != `"accepted"` {
				t.Error(got)
			}
			bye := streams[i].next()
			check("REN", bye.Reason, bye.Cursor, bye.RetryMs)
			if bye.Name != "ren.bye" || bye.Retry != time.Duration(bye.RetryMs)*time.Millisecond {
				t.Errorf("%s with retry %v", bye.Raw, bye.Retry)
			}
			streams[i].ended()
		}
		if len(delays) < 20 {
			t.Errorf("40 clients come back after %d different delays", len(delays))
		}
		for _, ask := range []request{get("/ren"), get("/realtime", upgrade...)} {
			if status, f := h.refused(ask); status != 503 || f.Code != "closing" || !*f.Retry {
				t.Errorf("%s: %d %+v", ask.path, status, f)
			}
		}
	})
}

// Clients that do not react cannot make Close wait longer than it may.
func TestCloseDropsTheDeaf(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{0, 2 * time.Second} {
		bubble(t, limit.String(), func(t *testing.T) {
			h := start(t, open(), nil)
			for range 20 {
				h.renStalled(get("/ren"))
				h.dialStalled(get("/realtime")).send(`{"op":"hello","cid":"` + tab1 + `"}`)
			}
			for range 300 {
				h.publish("room", strings.Repeat("x", 500)) // so that streams are stuck in the middle
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			err := h.Close(ctx)
			if err == nil || time.Since(began) > limit+100*time.Millisecond {
				t.Errorf("Close: %v after %v, want an error after %v", err, time.Since(began), limit)
			}
		})
	}
}

// Close with a context that has ended, while streams are idle, so that each of
// them says goodbye to a client that does not listen.
func TestCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for range 50 {
			s := h.renStalled(get("/ren"))
			_, _ = s.resp.Body.Read(make([]byte, 1000)) // hello: the server waits for events now
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := h.Close(ctx); err == nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("Close: %v after %v, want an error at once", err, time.Since(began))
		}
	})
}

// Connections that open while Close drops others.
func TestCloseWhileConnecting(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), nil)
			var dialing sync.WaitGroup
			for range 8 {
				dialing.Go(func() {
					req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://host.test/realtime", nil)
					req.Header = get("", upgrade...).header
					if resp, err := h.http.Do(req); err == nil {
						resp.Body.Close()
					}
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = h.Close(ctx)
			dialing.Wait()
		})
	}
}
