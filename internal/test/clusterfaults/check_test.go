package clusterfaults

import (
	"fmt"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// history is what came of a run.
type history struct {
	*world
	views []*view
	order map[int]backend.Position // where each message is that somebody was given
	had   map[*view]map[int]bool   // the messages that a client was given

	acked, unseen, delivered, resets, repeated, untold, disordered, flaps int
}

// check compares what clients were given, and handlers did, with what may be.
func (w *world) check() {
	h := &history{world: w, order: make(map[int]backend.Position), had: make(map[*view]map[int]bool)}
	for _, f := range w.followers {
		h.views = append(h.views, f.views...)
	}
	h.place()
	for _, v := range h.views {
		h.checkOrder(v)
	}
	for _, s := range w.sent {
		if !s.acked {
			continue
		}
		h.acked++
		if _, ok := h.order[s.id]; !ok {
			h.unseen++
		}
		for _, v := range h.views {
			if slices.Contains(v.channels, s.channel) {
				h.checkDelivered(v, s)
			}
		}
	}
	figure(w.t, "1 3 8 21 delivery", "%d faults; %d published, %d accepted, %d of those lost by the engine; %d delivered to %d views, %d resets; "+
		"accepted, not delivered and no reset %d, repeated %d, out of order %d", len(w.faults), len(w.sent), h.acked, h.unseen, h.delivered, len(h.views), h.resets,
		h.untold, h.repeated, h.disordered)
	h.checkPublish()
	h.checkPresence()
	h.checkGhosts()
	h.checkHandled()
	h.checkRepair()
}

// place finds out where messages are. A place has one message, by whichever way it comes.
func (h *history) place() {
	at := make(map[backend.Position]int)
	for _, v := range h.views {
		for _, s := range v.all() {
			if s.id == 0 {
				continue
			}
			if other, ok := at[s.pos]; ok && other != s.id {
				h.t.Errorf("%s has message %d at %v, where another client has %d", v.name, s.id, s.pos, other)
			}
			at[s.pos] = s.id
			// After a loss an engine may show what is left of an earlier epoch as of the
			// present one.
			if pos, ok := h.order[s.id]; !ok || s.pos.Compare(pos) < 0 {
				h.order[s.id] = s.pos
			}
		}
	}
}

func (h *history) checkOrder(v *view) {
	had := make(map[int]bool)
	h.had[v] = had
	last := 0
	for _, s := range v.all() {
		if s.reset != "" {
			h.resets++
			if s.reset != "epoch" && s.reset != "evicted" && s.reset != "backend" && s.reset != "unknown" {
				h.t.Errorf("%s: %s", v.name, s.reset)
			}
			continue
		}
		if s.id == 0 {
			continue
		}
		h.delivered++
		if had[s.id] {
			h.repeated++
			h.t.Errorf("%s has message %d twice", v.name, s.id)
		}
		had[s.id] = true
		if last != 0 && h.order[s.id].Compare(h.order[last]) <= 0 {
			h.disordered++
			h.t.Errorf("%s has message %d, of %v, after %d, of %v", v.name, s.id, h.order[s.id], last, h.order[last])
		}
		last = s.id
	}
}

// checkDelivered finds an accepted message that a client was not given, and not told
// of either. It was told if there is a reset in the gap where the message belongs, or,
// of a message that nobody has, after it was published.
func (h *history) checkDelivered(v *view, m *sent) {
	if h.had[v][m.id] {
		return
	}
	pos, known := h.order[m.id]
	told := false
	for _, s := range v.all() {
		switch {
		case s.reset != "" && (known || !s.at.Before(m.began)):
			told = true
		case s.id != 0 && known && h.order[s.id].Compare(pos) < 0:
			told = false
		case s.id != 0 && known && !told: // after the gap
			h.untold++
			h.t.Errorf("%s lacks message %d, of %v at node %d, accepted %v after the start; it goes on with %d, of %v", v.name, m.id, pos, m.node.number,
				m.ended.Sub(h.sent[0].began).Round(time.Millisecond), s.id, h.order[s.id])
			return
		case s.id != 0 && known:
			return
		}
	}
	if !told {
		h.untold++
		h.t.Errorf("%s lacks message %d, of %v, accepted by node %d %v after the start", v.name, m.id, pos, m.node.number, m.ended.Sub(h.sent[0].began).Round(time.Millisecond))
	}
}

// publishTime is how long Publish takes at most where its caller sets no deadline.
const publishTime = 5 * time.Second

// checkPublish checks that calls of Publish returned in time. One at a node that was
// stopped counts the time in which it was.
func (h *history) checkPublish() {
	failed, unknown, longest := 0, 0, time.Duration(0)
	for _, s := range h.sent {
		if s.unknown {
			unknown++
		} else if !s.acked {
			failed++
		}
		if !slices.ContainsFunc(h.faults, func(f *fault) bool { return f.kind == pauseNode && f.node == s.node }) {
			longest = max(longest, s.took)
		}
	}
	figure(h.t, "8 publish", "%d refused, %d of unknown outcome; the longest call took %v", failed, unknown, longest.Round(time.Millisecond))
	if longest > publishTime+h.slow(publishTime) {
		h.t.Errorf("a call of Publish took %v", longest)
	}
}

// checkPresence checks that joins and leaves of a user alternate.
func (h *history) checkPresence() {
	joins, leaves := 0, 0
	for _, v := range h.views {
		there := make(map[string]bool)
		for _, s := range v.all() {
			if s.reset != "" {
				clear(there)
			}
			if !s.join && !s.leave || s.channel != lobby {
				continue
			}
			if s.join {
				joins++
			} else {
				leaves++
			}
			if was, known := there[s.user]; known && was == s.join {
				h.flaps++
				h.t.Errorf("%s: join %v of %s, %v after the start, although so it was", v.name, s.join, s.user, s.at.Sub(h.sent[0].began).Round(time.Millisecond))
			}
			there[s.user] = s.join
		}
	}
	figure(h.t, "7 presence", "%d joins, %d leaves; not alternating %d", joins, leaves, h.flaps)
}

// checkGhosts checks that the users of a killed node left, once, within its lease, if the
// engine knew of them. The lease counts from when the engine last forgot something: nodes record then who is
// there, and nobody is given up before they had the time to.
func (h *history) checkGhosts() {
	kills, recorded, leaves, longest := 0, 0, 0, time.Duration(0)
	for _, f := range h.faults {
		if f.kind != killNode {
			continue
		}
		kills++
		recorded += len(f.recorded)
		from := f.began
		for _, other := range h.faults {
			if other.forgets && other.end.After(from) {
				from = other.end
			}
		}
		for _, v := range h.views {
			for _, user := range f.node.users {
				at, times, told := v.left(user, f.began)
				leaves += times
				if times == 1 {
					longest = max(longest, at.Sub(from))
				}
				due := slices.Contains(f.recorded, user) && slices.Contains(v.channels, lobby)
				if times > 1 || times == 0 && !told && due {
					h.t.Errorf("%s: %s left %d times after node %d was killed", v.name, user, times, f.node.number)
				}
				if late := at.Sub(from); times > 0 && late > nodeLease+h.outages(from, at)+h.slow(nodeLease) {
					h.t.Errorf("%s: %s left %v after node %d was killed", v.name, user, late, f.node.number)
				}
			}
		}
	}
	figure(h.t, "6 killed nodes", "%d, with %d members recorded, who left %d times for all views, the last after %v of a lease of %v", kills, recorded, leaves, longest.Round(100*time.Millisecond), nodeLease)
}

// left returns when a user left after a time, how often, and whether a reset was told
// since, which may stand for it.
func (v *view) left(user string, after time.Time) (at time.Time, times int, told bool) {
	for _, s := range v.all() {
		switch {
		case s.at.Before(after):
		case s.reset != "":
			told = true
		case s.leave && s.user == user:
			at, times = s.at, times+1
		}
	}
	return at, times, told
}

// outages is how long the engine was out of order between two times.
func (h *history) outages(from, to time.Time) (sum time.Duration) {
	for _, f := range h.faults {
		if f.node != nil || f.end.Before(from) || f.began.After(to) {
			continue
		}
		sum += f.end.Sub(f.began)
	}
	return sum
}

// commitTime is how long after a handler returned its progress may be unknown to the
// other nodes.
const commitTime = 2 * time.Second

// checkHandled finds messages that the group did not handle, or handled twice although
// they were not under way when something broke.
func (h *history) checkHandled() {
	byID := make(map[int][]handling)
	var missed []time.Time
	var all []handling
	for _, n := range h.all {
		n.mu.Lock()
		all = append(all, n.handled...)
		missed = append(missed, n.missed...)
		n.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b handling) int { return a.began.Compare(b.began) })
	for _, c := range all {
		byID[c.id] = append(byID[c.id], c)
	}
	count, twice := 0, 0
	for _, m := range h.sent {
		if m.channel == "chat:1" {
			continue
		}
		calls := byID[m.id]
		done := slices.ContainsFunc(calls, func(c handling) bool { return !c.done.IsZero() })
		told := slices.ContainsFunc(missed, func(at time.Time) bool { return !at.Before(m.began) })
		if m.acked && !done && !told {
			h.t.Errorf("message %d, of %v, was not handled: %d calls", m.id, h.order[m.id], len(calls))
		}
		if done {
			count++
		}
		if len(calls) > 1 {
			twice++
			if !h.underWay(calls[0]) {
				h.t.Errorf("message %d was handled %d times: %v", m.id, len(calls), h.describe(calls))
			}
		}
	}
	pause := time.Duration(0)
	for i := 1; i < len(all); i++ {
		pause = max(pause, all[i].began.Sub(all[i-1].began))
	}
	figure(h.t, "18 groups", "%d messages handled, %d of them again after a fault; the longest pause %v; told %d times of missed ones", count, twice, pause.Round(100*time.Millisecond), len(missed))
}

// underWay reports whether a call, or the commit of it, was under way when something
// broke.
func (h *history) underWay(c handling) bool {
	if c.done.IsZero() {
		return true
	}
	return slices.ContainsFunc(h.faults, func(f *fault) bool {
		slack := h.slow(commitTime)
		return (f.node == nil || f.node == c.node) && c.done.After(f.began.Add(-slack)) && c.began.Before(f.end.Add(slack))
	})
}

func (h *history) describe(calls []handling) (text string) {
	for _, c := range calls {
		text += fmt.Sprintf(" node %d after %v", c.node.number, c.began.Sub(h.sent[0].began).Round(time.Millisecond))
	}
	return text
}

func (h *history) checkRepair() {
	if len(h.healing) > 0 {
		figure(h.t, "9 repair", "%d faults; the longest time until all clients were delivered to again: %v", len(h.healing), slices.Max(h.healing).Round(10*time.Millisecond))
	}
	if len(h.watched) > 0 {
		figure(h.t, "9 health", "red %v after the engine of a node fell silent", slices.Max(h.watched).Round(100*time.Millisecond))
	}
}
