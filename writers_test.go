package realtime_test

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// endless wraps itself.
type endless struct{ http.ResponseWriter }

func (e endless) Unwrap() http.ResponseWriter { return e }

// hollow wraps nothing.
type hollow struct{ http.ResponseWriter }

func (hollow) Unwrap() http.ResponseWriter { return nil }

// gone wraps a writer that is a nil pointer, whose Unwrap panics.
type gone struct{ http.ResponseWriter }

func (gone) Unwrap() http.ResponseWriter { return (*accessLog)(nil) }

// timeless has deadlines that do nothing.
type timeless struct{ http.ResponseWriter }

func (t timeless) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (timeless) SetWriteDeadline(time.Time) error { return nil }

// unbuffered gives connections away without their buffers.
type unbuffered struct{ http.ResponseWriter }

func (u unbuffered) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func (u unbuffered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _, err := http.NewResponseController(u.ResponseWriter).Hijack()
	return conn, nil, err
}

// incomparable is a foreign writer that == panics for.
type incomparable struct {
	foreign
	_ []int
}
