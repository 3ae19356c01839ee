package simtest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// stay is a time in which a client is present: a Join has succeeded on a node that lives,
// and neither has its lease run out, nor has the client left or gone to another node.
type stay struct {
	asked, from, until time.Time // asked: when the Join was called
	node               *node
}

// stays notes what a client does. Only that client's goroutine uses it until the end.
type stays struct {
	list    []stay
	unknown time.Time // until when a Leave without an answer may end a stay
}

// left notes that the client called Leave on a node, and with which error. What becomes of
// a Leave on another node than that of the session is unknown to the latter, so it may end
// the next stay as well.
func (s *stays) left(on, home *node, err error) {
	if err != nil && on != home {
		s.unknown = time.Now().Add(latest)
	}
}

// end ends the stays that are open: what the client does from now on may end them.
func (s *stays) end() {
	for i := range s.list {
		if it := &s.list[i]; it.until.After(time.Now()) {
			it.until = time.Now()
		}
	}
}

// asks notes that the client calls Join on a node, and returns what notes that it has
// succeeded.
func (s *stays) asks(n *node, ttl time.Duration) (joined func()) {
	asked := time.Now()
	if i := len(s.list); i > 0 && s.list[i-1].node != n {
		s.end() // even if this Join fails, it may have taken the session over
	}
	return func() {
		if from := time.Now(); from.After(s.unknown) {
			s.list = append(s.list, stay{asked, from, asked.Add(ttl), n})
		}
	}
}

// at returns the stay of a moment, nil if there is none.
func (s *stays) at(t time.Time) *stay {
	for i := range s.list {
		it := &s.list[i]
		if t.After(it.from) && t.Before(it.until) && (it.node.died.IsZero() || t.Before(it.node.died)) {
			return it
		}
	}
	return nil
}

// givenUp is the time after a cut in which the sessions of a node that was cut off may
// end: it was silent, and does not know yet that it was given up.
const givenUp = time.Minute

type member struct{ channel, user string }

func (m member) compare(o member) int {
	return cmp.Or(cmp.Compare(m.channel, o.channel), cmp.Compare(m.user, o.user))
}

// deceived reports whether the log has an event of a member that came too late, and was
// shown by the node, which cannot know the newer one: it had been evicted when the node
// started. See the ghost of docs/reliability.md.
func (n *node) deceived(m member) bool {
	keeps := n.engine.retain
	if n.history > 0 {
		keeps = min(keeps, n.history)
	}
	newest, at, before := backend.Revision(0), 0, 0 // at: of the newest; before: the node started
	for i, r := range n.engine.all {
		if !r.Time.After(n.began) {
			before = i + 1
		}
		p, err := backend.DecodePayload(r.Data)
		if err != nil || p.Event.Resource != backend.Presence || p.Event.Channel != m.channel || p.Event.User != m.user {
			continue
		}
		if r.Cause <= newest && at < before-keeps {
			return true
		}
		if r.Cause > newest {
			newest, at = r.Cause, i
		}
	}
	return false
}

// checkLeaves finds members that leave although one of their clients is present.
func (w *world) checkLeaves() {
	last := make(map[member]backend.Revision)
	for _, r := range w.engine.all {
		p, err := backend.DecodePayload(r.Data)
		if err != nil || p.Event.Resource != backend.Presence {
			continue
		}
		m := member{p.Event.Channel, p.Event.User}
		if r.Cause <= last[m] { // it came too late, and no node shows it
			continue
		}
		last[m] = r.Cause
		if p.Event.Type != backend.PresenceLeave {
			continue
		}
		for _, s := range w.sessions {
			if s.channel() != m.channel || s.user() != m.user {
				continue
			}
			if it := s.stays.at(r.Time); it != nil && !w.excused(it, r.Time) {
				w.t.Errorf("%v %s leaves %s at %v by reason of %s, and %v joined on node %d at %v",
					r.Pos, m.user, m.channel, r.Time.Sub(epoch), reasonOf(p.Event.Data), s, it.node.id, it.from.Sub(epoch))
			}
		}
	}
}

// excused reports whether a stay may end although its client wants it: the engine has
// lost it, or its node was taken for dead.
func (w *world) excused(it *stay, at time.Time) bool {
	for _, lost := range w.losses {
		if lost.After(it.asked) && lost.Before(at) {
			return true
		}
	}
	return it.node.wasCut(at.Add(-givenUp), at) || it.node.link.wasSilent(at.Add(-givenUp), at)
}

// wasSilent reports whether at some time in between the node could not write its own record
// for so long that the others may have given it up. They count from when they asked for the
// record, which is up to 3 s before they got it.
func (l *link) wasSilent(from, to time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, at := range l.beats {
		next := to
		if i+1 < len(l.beats) && l.beats[i+1].Before(to) {
			next = l.beats[i+1]
		}
		if next.After(from) && next.Sub(at) >= silence-3*time.Second &&
			slices.ContainsFunc(l.tried, func(try time.Time) bool { return try.After(at) && try.Before(next) }) {
			return true
		}
	}
	return false
}

// checkOnce finds events of a change that are in the log twice although the log still
// knew their ids.
func (w *world) checkOnce() {
	first := make(map[backend.Revision]backend.Record)
	for _, r := range w.engine.all {
		was, twice := first[r.Cause]
		if twice && was.Pos.Epoch == r.Pos.Epoch && r.Time.Sub(was.Time) < idWindow {
			w.t.Errorf("the event of change %d is in the log twice, at %v and %v", r.Cause, was.Pos, r.Pos)
		}
		if r.Cause != 0 {
			first[r.Cause] = r
		}
	}
}

// visits has clients come who do not stay: they join once, and leave. If the Join fails,
// they go away and say nothing.
func (w *world) visits() {
	for k := 0; w.faulty(); k++ {
		is := func(aspect string, n int64) int64 { return draw(n, w.seed, "visit", k, aspect) }
		time.Sleep(time.Duration(is("pause", int64(10*time.Second))))
		w.acting.Go(func() {
			n := w.any("visit", k)
			user, client := "v"+string(rune('0'+k%10)), realtime.FromClient("simulated-visitor-000")
			err := n.rt.Presence().Join(context.Background(), "hall", user, nil, client)
			n.trace("node %d: visit %s: %v", n.id, user, err)
			if err != nil {
				return
			}
			time.Sleep(time.Duration(is("stay", int64(20*time.Second))))
			err = n.rt.Presence().Leave(context.Background(), "hall", user, client)
			n.trace("node %d: end of visit %s: %v", n.id, user, err)
		})
	}
}

// welcome has a client join at a node as soon as that has started, and leave a while later.
// If another node looks for what the dead have left just then, it has not seen the new one.
func (w *world) welcome(n *node) {
	if !w.busy {
		return
	}
	s := &session{world: w, id: n.id, guest: true, node: n}
	w.mu.Lock()
	w.sessions = append(w.sessions, s)
	w.mu.Unlock()
	w.acting.Go(s.visit)
}

// visit joins once and leaves. If the Join fails, the guest says nothing more.
func (s *session) visit() {
	is := func(aspect string, n int64) int64 { return draw(n, s.seed, "guest", s.id, aspect) }
	time.Sleep(time.Duration(is("pause", int64(200*time.Millisecond))))
	if s.join(0); !s.in {
		return
	}
	time.Sleep(time.Duration(is("stay", int64(time.Minute))))
	for s.leave(s.node); !s.sure && s.node.alive(); s.leave(s.node) {
		time.Sleep(2 * time.Second)
	}
}
