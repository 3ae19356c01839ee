package realtime_test

import (
	"bufio"
	"net"
	"net/http"
)

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
