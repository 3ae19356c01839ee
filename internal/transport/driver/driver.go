// Package driver has what the drivers of connections share: renstream, which writes REN
// streams, and socket, which runs WebSockets. What is sent, package session decides.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// Node is what the connections of a node use, whatever their kind.
type Node struct {
	Ring    *ring.Ring
	Conns   *conns.Conns
	Shards  *shard.Pool // of those that have left net/http
	Policy  *policy.Policy
	Refused *refused.Log
	Logger  *slog.Logger

	Hijack       Hijack
	Heartbeat    time.Duration
	WriteTimeout time.Duration // for the next 16 KiB of a stream, or the next message
	Traced       Traced
}

// Identify asks the policy who sends a request, for a new connection.
func (n *Node) Identify(h *conns.Handshake, r *http.Request) (policy.Identity, *refused.Refusal) {
	call := &rights.Call{Handshake: h}
	ctx, end := call.Begin(r.Context())
	defer end()
	id, f := n.Policy.Identify(r.WithContext(ctx))
	return id, f.From(r)
}

// Granted asks the policy what the client of a new connection may see.
func (n *Node) Granted(ctx context.Context, h *conns.Handshake, id policy.Identity) ([]grant.Grant, *refused.Refusal) {
	call := &rights.Call{Handshake: h}
	ctx, end := call.Begin(ctx)
	defer end()
	return n.Policy.Granted(ctx, id)
}

// Refusal returns what a client is told that package conns does not let in, with the error
// of that; nil for nil.
func (n *Node) Refusal(err error) *refused.Refusal {
	switch err {
	case nil:
		return nil
	case conns.ErrTooMany:
		return refused.With(http.StatusTooManyRequests, "too_many", "more than %d connections of one user", n.Conns.Limits().Connections).ToRetry()
	case conns.ErrClosing:
		return refused.Closing()
	default: // its rights have changed: it is authenticated again when it comes back
		return refused.Unavailable()
	}
}

// RefuseWriter answers where the server, or a middleware, cannot carry a stream.
func (n *Node) RefuseWriter(w http.ResponseWriter, u *httpwriter.Unsupported) {
	cause := u.Cause
	if cause == nil {
		cause = errors.New("there is no such method")
	}
	n.Logger.Error("realtime: a ResponseWriter hides a method that is needed; the middleware that wraps it needs an Unwrap method, "+
		"or must not wrap this route; servers other than net/http's are not supported",
		"method", u.Method, "type", fmt.Sprintf("%T", u.Writer), "error", cause)
	n.Refused.Add(refused.With(http.StatusInternalServerError, "streaming_unsupported",
		"the server, or a middleware of it, does not support streaming")).Write(w)
}

// LastWords is what a client is told when its connection ends.
func LastWords(end *conns.Ending) session.Ending {
	return session.Ending{Reason: end.Reason, Retry: end.Retry, Rest: end.Rest}
}

// Finish writes what is left to say on a connection that ends, with fill, which writes
// one batch.
func Finish(c *conns.Conn, s *session.Session, how session.Ending, fill func() (more bool, err error)) {
	s.Bye(how)
	for more := true; more && !c.IsAborted(); {
		var err error
		if more, err = fill(); err != nil {
			return // the client is gone
		}
	}
}

// Pings that are due within mostTogether, and within a small part of their interval, are
// sent at the same time: to wake up for one costs as much as to send it.
const (
	mostTogether = 100 * time.Millisecond
	partsOfPings = 250 // of the interval
)

// FirstPing returns the time of the first ping of a connection that begins now. It comes a
// little early rather than late.
func (n *Node) FirstPing(now time.Time) time.Time {
	due := now.Add(n.Heartbeat)
	if together := min(mostTogether, n.Heartbeat/partsOfPings); together > 0 {
		due = due.Add(-(due.Sub(n.Shards.Began()) % together))
	}
	return due
}

// NextPing returns the time of the ping after one that was due at a time and is sent now,
// perhaps late. Those that were due in between are left out. Each connection keeps its own
// times, so that a shard that was held up does not send all of its pings together ever
// after.
func NextPing(due, now time.Time, every time.Duration) time.Time {
	return due.Add(now.Sub(due).Truncate(every) + every)
}
