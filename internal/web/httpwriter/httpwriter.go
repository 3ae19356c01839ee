// Package httpwriter writes streams, and takes connections over, through the
// ResponseWriters of the host's middlewares.
//
// A middleware's ResponseWriter may have a method that the writer beneath it lacks. So
// the innermost writer is asked whether it can do something, and calls of the outer ones
// may fail, panic or do nothing.
package httpwriter

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/web/cors"
)

// Unsupported says that a ResponseWriter lacks a method that streams need.
type Unsupported struct {
	Method string
	Writer http.ResponseWriter // which lacks it
	Cause  error               // nil if there is just no such method
}

func (u *Unsupported) Error() string {
	if u.Cause == nil {
		return fmt.Sprintf("realtime: %T has no %s", u.Writer, u.Method)
	}
	return fmt.Sprintf("realtime: %T has no %s: %v", u.Writer, u.Method, u.Cause)
}

// unwrap returns w and the writers beneath it, the innermost last. One that wraps itself
// is the innermost.
func unwrap(w http.ResponseWriter) []http.ResponseWriter {
	const most = 100 // so that a writer that wraps itself does not loop for ever
	chain := []http.ResponseWriter{w}
	for len(chain) < most {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = nil // unless it returns one: it may panic, as one does that is nil
		_ = guard.Call(func() error { w = u.Unwrap(); return nil })
		if w == nil {
			break
		}
		chain = append(chain, w)
	}
	return chain
}

func canFlush(w http.ResponseWriter) bool {
	switch w.(type) {
	case http.Flusher, interface{ FlushError() error }:
		return true
	}
	return false
}

func isHijacker(w http.ResponseWriter) bool {
	_, ok := w.(http.Hijacker)
	return ok
}

// delegates returns the writers of a chain that have an ability and must be called one
// by one: the outermost, and each whose wrapper does not have the ability. A wrapper may
// pass a call on only to the writer just beneath it.
func delegates(chain []http.ResponseWriter, able func(http.ResponseWriter) bool) (list []http.ResponseWriter) {
	before := false
	for _, w := range chain {
		is := able(w)
		if is && !before {
			list = append(list, w)
		}
		before = is
	}
	return list
}

// callees is delegates and the innermost writer, which has the ability: another one may
// do nothing, or not know of errors.
func callees(chain []http.ResponseWriter, able func(http.ResponseWriter) bool) []http.ResponseWriter {
	list := delegates(chain, able)
	if last := len(chain) - 1; last > 0 && able(chain[last-1]) {
		list = append(list, chain[last])
	}
	return list
}

// Stream writes a stream through the middlewares around it.
type Stream struct {
	http.ResponseWriter
	flushers []http.ResponseWriter
	deadline *Deadline
	gone     <-chan bool // see Gone
}

// New finds everything that a stream needs, before anything is written, and
// sets the deadline of the first write.
func New(w http.ResponseWriter, deadline time.Time) (*Stream, *Unsupported) {
	chain := unwrap(w)
	inner := chain[len(chain)-1]
	if !canFlush(inner) {
		return nil, &Unsupported{Method: "http.Flusher", Writer: inner}
	}
	timed, missing := newDeadline(chain, "SetWriteDeadline", writes, deadline)
	if missing != nil {
		return nil, missing
	}
	s := &Stream{ResponseWriter: w, flushers: callees(chain, canFlush), deadline: timed}
	// The request's context also ends with a middleware's timeout, or with the
	// server's BaseContext. CloseNotify of net/http's writers reports only the client.
	if n, ok := inner.(interface{ CloseNotify() <-chan bool }); ok {
		_ = guard.Call(func() error { s.gone = n.CloseNotify(); return nil })
	}
	return s, nil
}

// Gone receives when the client is gone. It is nil if the server cannot tell.
func (s *Stream) Gone() <-chan bool { return s.gone }

// SetWriteDeadline limits the writes that follow, and those under way.
func (s *Stream) SetWriteDeadline(at time.Time) error { return s.deadline.Set(at) }

// Flush sends what was written.
func (s *Stream) Flush() error {
	var failed error
	for _, w := range s.flushers {
		failed = guard.Call(func() error { return flush(w) })
	}
	return failed // as the innermost says
}

func flush(w http.ResponseWriter) error {
	switch f := w.(type) {
	case interface{ FlushError() error }:
		return f.FlushError()
	case http.Flusher:
		f.Flush()
	}
	return nil
}

// IsServers reports whether w is what net/http's server gives to handlers for HTTP/1
// requests, and no middleware of the host wraps it: then nobody sees what is written.
func IsServers(w http.ResponseWriter) bool {
	for {
		c, ok := w.(*cors.Writer)
		if !ok {
			break
		}
		w = c.ResponseWriter
	}
	t := reflect.TypeOf(w)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "net/http" && t.Elem().Name() == "response"
}

// Hijackable returns why a connection cannot be taken over from the server, or nil.
func Hijackable(w http.ResponseWriter, r *http.Request) *Unsupported {
	chain := unwrap(w)
	inner := chain[len(chain)-1]
	switch {
	case !isHijacker(inner):
		return &Unsupported{Method: "http.Hijacker", Writer: inner}
	case writes(inner) == nil && r.Context().Value(http.ServerContextKey) == nil:
		// Fasthttp's adaptor can be hijacked, but reuses the memory of the request.
		return &Unsupported{Method: "SetWriteDeadline", Writer: inner}
	}
	return nil
}

// Hijack takes over a connection that Hijackable has accepted. If it fails, nothing has
// been written.
func Hijack(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, *Unsupported) {
	var why *Unsupported
	for _, w := range delegates(unwrap(w), isHijacker) {
		var conn net.Conn
		var rw *bufio.ReadWriter
		err := guard.Call(func() (err error) {
			conn, rw, err = w.(http.Hijacker).Hijack()
			return err
		})
		switch {
		case err == nil && conn != nil:
			if rw == nil { // the connection is no longer the server's, so nobody else can answer
				rw = bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
			}
			return conn, rw, nil
		case err == nil:
			err = errors.New("no connection")
		case conn != nil:
			_ = conn.Close() // or its client would wait for ever
		}
		why = &Unsupported{"http.Hijacker", w, err}
	}
	return nil, nil, why
}
