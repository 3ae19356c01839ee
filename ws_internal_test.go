package realtime

import (
	"bufio"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memnet"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// A connection that ends between a resumed subscription and its replay must not
// say, in its bye, that it is complete.
func TestPositionOfAResumedSubscription(t *testing.T) {
	at := func(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }
	r := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, at(0))
	for seq := range uint64(5) {
		r.Put([]*backend.Logged{{Pos: at(seq + 1), Event: backend.Event{
			Resource: "realtime", Channel: "room", UnixMilli: time.Now().UnixMilli(),
		}}})
	}
	rt := &Realtime{ring: r, log: slog.New(slog.DiscardHandler), opts: (*Options)(nil).withDefaults()}
	s := &socket{rt: rt, reader: r.NewReader(), channels: map[string]following{}, pos: at(5)}
	s.subscribe(wire.Op{Channel: "room", Since: wire.Cursor(at(1))}, 1)
	if s.pos != at(1) {
		t.Errorf("complete up to %v, though nothing after %v was sent", s.pos, at(1))
	}
}

// An idle connection does not pay for the burst that it had.
func TestIdleConnectionsReleaseTheirBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }
		r := ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, at(0))
		rt := &Realtime{ring: r, log: slog.New(slog.DiscardHandler), opts: (*Options)(nil).withDefaults()}
		policy := AllowAll()
		see := view{policy: &policy, grants: []Grant{GrantAll("realtime").WithData()}}
		name := ring.Channel("room")

		l := memnet.Listen()
		go func() {
			client, _ := l.Dial(t.Context(), "", "")
			_, _ = io.Copy(io.Discard, client)
		}()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		ws, err := wsconn.Accept(conn, rw, httptest.NewRequest("GET", "/", nil), nil, wsconn.Options{WriteTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{rt: rt, ws: ws, view: see, reader: r.NewReader(), channels: map[string]following{"room": {}}}
		s.reader.Subscribe(nil, name)

		out, missing := newStreamWriter(deaf{httptest.NewRecorder()}, time.Now())
		if missing != nil {
			t.Fatal(missing)
		}
		st := &stream{rt: rt, ctx: t.Context(), session: session.NewStream(r, func() {}), w: out}
		st.session.Do(func() { st.session.Begin(nil, &see, session.Hello{Domains: []string{"realtime"}}) })
		if err := st.deliver(); err != nil {
			t.Fatal(err)
		}

		for seq := range uint64(500) {
			r.Put([]*backend.Logged{{Pos: at(seq + 1), Event: backend.Event{
				Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
			}}})
		}
		for more := true; more; {
			if more, err = s.deliver(); err != nil {
				t.Fatal(err)
			}
			if more && cap(s.items) < idleItems {
				t.Errorf("a busy connection keeps only %d items", cap(s.items))
			}
		}
		if err := st.deliver(); err != nil {
			t.Fatal(err)
		}
		if s.pos != at(500) {
			t.Fatalf("at %v", s.pos)
		}
		const most = 4 << 10
		for kind, size := range map[string]int{
			"WebSocket": cap(s.out) + cap(s.items)*int(unsafe.Sizeof(ring.Item{})),
			"REN":       cap(st.buf.Bytes),
		} {
			if size > most {
				t.Errorf("an idle %s connection keeps %d bytes", kind, size)
			}
		}
	})
}

// deaf has what streams need, and forgets it.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) SetWriteDeadline(time.Time) error { return nil }
