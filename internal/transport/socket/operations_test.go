package socket

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func allowAll(context.Context, policy.Identity, policy.Action) error { return nil }

// idle returns a socket that nobody drives.
func idle(t *testing.T, d *Driver) *socket {
	s := d.newSocket(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	handshake := d.node.Conns.Begin()
	defer handshake.End()
	if err := handshake.Add(&s.conn, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// written has a goroutine take what a socket would write, until stop is called.
func written(s *socket) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		for {
			select {
			case <-s.bell:
				for s.session.Fill(session.NewBuffer(), session.Batch) {
				}
			case <-stopped:
				return
			}
		}
	}()
	return func() { close(stopped) }
}

// What clients are told of what fails, and what of it is logged.
func TestWhatFails(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		err   error
		ended bool
		code  string
		level string
	}{
		"closed":     {bounded.ErrClosed, false, "closing", ""},
		"too large":  {refused.ErrTooLarge, false, "too_large", "WARN"},
		"full":       {live.ErrFull, false, "unavailable", ""},
		"broken":     {broken, false, "unavailable", "ERROR"},
		"when ended": {broken, true, "unavailable", ""},
		"not found":  {growing.ErrNotFound, false, "not_found", ""},
		"busy":       {growing.ErrBusy, false, "unavailable", ""},
		"too many":   {growing.ErrTooMany, false, "unavailable", ""},
	} {
		var logs testkit.Logs
		d := newDriver(t, nil)
		d.node.Logger = logs.Logger(slog.LevelDebug)
		s := idle(t, d)
		if c.ended {
			s.life.End(conns.Rotated)
		}
		err := s.notFollowed(wire.Op{Op: "stream", ID: "1"}, c.err)
		_, level, _ := strings.Cut(logs.String(), "level=")
		level, _, _ = strings.Cut(level, " ")
		if err.Code != c.code || level != c.level || err.Retry != (c.code == "closing" || c.code == "unavailable") {
			t.Errorf("%s: %+v, logged %q", name, err, logs.String())
		}
	}
}

// A page of history that waits for the one before it when the connection ends is not sent.
func TestEndedHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, nil)
		d.node.Policy.Allow, d.node.Limits.Page = allowAll, 10
		s := idle(t, d)
		s.paged = make(chan struct{})
		var err *wire.Error
		done := make(chan struct{})
		go func() { err = s.history(wire.Op{Channel: "room"}); close(done) }()
		synctest.Wait()
		s.cancel(conns.Rotated)
		if <-done; err == nil || err.Code != "closing" {
			t.Error(err)
		}
	})
}

// Nobody is told to wait for subscriptions that have begun.
func TestHasBegun(t *testing.T) {
	s := idle(t, newDriver(t, nil))
	s.begins = 1
	s.begun.Add(1)
	s.cancel(conns.Rotated)
	if !s.hasBegun() {
		t.Error("they have not begun")
	}
}

// The end of a connection that is refused with its hello says when to come back, where that
// can help.
func TestRefusedHello(t *testing.T) {
	for _, c := range []struct {
		f     *refused.Refusal
		code  int
		retry bool
	}{
		{refused.With(401, "unauthorized", "no"), 4401, false},
		{refused.With(500, "internal", "a fault of the policy"), 1011, true},
		{refused.Unavailable(), 4503, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := idle(t, newDriver(t, nil))
			stop := written(s)
			defer stop()
			s.refuseHello(c.f)
			synctest.Wait()
			var end *conns.Ending
			if !errors.As(s.life.Cause(), &end) || end.Code != c.code || end.Reason != c.f.Code || (end.Retry > 0) != c.retry {
				t.Errorf("%+v: %+v", c, s.life.Cause())
			}
		})
	}
}

// A client renews its identity once at a time.
func TestOneRenewalAtATime(t *testing.T) {
	s := idle(t, newDriver(t, nil))
	s.renewing.Store(true)
	if err := s.renew(wire.Op{Op: "hello", Token: "x"}); err == nil || err.Code != "rate_limited" || !err.Retry {
		t.Errorf("%+v", err)
	}
	if s.node.Conns.Handshakes() != 0 {
		t.Error("it is being let in")
	}
}

// A new identity is taken when no operation is being decided with the old one.
func TestBecomeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idle(t, newDriver(t, nil))
		s.decides()
		old := s.id
		handshake := s.node.Conns.Begin()
		defer handshake.End()
		go s.become(handshake, policy.Identity{Claims: 1})
		if synctest.Wait(); s.id != old {
			t.Error("the identity changes during an operation")
		}
		s.release()
		if synctest.Wait(); s.id.Claims != 1 {
			t.Error("the identity does not change")
		}
	})
}
