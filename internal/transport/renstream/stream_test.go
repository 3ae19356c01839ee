package renstream

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
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

// writer is a client's end that fails as the test says.
type writer struct {
	header            http.Header
	setDeadline       func() error
	write             func(deadline time.Time) error
	flush             func() error
	deadline          time.Time
	deadlines, writes int
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(int) {}

func (w *writer) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	w.deadlines++
	return w.setDeadline()
}

func (w *writer) Write(p []byte) (int, error) {
	w.writes++
	return len(p), w.write(w.deadline)
}

func (w *writer) FlushError() error { return w.flush() }

// A stream ends with the first error of its writer, and for the reason that there was
// before it: servers report a deadline in different ways.
func TestWriterFails(t *testing.T) {
	broken, fine := errors.New("broken"), func() error { return nil }
	for name, c := range map[string]struct {
		spoil  func(s *stream, w *writer)
		want   error
		writes int
	}{
		"write": {func(_ *stream, w *writer) { w.write = func(time.Time) error { return broken } }, broken, 1},
		"flush": {func(_ *stream, w *writer) { w.flush = func() error { return broken } }, broken, 1},
		"deadline": {func(_ *stream, w *writer) {
			w.setDeadline = func() error {
				if w.deadlines > 1 { // that of the first is httpwriter's
					return broken
				}
				return nil
			}
		}, broken, 0},
		"late": {func(_ *stream, w *writer) {
			w.write = func(deadline time.Time) error { time.Sleep(time.Until(deadline)); return broken }
		}, driver.ErrSlow, 1},
		"revoked meanwhile": {func(s *stream, w *writer) {
			w.write = func(deadline time.Time) error {
				s.conn.Cancel(conns.Revoked)
				time.Sleep(time.Until(deadline))
				return broken
			}
		}, conns.Revoked, 1},
		"aborted before the deadline was put off": {func(s *stream, w *writer) {
			w.setDeadline = func() error {
				if w.deadlines == 2 {
					s.conn.Cancel(conns.Revoked)
					go s.conn.Abort()
					synctest.Wait()
				}
				return nil
			}
		}, conns.Revoked, 0},
		"no failure": {func(s *stream, _ *writer) { time.AfterFunc(time.Second, func() { s.conn.Cancel(conns.Revoked) }) }, conns.Revoked, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStream(t)
				w := &writer{header: http.Header{}, setDeadline: fine, write: func(time.Time) error { return nil }, flush: fine}
				out, missing := httpwriter.New(w, time.Now())
				if missing != nil {
					t.Fatal(missing)
				}
				s.w = out
				c.spoil(s, w)
				if err := s.run(); !errors.Is(err, c.want) || w.writes != c.writes {
					t.Errorf("it ended with %v after %d writes, want %v after %d", err, w.writes, c.want, c.writes)
				}
			})
		})
	}
}
