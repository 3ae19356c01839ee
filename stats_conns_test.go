package realtime_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

func withStream(policy realtime.Policy, opts *realtime.Options, act func(h *host, s *ren)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := start(t, policy, opts)
		s := h.ren(get("/ren", "Authorization", asAda))
		return h, func() { act(h, s) }
	}
}

func withSocket(policy realtime.Policy, opts *realtime.Options, act func(h *host, s *socket)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := start(t, policy, opts)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"))
		return h, func() { act(h, s) }
	}
}

func withHost(policy realtime.Policy, opts *realtime.Options, act func(h *host)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := start(t, policy, opts)
		return h, func() { act(h) }
	}
}

// until is open, but what it grants, and what it allows, from the second time on is f's.
func until(f func() error) realtime.Policy {
	p := open()
	asked := false
	p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
		if !asked {
			asked = true
			return realtime.AllowAll().Grants(context.Background(), realtime.Identity{})
		}
		return nil, f()
	}
	return p
}

// blind shows an event only by a panic.
func blind() realtime.Policy {
	p := open()
	p.See = func(realtime.Identity, realtime.RenEvent) bool { panic("fault") }
	return p
}

// stall keeps publishing to a client that does not read, until it is ended.
func stall(h *host) {
	for range 200 {
		h.publish("room", strings.Repeat("x", 10_000))
	}
	time.Sleep(12 * time.Second)
}

var later = func() { time.Sleep(13 * time.Minute) }

// renCauses move the figures of streams.
func renCauses() []cause {
	return []cause{
		{"a stream opens", "REN.Open=1 REN.Opened=1 REN.Bytes Users=1", withHost(open(), nil, func(h *host) {
			h.ren(get("/ren", "Authorization", asAda))
		})},
		{"a stream is cut", "REN.Open=-1 REN.Ended.client=1", withStream(open(), nil, func(_ *host, s *ren) { s.cut() })},
		{"a stream stalls", "REN.Ended.slow=1 REN.Open=-1", func(t *testing.T) (*host, func()) {
			h := start(t, open(), nil)
			h.renStalled(get("/ren"))
			return h, func() { stall(h) }
		}},
		{"a stream waits for its client", "REN.Writing=1", func(t *testing.T) (*host, func()) {
			h := start(t, open(), nil)
			h.renStalled(get("/ren"))
			return h, func() { h.publish("room", strings.Repeat("x", 500_000)) }
		}},
		{"a stream gets old", "REN.Ended.rotate=1", withStream(open(), nil, func(_ *host, s *ren) { later() })},
		{"a stream expires", "REN.Ended.expired=1", withStream(expiring(time.Minute), nil, func(*host, *ren) { later() })},
		{"a stream is revoked", "REN.Ended.revoked=1", withStream(open(), nil, func(h *host, _ *ren) { noError(h.t, h.Revoke(h.t.Context(), "ada")) })},
		{"a stream loses its grants", "REN.Ended.refused=1", withStream(until(func() error { return nil }), nil, func(h *host, _ *ren) {
			noError(h.t, h.Recheck(h.t.Context(), "ada"))
		})},
		{"a stream cannot be rechecked", "REN.Ended.unavailable=1", withStream(until(func() error { return realtime.ErrTemporary }), nil,
			func(h *host, _ *ren) { noError(h.t, h.Recheck(h.t.Context(), "ada")) })},
		{"a stream panics", "REN.Ended.internal=1", withStream(blind(), nil, func(h *host, _ *ren) { h.publish("room", 1) })},
		{"a node with a stream closes", "REN.Ended.closing=1 REN.Open=-1", withStream(open(), nil, func(h *host, _ *ren) { noError(h.t, h.Close(h.t.Context())) })},
		{"a stream gets events", "REN.Delivered=3 REN.Bytes REN.Latency", withStream(open(), nil, func(h *host, _ *ren) {
			h.publish("room", 1)
			h.emit(realtime.KVPut("n", "k"))
			h.emit(realtime.KVPut("n", "l"))
		})},
		{"a stream gets nothing", "REN.Bytes", withStream(open(), nil, func(h *host, _ *ren) { time.Sleep(time.Minute) })},
	}
}

// wsCauses move the figures of WebSockets.
var wsCauses = []cause{
	{"a WebSocket opens", "WebSocket.Open=1 WebSocket.Opened=1 WebSocket.Bytes Users=1 Operations.hello=1", withHost(open(), nil, func(h *host) {
		h.socket(get("/realtime", "Authorization", asAda))
	})},
	{"a WebSocket is dropped", "WebSocket.Open=-1 WebSocket.Ended.client=1", withSocket(open(), nil, func(_ *host, s *socket) { s.drop() })},
	{"a WebSocket is closed", "WebSocket.Open=-1 WebSocket.Ended.client=1", withSocket(open(), nil, func(_ *host, s *socket) { s.leave() })},
	{"a WebSocket stalls", "WebSocket.Ended.slow=1", stalledSocket(func(h *host, s *socket) { stall(h) })},
	{"a WebSocket waits for its client", "WebSocket.Writing=1", withHost(open(), nil, func(h *host) {
		h.dialStalled(get("/realtime")).send(`{"op":"hello","cid":"` + tab1 + `"}`)
	})},
	{"a WebSocket is dead", "WebSocket.Ended.dead=1", stalledSocket(func(h *host, s *socket) {
		_, _ = io.Copy(io.Discard, s.net) // pings as well, until it is dropped
	})},
	{"a WebSocket is slow when rights change", "WebSocket.Ended.rotate=1", stalledSocket(func(h *host, s *socket) {
		h.publish("room", strings.Repeat("x", 500_000))
		noError(h.t, h.Recheck(h.t.Context(), "ada"))
	})},
	{"a WebSocket breaks a rule", "WebSocket.Ended.violation=1", withSocket(open(), nil, func(_ *host, s *socket) {
		s.send("\xff")
	})},
	{"a WebSocket expires", "WebSocket.Ended.expired=1", withSocket(expiring(time.Minute), nil, func(*host, *socket) { later() })},
	{"a WebSocket is revoked", "WebSocket.Ended.revoked=1", withSocket(open(), nil, func(h *host, _ *socket) { noError(h.t, h.Revoke(h.t.Context(), "ada")) })},
	{"a WebSocket is silent", "WebSocket.Ended.hello_required=1", withHost(open(), nil, func(h *host) {
		h.dial(get("/realtime"))
		time.Sleep(11 * time.Second)
	})},
	{"a hello is refused", "WebSocket.Ended.refused=1 Refusals.unauthorized=1", withHost(open(), nil, func(h *host) {
		h.dial(get("/realtime?auth=hello")).send(`{"op":"hello","cid":"` + tab1 + `","token":"bad"}`)
	})},
	{"a hello comes too soon", "WebSocket.Ended.unavailable=1 Refusals.unavailable=1", withHost(open(), nil, func(h *host) {
		h.dial(get("/realtime?auth=hello")).send(`{"op":"hello","cid":"` + tab1 + `","token":"later"}`)
	})},
	{"a WebSocket panics", "WebSocket.Ended.internal=1", withSocket(blind(), nil, func(h *host, _ *socket) { h.publish("room", 1) })},
	{"a node with a WebSocket closes", "WebSocket.Ended.closing=1", withSocket(open(), nil, func(h *host, _ *socket) { noError(h.t, h.Close(h.t.Context())) })},
	{"a WebSocket gets events", "WebSocket.Delivered=2 WebSocket.Bytes WebSocket.Latency", withSocket(open(), nil, func(h *host, _ *socket) {
		h.publish("room", 1)
		h.publish("elsewhere", 1)
		h.publish("room", 2)
	})},
}

// followCauses move the figures of what both follow.
var followCauses = []cause{
	{"channels are followed", "Channels=2 Subscriptions=3", func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		a, b := h.socket(get("/realtime")), h.socket(get("/realtime"))
		return h, func() {
			a.ok(subscribe("one"), subscribe("two"))
			b.ok(subscribe("one"))
		}
	}},
	{"channels are left", "Channels=-1 Subscriptions=-2", func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		a, b := h.socket(get("/realtime")), h.socket(get("/realtime"))
		a.ok(subscribe("one"), subscribe("two"))
		b.ok(subscribe("one"))
		return h, func() { a.ok(`"op":"unsubscribe","channel":"one"`); b.drop() }
	}},
	{"a cursor is of no log", "REN.Resets.unknown=1 WebSocket.Resets.unknown=1", resets(func(h *host, _ *backendtest.Faulty, _ string) string { return "nonsense" })},
	{"the epoch changes", "REN.Resets.epoch=1 WebSocket.Resets.epoch=1 History.Resets.epoch=1", openReset(newEpoch)},
	{"records are lost", "REN.Resets.backend=1 WebSocket.Resets.backend=1 History.Resets.backend=1 Follow.Failures", openReset(loseRecords)},
	{"a cursor is too old", "REN.Resets.evicted=1 WebSocket.Resets.evicted=1", resets(func(h *host, _ *backendtest.Faulty, cursor string) string {
		h.publish("room", 1)
		time.Sleep(6 * time.Minute)
		h.publish("room", 2)
		return cursor
	})},
}

func stalledSocket(act func(h *host, s *socket)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		s := h.dialStalled(get("/realtime", "Authorization", asAda))
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		s.send(`{` + subscribe("room") + `}`)
		return h, func() { act(h, s) }
	}
}

// resets comes back with a cursor that cannot be resumed from.
func resets(spoil func(h *host, b *backendtest.Faulty, cursor string) string) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		return h, func() {
			cursor := spoil(h, b, string(h.Cursor()))
			h.ren(get("/ren", "Last-Event-ID", cursor))
			h.socket(get("/realtime")).ok(since("room", cursor))
		}
	}
}

// loss returns a backend, and what makes it lose something.
type loss func() (b backend.Backend, lose func(h *host))

func newEpoch() (backend.Backend, func(h *host)) {
	b := backendtest.NewFaulty(realtime.NewMemory())
	return b, func(h *host) {
		b.NewEpoch()
		h.publish("room", 2)
	}
}

// loseRecords loses a record that nobody has read.
func loseRecords() (backend.Backend, func(h *host)) {
	b := &script{Backend: realtime.NewMemory()}
	return b, func(h *host) {
		page, err := b.Read(h.t.Context(), backend.Position{}, 0)
		noError(h.t, err)
		b.fail("follow", &backend.LostError{Next: page.Head.Next()})
	}
}

// openReset has the log lose something below clients that are connected.
func openReset(losing loss) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		b, lose := losing()
		h := start(t, open(), &realtime.Options{Backend: b})
		h.publish("room", 1)
		synctest.Wait()
		h.ren(get("/ren"))
		h.socket(get("/realtime")).ok(subscribe("room"))
		return h, func() {
			lose(h)
			time.Sleep(10 * time.Second)
		}
	}
}
