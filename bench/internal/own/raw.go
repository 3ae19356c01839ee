package own

import (
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"unsafe"

	"github.com/maravilla-realtime/realtime/bench/internal/hub"
	"github.com/maravilla-realtime/realtime/bench/internal/target"
	"github.com/maravilla-realtime/realtime/bench/internal/wire"
)

// floor writes prebuilt bytes to hijacked connections, one write(2) for each, outside
// the sight of Go's scheduler, with no queue, no reader and no protocol.
type floor struct {
	proto string
	subs  hub.Hub[*sub]
}

type sub struct {
	net.Conn
	fd uintptr
}

// mostBatch bounds what is written at once.
const mostBatch = 16 << 10

// raw serves the floor. With batch, a burst is joined and written at once to each
// connection.
func raw(proto string, batch bool) {
	f := &floor{proto: proto}
	add := wire.AppendSSE
	if proto == "ws" {
		add = wire.AppendText
	}
	t := target.Target{
		Spec:    target.Spec{Proto: proto, Path: "/sub?ch={ch}"},
		Handler: http.HandlerFunc(f.subscribe),
		Publish: func(ch string, data []byte) { f.send(ch, add(make([]byte, 0, len(data)+16), data)) },
	}
	if batch {
		t.PublishBatch = func(ch string, data [][]byte) {
			for len(data) > 0 {
				var b []byte
				for len(data) > 0 && len(b) < mostBatch {
					b = add(b, data[0])
					data = data[1:]
				}
				f.send(ch, b)
			}
		}
	}
	target.Main(t)
}

func (f *floor) send(ch string, b []byte) {
	for _, s := range f.subs.Subs(ch) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, s.fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == syscall.EAGAIN:
			_, _ = s.Write(b) // an error shows as lost messages
		case errno == 0 && int(n) < len(b):
			_, _ = s.Write(b[n:])
		}
	}
}

func (f *floor) subscribe(w http.ResponseWriter, r *http.Request) {
	ch := r.URL.Query().Get("ch")
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		log.Fatal(err)
	}
	head := wire.SSEHeader
	if f.proto == "ws" {
		head = wire.WSHeader(r.Header.Get("Sec-Websocket-Key"))
	}
	s := &sub{Conn: c}
	rc, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		_, err = io.WriteString(c, head)
	}
	if err == nil {
		err = rc.Control(func(fd uintptr) { s.fd = fd })
	}
	if err != nil {
		log.Print(err) // the client is gone
		return
	}
	f.subs.Add(ch, s)
}
