package realtime_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// keeper is a host that keeps the context of each call of the library.
type keeper struct {
	mu   sync.Mutex
	last context.Context
}

func (k *keeper) keep(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = context.WithoutCancel(ctx)
}

func (k *keeper) start(t *testing.T) *host {
	p := open()
	authenticate := p.Authenticate
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		k.keep(r.Context())
		return authenticate(r)
	}
	grants := p.Grants
	p.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
		k.keep(ctx)
		return grants(ctx, id)
	}
	p.Allow = func(ctx context.Context, _ realtime.Identity, _ realtime.Action) error {
		k.keep(ctx)
		return nil
	}
	return start(t, p, &realtime.Options{History: realtime.History{
		Older: func(ctx context.Context, _ realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
			k.keep(ctx)
			return nil, nil
		},
	}})
}

// A context that the host has kept of a call is not within that call when it has returned:
// Revoke waits for the connection that the call was about, though its client does not read.
func TestRevokeWithTheContextOfACallThatHasReturned(t *testing.T) {
	ofSocket := func(h *host, ops ...string) (stall func()) {
		s := h.dialStalled(get("/realtime", "Authorization", asAda))
		go io.Copy(io.Discard, s.net)
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		for _, op := range ops {
			s.send("{" + op + "}")
		}
		return func() { _ = s.net.SetReadDeadline(time.Now()) }
	}
	ofStream := func(h *host) (stall func()) {
		h.renStalled(get("/ren?s=realtime", "Authorization", asAda))
		return func() {}
	}
	recheck := func(h *host) { noError(h.t, h.Recheck(h.t.Context(), "ada")) }
	nothing := func(*host) {}
	for name, c := range map[string]struct {
		open func(h *host) (stall func())
		then func(h *host)
	}{
		"Grants":              {ofStream, nothing},
		"Grants of a Recheck": {ofStream, recheck},
		"Allow":               {func(h *host) func() { return ofSocket(h, subscribe("room")) }, nothing},
		"Allow of a Recheck":  {func(h *host) func() { return ofSocket(h, subscribe("room")) }, recheck},
		"Older":               {func(h *host) func() { return ofSocket(h, subscribe("room"), `"op":"history","channel":"room"`) }, nothing},
		"Authenticate of a renewal": {func(h *host) func() {
			return ofSocket(h, subscribe("room"), `"op":"hello","cid":"`+tab1+`","token":"ada"`)
		}, nothing},
	} {
		bubble(t, name, func(t *testing.T) {
			var k keeper
			h := k.start(t)
			stall := c.open(h)
			synctest.Wait()
			c.then(h)
			synctest.Wait()
			ctx := k.last
			stall()
			synctest.Wait()
			h.publish("room", strings.Repeat("x", 500_000))
			synctest.Wait()
			if s := h.Stats(); s.REN.Writing+s.WebSocket.Writing != 1 {
				t.Fatalf("the client is not stalled: %+v", s.WebSocket)
			}
			noError(t, h.Revoke(ctx, "ada"))
			if s := h.Stats(); s.REN.Open+s.WebSocket.Open != 0 {
				t.Error("Revoke has returned, and the connection is open")
			}
		})
	}
}

// Nothing is kept of the handshake of a client that was let in, or refused.
func TestHandshakesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, way := range []realtime.Hijack{realtime.HijackNever, realtime.HijackAlways} {
			h := start(t, open(), &realtime.Options{Hijack: way})
			h.ren(get("/ren", "Authorization", asAda))
			h.refused(get("/ren", "Authorization", "Bearer bad"))
			h.refused(get("/realtime", append(upgrade, "Authorization", "Bearer bad")...))
			h.socket(get("/realtime", "Authorization", asAda))
			late := h.dial(get("/realtime?auth=hello"))
			late.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
			late.want("hello")
			late.ok(`"op":"hello","token":"ada"`)
			late.call(`"op":"hello","token":"bob"`) // refused
			synctest.Wait()
			if n := realtime.Handshakes(h.Realtime); n != 0 {
				t.Errorf("%d: %d handshakes are kept", way, n)
			}
		}
	})
}
