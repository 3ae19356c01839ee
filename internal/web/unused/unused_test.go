package unused_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/web/unused"
)

// peer returns a connection of a server, and whether that has been closed.
func peer(t *testing.T) (conn net.Conn, closed func() bool) {
	conn, other := net.Pipe()
	t.Cleanup(func() { conn.Close(); other.Close() })
	return conn, func() bool {
		return errors.Is(conn.SetDeadline(time.Time{}), io.ErrClosedPipe)
	}
}

func TestClose(t *testing.T) {
	var srv http.Server
	told := 0
	srv.ConnState = func(net.Conn, http.ConnState) { told++ }
	conns := unused.Watch(&srv)

	fresh, freshClosed := peer(t)
	busy, busyClosed := peer(t)
	idle, idleClosed := peer(t)
	srv.ConnState(fresh, http.StateNew)
	srv.ConnState(busy, http.StateNew)
	srv.ConnState(busy, http.StateActive)
	srv.ConnState(idle, http.StateNew)
	srv.ConnState(idle, http.StateActive)
	srv.ConnState(idle, http.StateIdle) // Shutdown closes it
	if freshClosed() {
		t.Error("closed too early")
	}
	conns.Close()
	if !freshClosed() || busyClosed() || idleClosed() {
		t.Errorf("closed: %v of the unused, %v of one with a request, %v of an idle one", freshClosed(), busyClosed(), idleClosed())
	}
	late, lateClosed := peer(t)
	srv.ConnState(late, http.StateNew)
	if !lateClosed() {
		t.Error("one that came later is open")
	}
	if told != 7 {
		t.Errorf("the host was told %d times", told)
	}
}
