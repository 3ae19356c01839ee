package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

var bothWays = []realtime.Hijack{realtime.HijackNever, realtime.HijackAlways}

// overTCP returns a host over the loopback interface, and how to dial it.
func overTCP(t *testing.T, opts *realtime.Options) (h *host, dial func() *socket) {
	h = start(t, open(), opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h.handler}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return h, func() *socket {
		return h.dialOver(func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}, get("/realtime"))
	}
}

// greeted is a socket that reads and has said hello.
func greeted(s *socket) *socket {
	s.pump()
	s.greet()
	return s
}

// goroutines returns the stacks of the goroutines that have to do with WebSockets of a
// server.
func goroutines(t *testing.T) (stacks []string) {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, "realtime.(*socket)") || strings.Contains(stack, "wsconn.") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); !cond(); {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not within %v: %s\n%s", patience, what, strings.Join(goroutines(t), "\n\n"))
		}
	}
}

// A WebSocket that waits has no goroutine, neither before nor after it had something to
// read and to write, and its end is noticed.
func TestIdleWebSocketsHaveNoGoroutine(t *testing.T) {
	opts := &realtime.Options{Hijack: realtime.HijackAlways}
	use := func(t *testing.T, h *host, dial func() *socket, idle func()) {
		var all []*socket
		for range 10 {
			all = append(all, greeted(dial()))
		}
		for range 3 {
			for _, s := range all {
				s.ok(subscribe("room"), `"op":"ping"`)
			}
			h.publish("room", 1)
			for _, s := range all {
				s.want("message")
			}
			idle()
		}
		for i, s := range all {
			if i%2 == 0 {
				s.leave()
			} else {
				s.drop()
			}
		}
		idle()
	}
	bubble(t, "in memory", func(t *testing.T) {
		h := start(t, open(), opts)
		use(t, h, func() *socket { return h.dialStalled(get("/realtime")) }, func() {
			synctest.Wait()
			for _, stack := range goroutines(t) {
				t.Error(stack)
			}
		})
		if n := len(slices.Collect(h.Connections())); n > 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	t.Run("over TCP", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("there is no poller on " + runtime.GOOS)
		}
		h, dial := overTCP(t, opts)
		use(t, h, dial, func() { eventually(t, "no goroutines", func() bool { return len(goroutines(t)) == 0 }) })
		eventually(t, "no connections", func() bool { return len(slices.Collect(h.Connections())) == 0 })
	})
}

// Whatever pieces the bytes of a client come in, they are the same messages.
func TestWSPieces(t *testing.T) {
	t.Parallel()
	use := func(t *testing.T, s *socket, messages int, idle func()) {
		seed := mathrand.Uint64()
		rnd := mathrand.New(mathrand.NewPCG(seed, 0))
		answered := int64(0)
		for ref := range int64(messages) {
			op := fmt.Appendf(nil, `{"op":"ping","ref":%d,"pad":"%s"}`, ref, strings.Repeat("x", rnd.IntN(300)))
			cut := rnd.IntN(len(op))
			raw := slices.Concat([][][]byte{
				{frame(0x81, true, op)},
				{frame(0x89, true, []byte("here?")), frame(0x81, true, op)},
				{frame(0x81, true, op), frame(0x8A, true, nil)},
				{frame(1, true, op[:cut]), frame(0x89, true, nil), frame(0x80, true, op[cut:])},
			}[rnd.IntN(4)]...)
			for len(raw) > 0 {
				n := 1 + rnd.IntN(min(len(raw), 60))
				if _, err := s.net.Write(raw[:n]); err != nil {
					t.Fatal(err)
				}
				if raw = raw[n:]; rnd.IntN(2) == 0 {
					idle()
				}
			}
			for rnd.IntN(3) == 0 && answered <= ref || answered <= ref-10 {
				if o := s.next(); o.Event != "ok" || o.Ref == nil || *o.Ref != answered {
					t.Fatalf("seed %d: %s, want the answer to %d", seed, o.raw, answered)
				}
				answered++
			}
		}
	}
	for _, hijack := range bothWays {
		opts := &realtime.Options{Limits: noLimits.Limits, Hijack: hijack}
		bubble(t, fmt.Sprint("in memory, ", hijack), func(t *testing.T) {
			h := start(t, open(), opts)
			use(t, h.socket(get("/realtime")), 300, synctest.Wait)
		})
		t.Run(fmt.Sprint("over TCP, ", hijack), func(t *testing.T) {
			_, dial := overTCP(t, opts)
			use(t, greeted(dial()), 1000, runtime.Gosched)
		})
	}
}

// stalled lets the only client, which does not read, follow the channel room, and publishes
// more than the kernel holds for it: numbered messages, whose number it returns. They are few,
// since the kernel gives such a client up after 14 s.
func stalled(t *testing.T, h *host, s *socket) (messages int) {
	t.Helper()
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	s.send("{" + subscribe("room") + "}")
	eventually(t, "a subscription", func() bool {
		followed, err := h.Channels(t.Context())
		return err == nil && slices.Contains(followed, "room")
	})
	const many = 40
	for i := range many {
		h.publish("room", json.RawMessage(fmt.Sprintf(`[%d,"%s"]`, i, strings.Repeat("x", 40_000))))
	}
	eventually(t, "a writer that waits", func() bool { return h.Stats().WebSocket.Writing == 1 })
	return many
}

// A client that reads nothing for a while gets everything, in order, when it goes on.
func TestWSStallOverTCP(t *testing.T) {
	t.Parallel()
	for _, hijack := range bothWays {
		t.Run(fmt.Sprint(hijack), func(t *testing.T) { stallOverTCP(t, hijack) })
	}
}

func stallOverTCP(t *testing.T, hijack realtime.Hijack) {
	h, dial := overTCP(t, &realtime.Options{WriteTimeout: time.Minute, Hijack: hijack})
	s := dial()
	messages := stalled(t, h, s)
	greeted(dial()).ok(`"op":"ping"`)
	s.pump()
	s.want("hello")
	s.want("subscribed")
	for i := range messages {
		if o := s.want("message"); !strings.HasPrefix(string(o.Data), fmt.Sprintf("[%d,", i)) {
			t.Fatalf("message %d is %.40s", i, o.raw)
		}
	}
}

// The end of a client's rights does not wait until the client takes what is sent.
func TestRevokeWSStalledOverTCP(t *testing.T) {
	t.Parallel()
	var hosts []*host
	for _, hijack := range bothWays {
		h, dial := overTCP(t, &realtime.Options{WriteTimeout: time.Hour, Hijack: hijack})
		s := dial()
		if err := s.net.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // so that the kernel takes nothing more
			t.Fatal(err)
		}
		stalled(t, h, s)
		hosts = append(hosts, h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ends sync.WaitGroup
	for i, h := range hosts {
		ends.Go(func() {
			if err := h.Revoke(ctx, ""); err != nil {
				t.Errorf("%v: %v", bothWays[i], err)
			}
		})
	}
	ends.Wait()
	for i, h := range hosts {
		if stats := h.Stats().WebSocket; stats.Open != 0 || stats.Writing != 0 {
			t.Errorf("%v: %d open, %d writing", bothWays[i], stats.Open, stats.Writing)
		}
	}
}
