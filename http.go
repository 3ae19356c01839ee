package realtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"path"
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/renstream"
	"github.com/maravilla-realtime/realtime/internal/transport/socket"
	"github.com/maravilla-realtime/realtime/internal/web/cors"
	"github.com/maravilla-realtime/realtime/internal/web/site"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

//go:embed client/js/dist/realtime.js
var script []byte

var scriptETag = func() string {
	sum := sha256.Sum256(script)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}()

// Handler serves everything that browsers need. It decides by the last element of the
// path, so it works below any prefix:
//
//	…/ren          the REN stream (SSE), as [Realtime.RenHandler]
//	…/realtime     channels (WebSocket), as [Realtime.WebSocketHandler]
//	…/realtime.js  the browser SDK, an ES module
//
// The SDK expects it at /api/maravilla/ unless told otherwise.
func (rt *Realtime) Handler() http.Handler {
	return rt.cors(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path.Base(r.URL.Path) {
		case "ren":
			rt.serveREN(w, r)
		case "realtime":
			rt.serveWebSocket(w, r)
		case "realtime.js":
			serveScript(w, r)
		default:
			rt.refusals.Add(refused.With(http.StatusNotFound, "not_found", "there are only ren, realtime and realtime.js here")).Write(w)
		}
	}))
}

// RenHandler serves the REN stream at whatever path it is mounted.
func (rt *Realtime) RenHandler() http.Handler { return rt.cors(http.HandlerFunc(rt.serveREN)) }

// WebSocketHandler serves channels at whatever path it is mounted.
func (rt *Realtime) WebSocketHandler() http.Handler { return http.HandlerFunc(rt.serveWebSocket) }

// serveREN answers a request for the REN stream.
func (rt *Realtime) serveREN(w http.ResponseWriter, r *http.Request) {
	rt.serve(w, r, rt.probes.ServeStream, rt.ren.Serve)
}

// serveWebSocket answers a request for a WebSocket.
func (rt *Realtime) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	rt.serve(w, r, rt.probes.ServeSocket, rt.sockets.Serve)
}

// serve has a request answered by probe if it is one of Diagnose, and else by drive if it
// is admitted.
func (rt *Realtime) serve(w http.ResponseWriter, r *http.Request, probe, drive http.HandlerFunc) {
	if rt.probes.Recognises(r) {
		probe(w, r)
		return
	}
	if f := rt.admit(r); f != nil {
		rt.refusals.Add(f).Write(w)
		return
	}
	drive(w, r)
}

func serveScript(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // kept, and asked for with the ETag
	h.Set("ETag", scriptETag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(script))
}

// CORS wraps handlers for pages of [Policy.Origins]. It answers the preflights of their
// browsers, for any method and header, and lets the pages read the answers, including
// ETag, Retry-After and X-Ren-Cursor (Fetch standard, section 3.2). For pages of other
// origins it sets no headers. CORS does not authorise: the handlers must decide whether
// a request is allowed. But it refuses requests for a host that is not among
// [Policy.Hosts] (421).
//
// The library's own handlers, and that of package storage, need no CORS around them,
// but may have it. A middleware of the host that sets such headers may be outside or
// inside of CORS: lists, such as the exposed headers, are joined. CORS must be outside
// of [http.CrossOriginProtection], so that pages can read its refusals; give that the
// same origins.
func (rt *Realtime) CORS(next http.Handler) http.Handler {
	return rt.cors(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(rt.policy.Origins) == 0 || r.Header.Get("Upgrade") != "" { // WebSockets know no CORS
			next.ServeHTTP(w, r)
			return
		}
		mending := cors.NewWriter(w, func() { rt.policy.allowCrossOrigin(w.Header(), r) })
		defer mending.Send() // also for who recovers from a panic, and answers
		next.ServeHTTP(mending, r)
	}))
}

// cors is CORS for handlers that leave these headers alone.
func (rt *Realtime) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			rt.refusals.Add(f).Write(w)
			return
		}
		h := w.Header()
		listed := rt.policy.allowCrossOrigin(h, r)
		if !listed || !cors.IsPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		cors.AllowPreflight(h, r)
		w.WriteHeader(http.StatusNoContent)
	})
}

// allowCrossOrigin lets a page of a listed origin read the answer, and reports whether r
// is from such a page.
func (p *Policy) allowCrossOrigin(h http.Header, r *http.Request) bool {
	cors.VaryByOrigin(h)
	origin := site.Origin(r)
	if !p.origins.Match(origin) {
		return false
	}
	cors.Allow(h, origin, "ETag, Retry-After, "+cursorHeader)
	return true
}

// Attribute wraps a host's handlers. Events that they publish, emit or cause with the
// request's context are attributed to the browser tab that sent the request, by its
// X-Ren-Client header, which the SDK's renFetch sends. The tab then recognises the
// events as its own. Attribute does not authorise: the host must decide whether a
// request is allowed. But it refuses requests for a host that is not among
// [Policy.Hosts] (421).
//
// It also answers with X-Ren-Cursor, the place in the log from before the request was
// handled. A page that fetches data and then opens a stream from this cursor misses no
// change in between; the SDK does this by itself.
func (rt *Realtime) Attribute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			rt.refusals.Add(f).Write(w)
			return
		}
		w.Header().Set(cursorHeader, string(rt.Cursor()))
		if id := r.Header.Get(clientHeader); wire.ValidClientID(id) {
			r = r.WithContext(context.WithValue(r.Context(), clientKey{}, id))
		}
		next.ServeHTTP(w, r)
	})
}

const (
	clientHeader = wire.ClientHeader // client id of the sender of a request
	cursorHeader = "X-Ren-Cursor"    // cursor from before the request was handled
)

type clientKey struct{}

// clientID returns the client id a request came with, or "".
func clientID(ctx context.Context) string {
	id, _ := ctx.Value(clientKey{}).(string)
	return id
}

// newDrivers makes what drives connections.
func (rt *Realtime) newDrivers() {
	rt.driver = driver.Node{
		Ring: rt.ring, Conns: rt.conns, Shards: rt.shards, Policy: rt.judge, Refused: rt.refusals, Logger: rt.log,
		Hijack: driver.Hijack(rt.opts.Hijack), Heartbeat: rt.opts.Heartbeat, WriteTimeout: rt.opts.WriteTimeout,
	}
	if spans, ok := rt.opts.Tracer.(DeliveryTracer); ok {
		rt.driver.Traced = func(kind string, e *ring.Entry, written time.Time) {
			spans.Deliver(TraceContext(e.Trace), RenEvent(e.Event), ClientDelivery{Kind: kind, Came: e.Came(), Written: written})
		}
	}
	rt.ren = renstream.New(renstream.Node{Node: rt.driver, Life: rt.opts.StreamLife})
	limits := rt.opts.Limits
	rt.sockets = socket.New(socket.Node{
		Node: rt.driver, Rights: rt.rights, Past: rt.past, Growing: rt.growing, Members: rt.presence.members, Rosters: rt.presence.rosters, Publisher: rt.publisher,
		Limits: socket.Limits{
			Message: limits.Message, Metadata: limits.Metadata, Page: limits.Page, Channels: limits.Channels,
			Rate: limits.Rate, Burst: limits.Burst, UserRate: limits.UserRate,
		},
		CloseGrace: rt.opts.Presence.CloseGrace, DropGrace: rt.opts.Presence.DropGrace, Running: rt.running,
	})
}
