package renstream

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// deaf has what streams need, and forgets it.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) SetWriteDeadline(time.Time) error { return nil }

// newStream returns a stream of messages to a client that forgets them.
func newStream(t *testing.T) *stream {
	r := ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	d := New(Node{Life: time.Hour, Node: driver.Node{
		Ring: r, Policy: new(policy.Policy), Logger: slog.New(slog.DiscardHandler), Heartbeat: time.Minute, WriteTimeout: time.Minute,
	}})
	out, missing := httpwriter.New(deaf{httptest.NewRecorder()}, time.Now())
	if missing != nil {
		t.Fatal(missing)
	}
	s := &stream{Driver: d, bell: session.NewBell(), w: out, sent: new(driver.Share)}
	s.ctx, s.conn.Cancel = context.WithCancelCause(t.Context())
	s.session = session.NewStream(r, s.bell.Ring)
	follow(s)
	return s
}

// follow has a stream follow the messages of all channels.
func follow(s *stream) {
	s.session.Do(func() {
		see := s.view([]grant.Grant{{Resource: "realtime", Data: true}})
		s.session.Begin(nil, see, []ring.Topic{ring.Domain("realtime")}, session.Hello{Domains: []string{"realtime"}})
	})
}

// put adds a message to the history.
func put(s *stream) {
	r := s.node.Ring
	r.Put([]*backend.Logged{{Pos: r.Head().Next(), Event: backend.Event{
		Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
	}}})
}

// A stream that has ended follows nothing, in whatever way it ran.
func TestEndedStreamFollowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		go s.run()
		p, _ := parkedOver(t, new(link))
		for _, s := range []*stream{s, p.stream} {
			synctest.Wait()
			s.conn.Cancel(conns.Rotated)
			synctest.Wait()
			put(s)
			if n, _ := s.session.Unread(); n != 0 {
				t.Errorf("%d events wait for a stream that has ended", n)
			}
		}
	})
}

// An idle connection does not pay for the burst that it had.
func TestIdleStreamReleasesItsBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		for range 2 {
			if err := s.deliver(); err != nil {
				t.Fatal(err)
			}
			for range 500 {
				put(s)
			}
		}
		if s.buf != nil {
			t.Error("an idle connection keeps a buffer")
		}
	})
}
