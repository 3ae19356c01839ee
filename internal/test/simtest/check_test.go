package simtest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// check compares what nodes saw and did with what may be.
func (w *world) check() {
	for _, n := range w.nodes {
		n.rest()
	}
	order, epochs := make(map[string]int), make(map[string]uint64)
	for i, r := range w.engine.all {
		p, err := backend.DecodePayload(r.Data)
		if err != nil {
			w.t.Error(err)
		}
		if id := messageID(p.Event.Data); p.Event.Type == backend.Message && p.Event.Key == "" {
			if _, twice := order[id]; twice {
				w.t.Errorf("message %s is in the log twice", id)
			}
			order[id], epochs[id] = i, r.Pos.Epoch
		}
	}
	for _, id := range w.acked {
		if _, ok := order[id]; !ok {
			w.t.Errorf("message %s was accepted and is not in the log", id)
		}
	}
	for _, n := range w.nodes {
		n.checkOrder(order, epochs)
		n.checkAlternation()
		n.checkReasons()
	}
	for _, n := range w.live() {
		n.checkMembers()
		if !slices.ContainsFunc(n.view, func(s seen) bool { return s.message == "last" }) {
			w.t.Errorf("node %d does not see the last message", n.id)
		}
	}
	w.checkHandled(order, epochs)
	w.checkLeaves()
	w.checkOnce()
	w.checkStreams()
}

// rest ends what the node notes.
func (n *node) rest() {
	n.stop()
	n.gone.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view, n.calls, n.told = slices.Clip(n.view), slices.Clip(n.calls), slices.Clip(n.told)
}

// checkOrder finds messages that a node did not see although it was not told.
func (n *node) checkOrder(order map[string]int, epochs map[string]uint64) {
	byIndex := make([]string, len(n.engine.all))
	for id, i := range order {
		byIndex[i] = id
	}
	last, reset := -1, true
	for _, s := range n.view {
		if s.reset {
			reset = true
		}
		if s.message == "" {
			continue
		}
		at := order[s.message]
		if at <= last {
			n.t.Errorf("node %d sees %s, which is not after %s", n.id, s.message, byIndex[last])
		}
		if !reset {
			if epochs[s.message] != epochs[byIndex[last]] {
				n.t.Errorf("node %d is not told that the epoch changed before %s", n.id, s.message)
			}
			for _, id := range byIndex[last+1 : at] {
				if id != "" && epochs[id] == epochs[s.message] {
					n.t.Errorf("node %d does not see %s, which is before %s", n.id, id, s.message)
				}
			}
		}
		last, reset = at, false
	}
}

// checkReasons finds resets where the engine has all that it ever got, and, where no
// request fails and clients renew in time, members that did not leave by themselves,
// although nobody died, or that left too soon after the engine was put back.
func (n *node) checkReasons() {
	kept := len(n.losses) == 0 && n.history == 0 && len(n.engine.all) <= n.engine.retain
	for _, s := range n.view {
		if s.reset && kept {
			n.t.Errorf("node %d is reset at %v, and nothing was lost", n.id, s.at.Sub(epoch))
		}
		if s.typ != backend.PresenceLeave || s.reason == "left" || n.rate > 0 {
			continue
		}
		switch lost := sinceLast(n.losses, s.said); {
		case s.reason == "node" && lost > time.Second && lost < lease-time.Second && !n.newcomer(s.said.Add(-lost), s.said):
			n.t.Errorf("node %d sees %s leave %s at %v, by reason of node, %v after the engine lost its tail", n.id, s.user, s.channel, s.said.Sub(epoch), lost)
		case s.reason == "timeout" && len(n.losses) > 0: // see roams
		case s.reason != "node", lost > 2*lease && sinceLast(n.deaths, s.said) > lease+time.Second:
			n.t.Errorf("node %d sees %s leave %s at %v by reason of %s", n.id, s.user, s.channel, s.said.Sub(epoch), s.reason)
		}
	}
}

// lease is how long the sessions of a dead node stay, and how long nobody ends those of
// others after the engine was put back.
const lease = 30 * time.Second

// silence is how long a node watches another one that is silent before it gives it up.
const silence = lease * 2 / 3

// newcomer reports whether a node has started since the engine was put back that has
// watched the others for long enough to give one up. It knows of no loss.
func (w *world) newcomer(lost, at time.Time) bool {
	return slices.ContainsFunc(w.nodes, func(n *node) bool { return n.began.After(lost) && at.Sub(n.began) >= silence })
}

// sinceLast returns how long before at the last of some times was.
func sinceLast(times []time.Time, at time.Time) time.Duration {
	last := epoch.Add(-time.Hour)
	for _, t := range times {
		if !t.After(at) && t.After(last) {
			last = t
		}
	}
	return at.Sub(last)
}

// checkThere finds a user who is not there although a Join was answered just now, where
// no request fails.
func (s *session) checkThere(n *node) {
	if s.rate > 0 {
		return
	}
	users := n.members(s.channel())
	s.mu.Lock()
	recent := sinceLast(s.losses, time.Now()) < around
	s.mu.Unlock()
	if !recent && n.alive() && !slices.Contains(users, s.user()) {
		s.t.Errorf("%v has joined at node %d at %v, but the members are %v", s, n.id, time.Since(epoch), users)
	}
}

// checkAlternation finds two joins, or leaves, of a member in a row.
func (n *node) checkAlternation() {
	there := make(map[member]bool)
	for _, s := range n.view {
		if s.reset {
			clear(there)
			continue
		}
		if s.typ != backend.PresenceJoin && s.typ != backend.PresenceLeave && s.typ != backend.PresenceUpdate {
			continue
		}
		m := member{s.channel, s.user}
		was, known := there[m]
		there[m] = s.typ != backend.PresenceLeave
		if known && was != (s.typ != backend.PresenceJoin) && !n.deceived(m) {
			n.t.Errorf("node %d sees %s of %v at %v although it was %v", n.id, s.typ, m, s.at.Sub(epoch), was)
		}
	}
	if !n.alive() {
		return
	}
	for _, m := range slices.SortedFunc(maps.Keys(there), member.compare) {
		is := there[m]
		if members := n.members(m.channel); slices.Contains(members, m.user) != is && !n.deceived(m) {
			n.t.Errorf("node %d: by the log %v is %v, but members are %v", n.id, m, is, members)
		}
	}
}

func (n *node) members(channel string) (users []string) {
	found, err := n.rt.Presence().Members(context.Background(), channel)
	if err != nil && n.alive() {
		n.t.Errorf("node %d: %v", n.id, err)
	}
	for _, m := range found {
		users = append(users, m.UserID)
	}
	return users
}

// checkMembers compares the members with the sessions that live.
func (n *node) checkMembers() {
	for _, channel := range []string{"room0", "room1", "hall"} {
		var want []string
		for _, s := range n.sessions {
			if s.channel() == channel && s.in && s.node != nil && s.node.alive() {
				want = append(want, s.user())
			}
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(n.members(channel), want) {
			n.t.Errorf("node %d: the members of %s are %v, but sessions have %v", n.id, channel, n.members(channel), want)
		}
	}
}

// around is how long before an event is handled again something must have gone wrong:
// two leases of a group.
const around = 20 * time.Second

// checkHandled finds messages that the group did not handle, or handled twice without
// a reason, or on two nodes at a time.
func (w *world) checkHandled(order map[string]int, epochs map[string]uint64) {
	type handled struct {
		call
		node int
	}
	var calls []handled
	done := make(map[string][]call)
	var told time.Time
	for _, n := range w.nodes {
		for _, c := range n.calls {
			calls = append(calls, handled{c, n.id})
			if c.done {
				done[c.message] = append(done[c.message], c)
			}
		}
		for _, at := range n.told {
			if at.After(told) {
				told = at
			}
		}
	}
	for id, i := range order {
		if at := w.engine.all[i].Time; at.After(told) && at.Sub(epoch) > 10*time.Second && epochs[id] == epochs["last"] && len(done[id]) == 0 {
			w.t.Errorf("%s of %v was not handled", id, at.Sub(epoch))
		}
		if cs := done[id]; len(cs) > 1 {
			slices.SortFunc(cs, func(a, b call) int { return a.began.Compare(b.began) })
			from, to := cs[0].began.Add(-around), cs[len(cs)-1].began
			if !slices.ContainsFunc(w.faults, func(at time.Time) bool { return at.After(from) && at.Before(to) }) {
				w.t.Errorf("%s was handled %d times", id, len(cs))
			}
		}
	}
	slices.SortFunc(calls, func(a, b handled) int { return a.began.Compare(b.began) })
	for i, a := range calls {
		for _, b := range calls[i+1:] {
			if !b.began.Before(a.ended) {
				break
			}
			lost := slices.ContainsFunc(w.losses, func(at time.Time) bool { return b.began.Sub(at).Abs() < around })
			if a.node != b.node && !lost {
				w.t.Errorf("nodes %d and %d handle %s and %s at the same time, %v", a.node, b.node, a.message, b.message, b.began.Sub(epoch))
			}
		}
	}
}
