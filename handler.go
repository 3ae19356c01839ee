package realtime

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/maravilla-realtime/realtime/internal/httpwriter"
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
			rt.refuse(refuse(http.StatusNotFound, "not_found", "there are only ren, realtime and realtime.js here")).write(w)
		}
	}))
}

// RenHandler serves the REN stream at whatever path it is mounted.
func (rt *Realtime) RenHandler() http.Handler { return rt.cors(http.HandlerFunc(rt.serveREN)) }

// WebSocketHandler serves channels at whatever path it is mounted.
func (rt *Realtime) WebSocketHandler() http.Handler { return http.HandlerFunc(rt.serveWebSocket) }

// refuseWriter answers where the server, or a middleware, cannot carry a stream.
func (rt *Realtime) refuseWriter(w http.ResponseWriter, u *httpwriter.Unsupported) {
	cause := u.Cause
	if cause == nil {
		cause = errors.New("there is no such method")
	}
	rt.log.Error("realtime: a ResponseWriter hides a method that is needed; the middleware that wraps it needs an Unwrap method, "+
		"or must not wrap this route; servers other than net/http's are not supported",
		"method", u.Method, "type", fmt.Sprintf("%T", u.Writer), "error", cause)
	rt.refuse(refuse(http.StatusInternalServerError, "streaming_unsupported",
		"the server, or a middleware of it, does not support streaming")).write(w)
}

func serveScript(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // kept, and asked for with the ETag
	h.Set("ETag", scriptETag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(script))
}
