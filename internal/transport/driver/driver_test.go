package driver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// The policy is asked within the handshake of a client, and until it has answered: what it
// leaves running is no part of that.
func TestAsksWithinTheHandshake(t *testing.T) {
	var asked context.Context
	var within *rights.Call
	note := func(ctx context.Context) { asked, within = ctx, rights.CallOf(ctx) }
	no := errors.New("no")
	p := &policy.Policy{
		Authenticate: func(r *http.Request) (policy.Identity, error) {
			note(r.Context())
			return policy.Identity{User: "ada"}, no
		},
		Grants: func(ctx context.Context, id policy.Identity) ([]grant.Grant, error) {
			note(ctx)
			return []grant.Grant{{Resource: id.User}}, no
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	n := &Node{Conns: conns.New(conns.Limits{}), Policy: p}
	h := n.Conns.Begin()
	defer h.End()
	r := httptest.NewRequest("GET", "/", nil)
	for range 2 {
		id, f := n.Identify(h, r)
		if no != nil && (f == nil || f.Code != "unauthorized" || f.About.Address != r.RemoteAddr) || no == nil && (f != nil || id.User != "ada") {
			t.Errorf("with %v: %+v, %+v", no, id, f)
		}
		if within == nil || within.Handshake != h || rights.CallOf(asked) != nil {
			t.Errorf("Authenticate is within %+v, and after it in %+v", within, rights.CallOf(asked))
		}
		list, f := n.Granted(t.Context(), h, policy.Identity{User: "kv"})
		if no != nil && (f == nil || f.Code != "forbidden") || no == nil && (f != nil || len(list) != 1 || list[0].Resource != "kv") {
			t.Errorf("with %v: %v, %+v", no, list, f)
		}
		if within == nil || within.Handshake != h || rights.CallOf(asked) != nil {
			t.Errorf("Grants is within %+v, and after it in %+v", within, rights.CallOf(asked))
		}
		no = nil
	}
}

func TestRefusal(t *testing.T) {
	n := &Node{Conns: conns.New(conns.Limits{Connections: 7})}
	for err, want := range map[error]string{
		conns.ErrTooMany:     "429 too_many: more than 7 connections of one user",
		conns.ErrClosing:     "503 closing: the server is going away",
		conns.ErrInvalidated: "503 unavailable: try again later",
	} {
		f := n.Refusal(err)
		if got := fmt.Sprintf("%d %v", f.Status, f.Error); got != want || !f.Retry {
			t.Errorf("%v: %s, again: %v", err, got, f.Retry)
		}
	}
	if f := n.Refusal(nil); f != nil {
		t.Errorf("let in, and refused: %+v", f)
	}
}

// The host learns which writer of its cannot carry a stream, and the client that none comes.
func TestRefuseWriter(t *testing.T) {
	for cause, says := range map[error]string{nil: "there is no such method", io.ErrClosedPipe: io.ErrClosedPipe.Error()} {
		var log bytes.Buffer
		n := &Node{Refused: refused.NewLog(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
		w := httptest.NewRecorder()
		n.RefuseWriter(w, &httpwriter.Unsupported{Method: "Flush", Writer: w, Cause: cause})
		for _, text := range []string{"level=ERROR", "method=Flush", "ResponseRecorder", says} {
			if !strings.Contains(log.String(), text) {
				t.Errorf("%q is not in %s", text, &log)
			}
		}
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"streaming_unsupported"`) ||
			n.Refused.Counts()["streaming_unsupported"] != 1 || len(n.Refused.Newest()) != 1 {
			t.Errorf("%d %s, counted %v", w.Code, w.Body, n.Refused.Counts())
		}
	}
}

// A connection that ends is told what it has to get, as long as it takes that, and then why.
func TestFinish(t *testing.T) {
	rest := backend.Position{Epoch: 1, Seq: 3}
	how := LastWords(&conns.Ending{Reason: "closing", Retry: time.Second, Rest: rest})
	if want := (session.Ending{Reason: "closing", Retry: time.Second, Rest: rest}); how != want {
		t.Fatalf("%+v", how)
	}
	for name, c := range map[string]struct {
		fails, aborted int // in which turn; 0: never
		turns          int
		told           bool
	}{
		"all is told":   {turns: 4, told: true},
		"gone":          {fails: 2, turns: 2},
		"aborted":       {aborted: 2, turns: 2},
		"aborted first": {aborted: -1},
	} {
		t.Run(name, func(t *testing.T) {
			history := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
			s, conn, buf, said, turns := session.NewStream(history, func() {}), new(conns.Conn), new(session.Buffer), "", 0
			view := new(policy.Policy).View(new(policy.Identity), []grant.Grant{{Resource: "kv", Data: true}})
			s.Do(func() { s.Begin(nil, view, []ring.Topic{ring.Domain("kv")}, session.Hello{}) })
			s.Fill(buf, session.Budget{Events: 1, Bytes: 1 << 10})
			for history.Head() != rest {
				history.Put([]*backend.Logged{{Pos: history.Head().Next(), Event: backend.Event{Type: "put", Resource: "kv", Key: fmt.Sprint(history.Head().Seq)}}})
			}
			if c.aborted < 0 {
				conn.Abort()
			}
			Finish(conn, &s.Session, how, func() (bool, error) {
				if turns++; turns == c.fails || turns > 9 {
					return true, io.ErrClosedPipe
				} else if turns == c.aborted {
					conn.Abort()
				}
				more := s.Fill(buf, session.Budget{Events: 1, Bytes: 1 << 10})
				said += string(buf.Bytes)
				return more, nil
			})
			if turns != c.turns || (strings.Count(said, `"t":"put"`) == 3) != c.told || strings.Contains(said, `"closing"`) != c.told {
				t.Errorf("%d turns of %d tell %s", turns, c.turns, said)
			}
		})
	}
}

// A ping that is sent late does not make the next ones late, nor many at once.
func TestNextPing(t *testing.T) {
	due := time.Unix(1000, 0)
	for late, want := range map[time.Duration]time.Duration{0: 10, 9: 10, 10: 20, 25: 30} {
		if got := NextPing(due, due.Add(late*time.Second), 10*time.Second); got.Sub(due) != want*time.Second {
			t.Errorf("%d s late: the next one after %v", late, got.Sub(due))
		}
	}
}

func TestIsPlain(t *testing.T) {
	see := func(*policy.Identity, *backend.Event) bool { return true }
	for _, c := range []struct {
		r     *http.Request
		p     *policy.Policy
		plain bool
	}{
		{&http.Request{}, new(policy.Policy), true},
		{&http.Request{TLS: new(tls.ConnectionState)}, new(policy.Policy), false},
		{&http.Request{}, &policy.Policy{See: see}, false},
	} {
		if got := (&Node{Policy: c.p}).IsPlain(c.r); got != (c.plain && runtime.GOOS == "linux") {
			t.Errorf("with TLS %v, See %v: %v", c.r.TLS != nil, c.p.See != nil, got)
		}
	}
}
