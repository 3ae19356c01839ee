// Package oddwriter has the ResponseWriters of middlewares, sound and unsound, for tests
// of what reads and writes through them.
package oddwriter

import (
	"net/http"
	"time"
)

// Wrap makes a middleware of a function that wraps a writer.
func Wrap(f func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(f(w), r) })
	}
}

type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Wrapper hides everything but what it wraps, as most middlewares do.
func Wrapper(w http.ResponseWriter) http.ResponseWriter { return wrapper{w} }

type opaque struct{ http.ResponseWriter }

// Opaque hides everything.
func Opaque(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }

type endless struct{ http.ResponseWriter }

func (e endless) Unwrap() http.ResponseWriter { return e }

// Endless wraps itself.
func Endless(w http.ResponseWriter) http.ResponseWriter { return endless{w} }

type able struct {
	http.ResponseWriter
	inner *http.ResponseController
}

func (a able) Unwrap() http.ResponseWriter         { return a }
func (a able) FlushError() error                   { return a.inner.Flush() }
func (a able) SetReadDeadline(at time.Time) error  { return a.inner.SetReadDeadline(at) }
func (a able) SetWriteDeadline(at time.Time) error { return a.inner.SetWriteDeadline(at) }

// EndlessAble wraps itself, and can all that the writer in it can, except Hijack.
func EndlessAble(w http.ResponseWriter) http.ResponseWriter {
	return able{w, http.NewResponseController(w)}
}

type hollow struct{ http.ResponseWriter }

func (hollow) Unwrap() http.ResponseWriter { return nil }

// Hollow wraps nothing.
func Hollow(w http.ResponseWriter) http.ResponseWriter { return hollow{w} }

type gone struct{ http.ResponseWriter }

func (gone) Unwrap() http.ResponseWriter { return (*wrapper)(nil) }

// Gone wraps a writer that is a nil pointer, whose methods panic.
func Gone(w http.ResponseWriter) http.ResponseWriter { return gone{w} }

type timeless struct{ wrapper }

func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// Timeless has deadlines that do nothing.
func Timeless(w http.ResponseWriter) http.ResponseWriter { return timeless{wrapper{w}} }

type faulty struct {
	wrapper
	err error
}

func (f faulty) SetReadDeadline(time.Time) error  { return f.fail() }
func (f faulty) SetWriteDeadline(time.Time) error { return f.fail() }

func (f faulty) fail() error {
	if f.err == nil {
		panic("no deadlines")
	}
	return f.err
}

// Faulty has deadlines that fail with err, or panic if it is nil.
func Faulty(w http.ResponseWriter, err error) http.ResponseWriter { return faulty{wrapper{w}, err} }
