package realtime

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"golang.org/x/sync/errgroup"
)

// Recheck asks the [Policy] again about all that the connections of a user have:
// Grants for each REN stream, Allow for each channel that is subscribed to or
// joined. When it returns nil, nothing more is delivered of what is not allowed
// any more, and the user has left where it must not be present; what is still
// allowed goes on without a gap. What the policy cannot decide within 5 s is
// taken away for now, and a client that reads so slowly that it would hold this
// up for longer than half a second is sent home, and asked about when it comes
// back.
//
// The [Identity] stays as Authenticate gave it: a policy that decides by what
// may change looks it up. Recheck covers the connections of this node, with an
// empty userID those of all anonymous clients; an error means that ctx ended
// before it was done with them all.
func (rt *Realtime) Recheck(ctx context.Context, userID string) error {
	theirs := rt.conns.distrust(userID)
	var asking errgroup.Group
	asking.SetLimit(recheckAtOnce)
	for _, c := range theirs {
		asking.Go(func() error {
			rt.recheck(ctx, c)
			return nil
		})
	}
	_ = asking.Wait() // nil
	for _, c := range theirs {
		if !c.isEnding() {
			continue
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// recheckAtOnce bounds how often the policy is asked at the same time: a user may
// have hundreds of connections, and anonymous clients any number.
const recheckAtOnce = 64

// recheck is Recheck for one connection, which ends where it cannot be done.
func (rt *Realtime) recheck(ctx context.Context, c *conn) {
	defer func() {
		if v := recover(); v != nil {
			rt.log.Error("realtime: panic; the connection is dropped", "panic", v, "stack", string(debug.Stack()))
			c.end(&ending{reason: "internal", retry: retryAfter(), code: 1011})
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, decideTime)
	defer cancel()
	c.recheck(ctx)
}

// hand has the goroutine that writes do f, and returns when it is done with it.
// A writer that is stuck with a slow client does not do it in time: then the
// connection ends, and hand returns false.
func (c *conn) hand(todo chan<- func(), f func()) bool {
	did := make(chan struct{})
	late := time.NewTimer(farewell)
	defer late.Stop()
	select {
	case todo <- func() { f(); close(did) }:
	case <-late.C:
		c.end(rotated)
		return false
	case <-c.done:
		return false
	}
	select {
	case <-did:
		return true
	case <-late.C:
		c.end(rotated)
		return false
	case <-c.done:
		return false
	}
}

// recheck asks for the grants again and goes on with them where the stream is: it
// gets another hello.
func (s *stream) recheck(ctx context.Context) {
	turn := s.asked.Add(1)
	grants, f := s.rt.grants(ctx, s.view.id)
	if f != nil {
		end := &ending{reason: f.Code}
		if f.Retry {
			end.retry = retryAfter()
		}
		s.conn.end(end)
		return
	}
	s.conn.hand(s.todo, func() {
		if turn < s.granted { // the policy has been asked again meanwhile, and has answered
			return
		}
		s.granted, s.view.grants = turn, grants
		s.reader.Close()
		s.reader = s.rt.ring.NewReader()
		s.hello(wire.Cursor(s.pos))
	})
}

// recheck asks about each channel again. No operation is decided meanwhile, so
// that none is done that was allowed before and is not now.
func (s *socket) recheck(ctx context.Context) {
	select {
	case s.deciding <- struct{}{}:
		defer func() { <-s.deciding }()
	case <-time.After(farewell):
		s.conn.end(rotated)
		return
	case <-s.conn.done:
		return
	}
	s.askAgain(ctx)
}

// askAgain is recheck for who holds deciding.
func (s *socket) askAgain(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // nothing is left to ask about then
	var channels []string
	if !s.conn.hand(s.todo, func() { channels = slices.Sorted(maps.Keys(s.channels)) }) {
		return
	}
	var told []wire.Frame
	for _, channel := range channels {
		if err := s.allow(ctx, Subscribe, channel); err != nil {
			told = append(told, taken("unsubscribed", channel, "", err))
		}
	}
	for key := range s.sessions {
		if err := s.allowPresence(ctx, key); err != nil && s.ctx.Err() == nil {
			s.rt.presence.leaveSurely(context.WithoutCancel(ctx), key, backend.ReasonClosed, 0)
			delete(s.sessions, key)
			told = append(told, taken("left", key.Channel, key.User, err))
		}
	}
	s.conn.hand(s.todo, func() { s.restrict(told) })
}

// allowPresence decides about a session that the client has: a renewed identity
// may be without AnyUser.
func (s *socket) allowPresence(ctx context.Context, key backend.SessionKey) *wire.Error {
	if !s.mayBe(key.User) {
		return notYou(key.User)
	}
	return s.allow(ctx, Join, key.Channel)
}

// taken tells a client what it no longer has, and why.
func taken(event, channel, user string, why *wire.Error) wire.Frame {
	frame := wire.ErrorFrame(nil, why)
	frame.Event, frame.Channel, frame.UserID = event, channel, user
	return frame
}

// restrict is what the writer does with what is not allowed any more.
func (s *socket) restrict(told []wire.Frame) {
	for _, frame := range told {
		if frame.Event == "unsubscribed" {
			s.drop(frame.Channel)
			frame.Cursor = s.cursor()
		}
		s.append(frame)
	}
	if s.rt.policy.See != nil { // which perhaps shows other members now
		for channel, f := range s.channels {
			if f.presence { // one that is being read is shown as the rights are by then
				s.show(&showing{channel: channel, must: true})
			}
		}
	}
	if err := s.flush(); err != nil {
		s.conn.cancel(err)
	}
}
