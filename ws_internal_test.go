package realtime

import (
	"bufio"
	"io"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/grant"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/memnet"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// An idle connection does not pay for the burst that it had.
func TestIdleConnectionsReleaseTheirBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }
		r := ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, at(0))
		rt := &Realtime{ring: r, log: slog.New(slog.DiscardHandler), opts: (*Options)(nil).withDefaults()}
		policy := AllowAll()
		see := view{policy: &policy, id: new(Identity), grants: []grant.Grant{GrantAll("realtime").WithData().of}}

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
		s := &socket{rt: rt, ws: ws, sent: new(sentTally)}
		s.session = session.NewChannels(r, func() {}, s, &see, 1)
		s.session.Do(func() { s.session.Subscribe(wire.Op{Channel: "room"}, session.Rewind{}, 1) })

		out, missing := httpwriter.New(deaf{httptest.NewRecorder()}, time.Now())
		if missing != nil {
			t.Fatal(missing)
		}
		st := &stream{rt: rt, ctx: t.Context(), session: session.NewStream(r, func() {}), w: out, sent: new(sentTally)}
		st.session.Do(func() {
			st.session.Begin(nil, &see, []ring.Topic{ring.Domain("realtime")}, session.Hello{Domains: []string{"realtime"}})
		})

		for range 2 {
			for more := true; more; {
				if more, err = s.fill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.deliver(); err != nil {
				t.Fatal(err)
			}
			for range uint64(500) {
				r.Put([]*backend.Logged{{Pos: r.Head().Next(), Event: backend.Event{
					Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
				}}})
			}
		}
		if s.buf != nil || st.buf != nil {
			t.Error("an idle connection keeps a buffer")
		}
	})
}

// Which WebSockets shards drive.
func TestTakesSocket(t *testing.T) {
	plain := httptest.NewRequest("GET", "http://x/", nil)
	secure := httptest.NewRequest("GET", "https://x/", nil)
	see := Policy{See: func(Identity, RenEvent) bool { return true }}
	linux := runtime.GOOS == "linux"
	for _, c := range []struct {
		hijack       Hijack
		policy       Policy
		plain, other bool
	}{
		{HijackDefault, Policy{}, false, false}, {HijackNever, Policy{}, false, false},
		{HijackPlain, Policy{}, linux, false}, {HijackPlain, see, false, false}, {HijackAlways, see, true, true},
	} {
		rt := &Realtime{policy: c.policy, opts: Options{Hijack: c.hijack}}
		if p, s := rt.takesSocket(plain), rt.takesSocket(secure); p != c.plain || s != c.other {
			t.Errorf("%v, see %v: %v, %v with TLS", c.hijack, c.policy.See != nil, p, s)
		}
	}
}

// deaf has what streams need, and forgets it.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) SetWriteDeadline(time.Time) error { return nil }
