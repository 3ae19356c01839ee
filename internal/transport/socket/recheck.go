package socket

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"golang.org/x/sync/errgroup"
)

// recheck asks about each channel and each session again. It begins when the
// operation is done that is being decided, so that none is done that was allowed
// before and is not now; those that come later are decided by themselves. Of two
// decisions about the same thing, the one that was asked for later counts.
func (s *socket) recheck(ctx context.Context, turns *turns.Turns) {
	s.checks.Add(1)
	within := rights.CallOf(ctx)
	done, ok := s.settled(within, within.ByPolicy())
	if !ok {
		return
	}
	id, turn := *s.id, s.session.Turn()
	done()
	var channels, rewinding []string
	if !s.conn.RunOnWriter(s.session.Do, func() { channels, rewinding = s.session.Asked(), s.session.Rewinding() }) {
		return
	}
	if !s.node.Policy.AskHistory {
		rewinding = nil
	}
	v := s.judge(ctx, id, channels, rewinding, s.sessions.list(), turns)
	if s.ctx.Err() != nil { // nothing is left to take away
		return
	}
	v.turn = turn
	left := s.expel(v, within)
	s.restrict(v, left)
}

// settled waits until no operation is being decided, and keeps others from it until
// done is called. It does not wait for the operation that asks for it. A hasty call
// does not wait for long: then ok is false, and all is checked when the operation is
// done.
func (s *socket) settled(within *rights.Call, hasty bool) (done func(), ok bool) {
	if within.Holding(&s.conn) {
		return func() {}, true
	}
	waits := s.deciding.Take(1)
	if waits == nil {
		return s.release, true
	}
	for {
		select {
		case <-waits:
			return s.release, true
		case <-s.conn.Done():
			s.deciding.Cancel(waits)
			return nil, false
		case <-time.After(conns.KickTimeout): // the policy, the backend or the client is slow
			if hasty {
				s.deciding.Cancel(waits)
				return s.release, s.settledLater()
			}
			if !s.conn.RunOnWriter(s.session.Do, func() {}) {
				s.deciding.Cancel(waits)
				return nil, false
			}
		}
	}
}

// settledLater has all checked by who gives deciding back, unless that has just
// happened: then it returns true.
func (s *socket) settledLater() bool {
	s.again.Store(true)
	if s.deciding.Try(1) {
		s.again.Store(false)
		return true
	}
	return false
}

// decides takes deciding, when nobody else has it.
func (s *socket) decides() {
	if waits := s.deciding.Take(1); waits != nil {
		<-waits
	}
}

// release gives deciding back.
func (s *socket) release() {
	s.deciding.Give()
	if s.again.Swap(false) {
		s.node.Rights.RecheckSoon(s.ctx, &s.conn)
	}
}

// verdict is what the policy has said of all that a socket has. Nil is yes.
type verdict struct {
	turn     uint64
	channels map[string]*wire.Error
	past     map[string]*wire.Error // that of channels
	sessions map[presence.Key]*wire.Error
}

// judge asks the policy about everything. The deadline of each question begins when its
// turn has come.
func (s *socket) judge(ctx context.Context, id policy.Identity, channels, rewinding []string, sessions []membership, turns *turns.Turns) verdict {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // nothing is left to ask about then
	call := &rights.Call{Conn: &s.conn}
	ctx, end := call.Begin(ctx)
	defer end()
	v := verdict{channels: make(map[string]*wire.Error), past: make(map[string]*wire.Error), sessions: make(map[presence.Key]*wire.Error)}
	var mu sync.Mutex
	var panicked error
	var asking errgroup.Group
	ask := func(verb string, channel string, answer func(*wire.Error)) {
		turns.Take()
		asking.Go(func() error {
			defer turns.Give(time.Now())
			err, fault := s.ask(ctx, id, policy.Action{Verb: verb, Name: channel})
			mu.Lock()
			defer mu.Unlock()
			if answer(err); fault != nil {
				panicked = fault
			}
			return nil
		})
	}
	for _, channel := range channels {
		ask(policy.Subscribe, channel, func(err *wire.Error) { v.channels[channel] = err })
	}
	for _, channel := range rewinding {
		ask(policy.History, channel, func(err *wire.Error) { v.past[channel] = err })
	}
	for _, m := range sessions {
		ask(policy.Join, m.Channel, func(err *wire.Error) {
			if v.sessions[m.Key] = err; !id.MayBe(m.User) { // a renewed identity may be without AnyUser
				f := &refused.Refusal{Status: http.StatusForbidden, Error: notYou(m.User)}
				v.sessions[m.Key] = s.node.Refused.Add(f.Of(id.User, policy.Join, m.Channel, "").FromAddress(s.about.Address)).Error
			}
		})
	}
	_ = asking.Wait() // nil
	if panicked != nil {
		panic(panicked)
	}
	return v
}

// ask asks the policy about one action. The second error is that it panicked.
func (s *socket) ask(ctx context.Context, id policy.Identity, a policy.Action) (refused *wire.Error, panicked error) {
	panicked = guard.Call(func() error {
		if f := s.node.Policy.Permit(ctx, id, a); f != nil {
			refused = s.node.Refused.Add(f.FromAddress(s.about.Address)).Error
		}
		return nil
	})
	return refused, panicked
}

// expel ends the sessions that are not allowed, and returns what the client is told.
// No operation joins again meanwhile.
func (s *socket) expel(v verdict, within *rights.Call) (told []wire.Frame) {
	// An operation that has begun since then does not wait for this check, even if it
	// makes the check.
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
			told = append(told, wire.TakenFrame("left", key.Channel, key.User, err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), bounded.CallTime)
	defer cancel()
	s.node.Members.EndAll(ctx, keys, presence.Closed, 0)
	return told
}

// restrict has the writer do what a verdict says, and returns when the client has been
// told that and what it has left.
func (s *socket) restrict(v verdict, left []wire.Frame) {
	s.conn.RunOnWriter(func(told func()) {
		s.session.Do(func() {
			s.session.Withhold(v.turn, v.past)
			s.session.Restrict(v.turn, v.channels)
			for _, frame := range left {
				s.session.Answer(frame)
			}
			s.session.ShowAgain()
			s.session.Do(told) // when this is written
		})
	}, func() {})
}
