package realtime

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"golang.org/x/sync/errgroup"
)

// Recheck asks the [Policy] again about all that the connections of a user have:
// Grants for each REN stream, Allow for each channel that is subscribed to or
// joined. When it returns nil, nothing more is delivered of what is no longer
// allowed, and the user has left where it must not be present; what is still
// allowed goes on without a gap. What the policy does not decide within 5 s of
// being asked is taken away until the client asks again. A client that reads so
// slowly that it cannot be told within half a second is disconnected, and asked
// about when it comes back.
//
// The [Identity] stays as Authenticate gave it: a policy that decides by what
// may change looks it up. Recheck covers the connections of all nodes, with an
// empty userID those of all anonymous clients. An error means that ctx ended, or
// the Realtime was closed, before it was done with them all, or names the nodes
// that have not confirmed, as with [Realtime.Revoke]. Where ctx ended it continues,
// and takes nothing away for that.
//
// The policy may call Revoke, with the context that it was given, or that of the
// request. It then waits no longer than half a second for an operation of another
// connection, which perhaps waits for this one: such a connection is checked as
// soon as the operation is done. Nor does it ask once more about a connection that
// is being checked because of it.
func (rt *Realtime) Recheck(ctx context.Context, userID string) error {
	return rt.everywhere(ctx, tellRecheck, userID, rt.recheckUser)
}

// recheckUser is Recheck on this node.
func (rt *Realtime) recheckUser(ctx context.Context, userID string) error {
	if err := rt.rechecks.enter(); err != nil {
		return err
	}
	within := policyCallOf(ctx)
	theirs, done := rt.conns.distrust(userID, within), make(chan struct{})
	call := &policyCall{round: within.rechecks()}
	if call.round == nil {
		call.round = new(round)
	}
	go func() { // Close waits for it
		defer rt.rechecks.leave()
		defer close(done)
		ctx, end := call.begin(context.WithoutCancel(ctx))
		defer end()
		rt.recheckAll(ctx, slices.DeleteFunc(theirs, func(c *conn) bool { return !call.round.take(c) }))
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recheckAtOnce bounds how many connections are asked about at the same time: a
// user may have hundreds of them, and anonymous clients any number.
const recheckAtOnce = 64

// askAtOnce bounds how often a policy is asked at the same time by one Recheck.
const askAtOnce = 64

func (rt *Realtime) recheckAll(ctx context.Context, theirs []*conn) {
	turns := make(chan struct{}, askAtOnce)
	var asking errgroup.Group
	asking.SetLimit(recheckAtOnce)
	for _, c := range theirs {
		asking.Go(func() error {
			rt.recheck(ctx, c, turns)
			return nil
		})
	}
	_ = asking.Wait() // nil
	for _, c := range theirs {
		if c.isEnding() {
			<-c.done
		}
	}
}

// recheckOnly is Recheck for one connection alone, of whose user nothing else has
// changed.
func (rt *Realtime) recheckOnly(ctx context.Context, c *conn) {
	call := &policyCall{round: new(round)}
	call.round.take(c)
	ctx, end := call.begin(ctx)
	defer end()
	rt.recheck(ctx, c, make(chan struct{}, askAtOnce))
}

// recheck is Recheck for one connection, which ends where it cannot be done.
func (rt *Realtime) recheck(ctx context.Context, c *conn, turns chan struct{}) {
	defer func() {
		if v := recover(); v != nil {
			rt.log.Error("realtime: panic; the connection is dropped", "panic", v, "stack", string(debug.Stack()))
			c.end(&ending{reason: "internal", retry: retryAfter(), code: 1011})
		}
	}()
	c.recheck(ctx, turns)
}

// hand has the goroutine that writes do f, and returns when it is done with it.
// Where the writer waits for a slow client, it does not do it in time: then the
// connection ends, and hand returns false.
func (c *conn) hand(todo chan<- func(), f func()) bool {
	did := make(chan struct{})
	late := time.NewTimer(farewell)
	defer late.Stop()
	ask := todo
	for {
		select {
		case ask <- func() { f(); close(did) }:
			ask = nil
		case <-did:
			return true
		case <-late.C:
			if c.writing.Load() {
				c.end(rotated)
				return false
			}
			late.Reset(farewell / 10) // the machine is slow, not the client
		case <-c.done:
			return false
		}
	}
}

// runOnWriter has the goroutine that writes do f, which do hands to it, and returns
// when it is done with it. Where the writer waits for a slow client, it does not do
// it in time: then the connection ends, and runOnWriter returns false.
func (c *conn) runOnWriter(do func(func()), f func()) bool {
	did := make(chan struct{})
	do(func() { f(); close(did) })
	late := time.NewTimer(farewell)
	defer late.Stop()
	for {
		select {
		case <-did:
			return true
		case <-late.C:
			if c.writing.Load() {
				c.end(rotated)
				return false
			}
			late.Reset(farewell / 10) // the machine is slow, not the client
		case <-c.done:
			return false
		}
	}
}

// recheck asks for the grants again and goes on with them where the stream is: it
// gets another hello.
func (s *stream) recheck(ctx context.Context, _ chan struct{}) {
	turn := s.session.Turn()
	call := &policyCall{conn: &s.conn}
	ctx, end := call.begin(ctx)
	defer end()
	grants, f := s.rt.grants(ctx, s.id)
	s.conn.runOnWriter(s.session.Do, func() {
		switch {
		case !s.session.Newest(turn): // the policy has been asked again meanwhile, and has answered
		case f != nil:
			end := &ending{reason: f.Code}
			if f.Retry {
				end.retry = retryAfter()
			}
			s.conn.end(end)
		default:
			s.session.Regrant(s.view(grants), s.hello(grants))
		}
	})
}

// recheck asks about each channel and each session again. It begins when the
// operation is done that is being decided, so that none is done that was allowed
// before and is not now; those that come later are decided by themselves. Of two
// decisions about the same thing, the one that was asked for later counts.
func (s *socket) recheck(ctx context.Context, turns chan struct{}) {
	within := policyCallOf(ctx)
	done, ok := s.settled(within, within.byPolicy())
	if !ok {
		return
	}
	id, turn := s.id, s.turns.Add(1)
	done()
	var channels []string
	if !s.conn.hand(s.todo, func() { channels = slices.Sorted(maps.Keys(s.channels)) }) {
		return
	}
	v := s.judge(ctx, id, channels, s.sessions.list(), turns)
	if s.ctx.Err() != nil { // nothing is left to take away
		return
	}
	v.turn = turn
	left := s.expel(v, within)
	s.conn.hand(s.todo, func() { s.restrict(v, left) })
}

// settled waits until no operation is being decided, and keeps others from it until
// done is called. It does not wait for the operation that asks for it. A hasty call
// does not wait for long: then ok is false, and all is checked when the operation is
// done.
func (s *socket) settled(within *policyCall, hasty bool) (done func(), ok bool) {
	if within.holding(&s.conn) {
		return func() {}, true
	}
	for {
		select {
		case s.deciding <- struct{}{}:
			return s.release, true
		case <-s.conn.done:
			return nil, false
		case <-time.After(farewell): // the policy, the backend or the client is slow
			if hasty {
				return s.release, s.settledLater()
			}
			if !s.conn.hand(s.todo, func() {}) {
				return nil, false
			}
		}
	}
}

// settledLater has all checked by who gives deciding back, unless that has just
// happened: then it returns true.
func (s *socket) settledLater() bool {
	s.again.Store(true)
	select {
	case s.deciding <- struct{}{}:
		s.again.Store(false)
		return true
	default:
		return false
	}
}

// release gives deciding back.
func (s *socket) release() {
	<-s.deciding
	if !s.again.Swap(false) || s.rt.rechecks.enter() != nil {
		return
	}
	go func() { // Close waits for it
		defer s.rt.rechecks.leave()
		s.rt.recheckOnly(s.ctx, &s.conn)
	}()
}

// verdict is what the policy has said of all that a socket has. Nil is yes.
type verdict struct {
	turn     uint64
	channels map[string]*wire.Error
	sessions map[presence.Key]*wire.Error
}

// judge asks the policy about everything, each question with a deadline of its
// own, as many at a time as turns has room for.
func (s *socket) judge(ctx context.Context, id Identity, channels []string, sessions []membership, turns chan struct{}) verdict {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // nothing is left to ask about then
	call := &policyCall{conn: &s.conn}
	ctx, end := call.begin(ctx)
	defer end()
	v := verdict{channels: make(map[string]*wire.Error), sessions: make(map[presence.Key]*wire.Error)}
	var mu sync.Mutex
	var panicked any
	var asking errgroup.Group
	ask := func(verb Verb, channel string, answer func(*wire.Error)) {
		turns <- struct{}{}
		asking.Go(func() error {
			defer func() { <-turns }()
			err, fault := s.rt.ask(ctx, id, Action{verb, channel})
			mu.Lock()
			defer mu.Unlock()
			if answer(err); fault != nil {
				panicked = fault
			}
			return nil
		})
	}
	for _, channel := range channels {
		ask(VerbSubscribe, channel, func(err *wire.Error) { v.channels[channel] = err })
	}
	for _, m := range sessions {
		ask(VerbJoin, m.Channel, func(err *wire.Error) {
			if v.sessions[m.Key] = err; !id.mayBe(m.User) { // a renewed identity may be without AnyUser
				v.sessions[m.Key] = notYou(m.User)
			}
		})
	}
	_ = asking.Wait() // nil
	if panicked != nil {
		panic(panicked)
	}
	return v
}

// ask asks the policy about one action, and returns what it panicked with.
func (rt *Realtime) ask(ctx context.Context, id Identity, a Action) (refused *wire.Error, panicked any) {
	defer func() { panicked = recover() }()
	ctx, cancel := context.WithTimeout(ctx, decideTime)
	defer cancel()
	if f := rt.policy.allow(ctx, rt.log, id, a); f != nil {
		return f.Error, nil
	}
	return nil, nil
}

// expel ends the sessions that are not allowed, and returns what the client is told.
// No operation joins again meanwhile.
func (s *socket) expel(v verdict, within *policyCall) (told []wire.Frame) {
	// An operation that has begun since then does not wait for this check, whoever
	// makes it.
	done, ok := s.settled(within, false)
	if !ok {
		return nil
	}
	defer done()
	var keys []presence.Key
	for key, err := range v.sessions {
		if err == nil {
			s.sessions.confirm(key, v.turn)
		} else if s.sessions.take(key, v.turn) {
			keys = append(keys, key)
			told = append(told, taken("left", key.Channel, key.User, err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	s.rt.presence.endAll(ctx, keys, presence.Closed, 0)
	return told
}

// taken tells a client what it no longer has, and why.
func taken(event, channel, user string, why *wire.Error) wire.Frame {
	frame := wire.ErrorFrame(nil, why)
	frame.Event, frame.Channel, frame.UserID = event, channel, user
	return frame
}

// restrict is what the writer does with a verdict.
func (s *socket) restrict(v verdict, left []wire.Frame) {
	for _, channel := range slices.Sorted(maps.Keys(v.channels)) {
		f, ok := s.channels[channel]
		switch err := v.channels[channel]; {
		case !ok || f.turn > v.turn:
		case err == nil:
			f.turn = v.turn
			s.channels[channel] = f
		default:
			s.drop(channel)
			frame := taken("unsubscribed", channel, "", err)
			frame.Cursor = s.cursor()
			s.append(frame)
		}
	}
	for _, frame := range left {
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
