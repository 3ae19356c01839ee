package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// Why a connection ends is counted by who ends it: the server, the client, or what is
// between them.
func TestEndings(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{conns.Revoked, "revoked"},
		{fmt.Errorf("told: %w", &conns.Ending{Reason: "expired"}), "expired"},
		{&conns.Ending{Reason: "forbidden"}, "refused"},
		{&wsconn.CloseError{Code: 1000, Peer: true}, "client"},
		{&wsconn.CloseError{Code: 1011, Peer: true}, "client"},
		{&wsconn.CloseError{Code: 1011}, "internal"},
		{&wsconn.CloseError{Code: 1002}, "violation"},
		{&guard.Panic{Value: "host"}, "internal"},
		{ErrNoPong, "dead"},
		{ErrSlow, "slow"},
		{fmt.Errorf("write: %w", os.ErrDeadlineExceeded), "slow"},
		{context.Canceled, "client"},
		{io.EOF, "client"},
		{nil, "client"},
	} {
		tally := NewTally("ws", nil, "client", "revoked", "expired", "internal", "violation", "dead", "slow")
		tally.Open()
		tally.Close(c.err)
		got := tally.Stats()
		if got.Ended[c.want] != 1 || got.Open != 0 || got.Opened != 1 {
			t.Errorf("%v: %v, %d of %d open", c.err, got.Ended, got.Open, got.Opened)
		}
	}
}

// What is open is what was opened and has not ended.
func TestOpen(t *testing.T) {
	tally := NewTally("ren", nil)
	shares := make(map[*Share]bool)
	for range 2 * shareCount {
		shares[tally.Open()] = true
	}
	for range 3 {
		tally.Close(errors.New("gone"))
	}
	if got := tally.Stats(); got.Open != 2*shareCount-3 || got.Opened != 2*shareCount || len(shares) != shareCount {
		t.Errorf("%d of %d open, in %d shares", got.Open, got.Opened, len(shares))
	}
}

// A connection whose writer waits counts once, however often that is said.
func TestWriting(t *testing.T) {
	tally := NewTally("ren", nil)
	a, b := new(conns.Conn), new(conns.Conn)
	byA, byB := tally.Open(), tally.Open()
	for i, c := range []struct {
		by    *Share
		conn  *conns.Conn
		waits bool
		want  int
	}{{byA, a, false, 0}, {byA, a, true, 1}, {byA, a, true, 1}, {byB, b, true, 2}, {byA, a, false, 1}, {byA, a, false, 1}, {byB, b, false, 0}} {
		if c.by.Wait(c.conn, c.waits); tally.Stats().Writing != c.want || c.conn.Writing.Load() != c.waits {
			t.Errorf("step %d: %d wait, want %d", i, tally.Stats().Writing, c.want)
		}
	}
}

// All that was told is counted, of all shares; what was not written is not, save for what
// was left out of it.
func TestSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, e := time.Now(), new(ring.Entry)
		var spans []string
		traced := func(kind string, of *ring.Entry, written time.Time) {
			if of != e || !written.Equal(began.Add(time.Hour)) {
				t.Errorf("the span of %p is written at %v", of, written)
			}
			spans = append(spans, kind)
		}
		tally, untraced := NewTally("ren", traced), NewTally("ren", nil)
		time.Sleep(time.Hour)
		told := session.Told{
			Events: 3, Coalesced: 2, Oldest: began.Add(59 * time.Minute),
			Resets: []ring.Reason{ring.Evicted, ring.Lost}, Traced: []*ring.Entry{e, e},
		}
		for _, c := range []*Tally{tally, untraced} {
			for range 2 {
				c.Sent(c.Open(), &session.Buffer{Bytes: []byte("bytes"), Part: []byte("part"), Told: told}, time.Now().Add(-time.Second))
			}
			by := c.Open()
			c.Sent(by, &session.Buffer{Bytes: []byte("a ping")}, time.Now())
			c.Sent(by, &session.Buffer{Told: told}, time.Now())
			got := c.Stats()
			if got.Delivered != 6 || got.Bytes != 24 || got.Coalesced != 6 {
				t.Errorf("%d events, %d bytes, %d left out", got.Delivered, got.Bytes, got.Coalesced)
			}
			if got.Latency.Sum != 2*59*time.Second {
				t.Errorf("latency: %v", got.Latency.Sum)
			}
			resets := maps.Clone(got.Resets)
			maps.DeleteFunc(resets, func(_ string, n uint64) bool { return n == 0 })
			if want := map[string]uint64{string(ring.Evicted): 2, string(ring.Lost): 2}; !maps.Equal(resets, want) {
				t.Errorf("resets: %v", got.Resets)
			}
		}
		if !slices.Equal(spans, []string{"ren", "ren", "ren", "ren"}) {
			t.Errorf("spans: %q", spans)
		}
	})
}
