package session_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// A connection tells of each channel each event once and in order, or that it does
// not, and has the roster of each right, whatever its client asks for, however late
// rosters come, and however often it is cut.
func TestChannelsModel(t *testing.T) {
	stories(t, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r)
		m := &channelsModel{t: t, world: w}
		m.connect()
		for range 250 {
			switch n := r.IntN(24); {
			case n < 8:
				w.happen()
			case n < 14:
				m.fill()
			case n < 18:
				m.ask()
			case n < 20:
				m.read()
			case n == 20:
				m.ping()
			case n == 21:
				m.check()
			case n == 22 && r.IntN(4) == 0:
				m.connect() // cut
			case n == 23 && r.IntN(4) == 0:
				m.bye()
			}
			if m.unreadable != "" {
				m.bye()
			}
		}
		m.finish()
	})
}

type channelsModel struct {
	*channels
	*world
	t    *testing.T
	more bool
	ref  int64

	// the client
	waits    map[int64]string      // the operations that were not answered
	rewinds  map[int64]int         // with how many messages
	followed map[string]*following // by channel
	ending   bool
	over     bool

	checked bool // its rights
}

// notUniform is the view of a client whose policy has a See.
var notUniform = &view{hidden: map[string]bool{"nobody": true}}

// following is what a client knows of a channel.
type following struct {
	pos      backend.Position
	live     bool // on this connection
	presence bool
	roster   map[string]bool  // nil: it has none
	at       backend.Position // where the roster is from
	known    backend.Position // presence events up to here do not come
	coming   map[string]bool  // of the parts that have come
	part     int
	again    bool              // rights were checked, or may have been: the roster must come again
	due      func(next object) // checks the reset or message that comes next; nil: nothing to check
}

func (m *channelsModel) connect() {
	m.channels = newChannels(m.t, m.history)
	if m.checked {
		m.SetView(notUniform)
	}
	m.waits, m.ending, m.over, m.more = make(map[int64]string), false, false, true
	m.rewinds = make(map[int64]int)
	before := m.followed
	m.followed = make(map[string]*following)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if f := before[name]; f.pos != (backend.Position{}) {
			if f.part > 0 {
				f.roster = nil
			}
			f.live, f.part, f.coming, f.again = false, 0, nil, m.checked && f.presence
			m.followed[name] = f
			m.op(name, wire.Cursor(f.pos), f.presence)
		}
	}
}

// op subscribes.
func (m *channelsModel) op(channel, since string, withPresence bool) {
	m.ref++
	what := "subscribe " + channel
	if withPresence {
		what += " with presence"
	}
	m.waits[m.ref] = what
	if m.r.IntN(2) == 0 {
		m.subscribe(m.ref, channel, since, withPresence)
		return
	}
	m.rewinds[m.ref] = 1 + m.r.IntN(6)
	m.rewind(m.ref, channel, since, withPresence, m.rewinds[m.ref], 0)
}

// ask has the client ask for something.
func (m *channelsModel) ask() {
	channel := modelChannels[m.r.IntN(len(modelChannels))]
	switch n := m.r.IntN(10); {
	case n < 7:
		since := ""
		if f := m.followed[channel]; f != nil && f.pos != (backend.Position{}) {
			since = wire.Cursor(f.pos)
		}
		m.op(channel, since, m.r.IntN(3) > 0)
	case n < 9:
		m.ref++
		m.waits[m.ref] = "unsubscribe " + channel
		m.unsubscribe(m.ref, channel)
	default:
		turn := m.Turn()
		m.Do(func() { m.Restrict(turn, map[string]*wire.Error{channel: forbidden}) })
	}
}

// check has the rights of the client checked, with nothing taken away, and its
// rosters shown again.
func (m *channelsModel) check() {
	m.checked = true
	m.Do(func() {
		m.SetView(notUniform)
		m.ShowAgain()
		for _, f := range m.followed {
			f.again = f.live && f.presence && f.roster != nil
		}
	})
}

// read answers the question for a roster, most often.
func (m *channelsModel) read() {
	if len(m.asked) == 0 {
		return
	}
	if m.r.IntN(10) == 0 {
		m.answer(unavailable)
		return
	}
	// That of where the roster is from is a member, for the client to know.
	users := []string{fmt.Sprint("@", m.Head().Seq)}
	for user := range m.present[m.asked[0].channel] {
		users = append(users, user)
	}
	if m.r.IntN(3) == 0 {
		users = append(users, "large1", "large2")
	}
	slices.Sort(users)
	m.answer(nil, users...)
}

func (m *channelsModel) bye() {
	end := session.Ending{Reason: "rotate"}
	if m.r.IntN(2) == 0 {
		end = session.Ending{Reason: "closing", Rest: m.Head()}
	}
	m.Bye(end)
	m.ending = true // rosters are given up
	for m.fill() {
	}
	if !m.over {
		m.t.Error("no bye")
	}
	m.connect()
}

// finish reads all that is left, and compares with what there is.
func (m *channelsModel) finish() {
	for n := 0; m.dirty.Load() || m.more || len(m.asked) > 0; n++ {
		if m.fill(); len(m.asked) > 0 {
			m.read()
		}
		if m.unreadable != "" {
			m.bye()
		}
		if n > 10_000 {
			m.t.Fatal("it does not come to an end")
		}
	}
	for range 2 { // the first is told before the head is looked for
		m.ping()
		for m.fill() {
		}
	}
	if len(m.waits) > 0 {
		m.t.Errorf("not answered: %v", m.waits)
	}
	for name, f := range m.followed {
		if f.live && f.pos != m.Head() {
			m.t.Errorf("%s is complete up to %v, the head is %v", name, f.pos, m.Head())
		}
	}
}

func (m *channelsModel) fill() bool {
	m.budget = anyBudget(m.r)
	var out string
	if out, m.more = m.channels.fill(); out != "" {
		for _, o := range objects(m.t, out) {
			if m.over {
				m.t.Errorf("%v after the bye", o)
			}
			m.take(o)
		}
	}
	if !m.more && !m.dirty.Load() && len(m.asked) == 0 && m.unreadable == "" && !m.over {
		for name, f := range m.followed {
			if f.again && f.roster != nil {
				m.t.Errorf("the roster of %s was not shown again", name)
			}
		}
	}
	return m.more
}

// take is what the client does with what it is told.
func (m *channelsModel) take(o object) {
	f := m.followed[o.Channel]
	switch o.Event {
	case "ping":
		m.complete(o)
		return
	case "bye":
		m.over = true
		m.complete(o)
		return
	case "ok", "subscribed", "error":
		m.answered(o)
		return
	}
	if f == nil || !f.live {
		m.t.Errorf("%v of a channel that is not subscribed to", o)
		return
	}
	if f.due != nil && (o.Event == "reset" || o.Event == "message") {
		f.due(o)
		f.due = nil
	}
	pos, _ := wire.ParseCursor(o.ID + o.Cursor)
	switch o.Event {
	case "message":
		m.follows(o, f, pos)
	case "presence.join", "presence.leave":
		m.follows(o, f, pos)
		if !f.presence || f.part > 0 && !m.ending || pos.Compare(f.known) <= 0 {
			m.t.Errorf("%v: with presence: %v, roster of %v, part %d", o, f.presence, f.known, f.part)
		}
		if f.roster != nil && o.Event == "presence.join" {
			f.roster[o.UserID] = true
		} else {
			delete(f.roster, o.UserID)
		}
	case "presence.state":
		m.state(o, f)
	case "reset":
		f.pos, f.roster, f.known = pos, nil, backend.Position{}
	case "unsubscribed":
		m.complete(object{Frame: wire.Frame{Event: o.Event, Cursor: o.Cursor}})
		delete(m.followed, o.Channel)
	default:
		m.t.Errorf("%v", o)
	}
}

// follows checks that an event is the next one of its channel.
func (m *channelsModel) follows(o object, f *following, pos backend.Position) {
	upto := backend.Position{Epoch: pos.Epoch, Seq: pos.Seq - 1}
	if pos.Compare(f.pos) <= 0 {
		m.t.Errorf("%v comes at %v", o, f.pos)
	}
	m.missed(o.String(), o.Channel, f, upto)
	f.pos = pos
}

// missed checks that nothing of a channel was left out.
func (m *channelsModel) missed(what, channel string, f *following, upto backend.Position) {
	rec := m.between(f.pos, upto, func(ev *backend.Event) bool {
		return ev.Channel == channel && ev.Resource == backend.Realtime
	})
	if rec == nil && f.presence && f.roster != nil {
		after := f.pos.Max(f.known) // the roster has what is before
		rec = m.between(after, upto, func(ev *backend.Event) bool {
			return ev.Channel == channel && ev.Resource == backend.Presence
		})
	}
	if rec != nil {
		m.t.Errorf("%s comes at %v, and %s %v was not told", what, f.pos, rec.Event.Type, rec.Pos)
	}
}

// complete takes a cursor that is true of all channels.
func (m *channelsModel) complete(o object) {
	pos, ok := wire.ParseCursor(o.Cursor)
	if !ok {
		return
	}
	for name, f := range m.followed {
		if !f.live {
			continue
		}
		m.missed(o.String(), name, f, pos)
		f.pos = f.pos.Max(pos)
		if f.presence && f.roster != nil && f.pos.Compare(f.at) >= 0 {
			if got, want := names(f.roster), m.there(name, f.pos); got != want {
				m.t.Errorf("%v: the roster of %s is %q, want %q", o, name, got, want)
			}
		}
	}
}

func (m *channelsModel) state(o object, f *following) {
	if o.Part != f.part && o.Part != 0 {
		m.t.Errorf("%v instead of part %d", o, f.part)
	}
	if o.Part == 0 {
		f.coming = make(map[string]bool)
	}
	for _, member := range o.Members {
		f.coming[member.UserID] = true
	}
	if f.part = o.Part + 1; o.More {
		return
	}
	f.part, f.presence, f.roster, f.again = 0, true, f.coming, false
	f.known = backend.Position{Epoch: epoch}
	for user := range f.roster {
		if _, err := fmt.Sscanf(user, "@%d", &f.known.Seq); err == nil || strings.HasPrefix(user, "large") {
			delete(f.roster, user)
		}
	}
	f.at = f.known
	if pos, ok := wire.ParseCursor(o.Cursor); ok {
		m.missed(o.String(), o.Channel, &following{pos: f.pos}, pos)
		f.pos = f.pos.Max(pos)
	}
}

// answered takes the answer to an operation.
func (m *channelsModel) answered(o object) {
	what, ok := m.waits[*o.Ref]
	if !ok {
		m.t.Errorf("%v answers nothing", o)
		return
	}
	delete(m.waits, *o.Ref)
	words := strings.Fields(what)
	channel, withPresence := words[1], len(words) > 2
	switch {
	case words[0] == "unsubscribe":
		delete(m.followed, channel)
	case o.Event == "error":
		if o.Code != "unavailable" {
			m.t.Errorf("%v answers %s", o, what)
		}
		if f := m.followed[channel]; f != nil && !f.live {
			delete(m.followed, channel)
		}
	default:
		m.subscribed(o, withPresence)
	}
}

func (m *channelsModel) subscribed(o object, withPresence bool) {
	f := m.followed[o.Channel]
	if f == nil {
		f = &following{}
		m.followed[o.Channel] = f
	}
	if pos, ok := wire.ParseCursor(o.Cursor); ok {
		if o.State != "resumed" {
			f.roster = nil
		} else if f.pos != (backend.Position{}) && pos != f.pos {
			m.t.Errorf("%v, though the client is at %v", o, f.pos)
		}
		f.pos, f.known = pos, backend.Position{} // what its roster has may come again
	}
	if !withPresence {
		f.presence, f.roster, f.known, f.part = false, nil, backend.Position{}, 0
	} else if o.State == "resumed" && o.Cursor != "" {
		f.presence = true
	}
	f.live = true
	if n := m.rewinds[*o.Ref]; n > 0 {
		m.rewound(o, f, n)
	}
}

// rewound checks the messages that came with an answer: they are the last ones up to
// where the channel goes on. Where that is after a reset that the client has not been
// told of, it is told next.
func (m *channelsModel) rewound(o object, f *following, n int) {
	var got []string
	for _, msg := range o.Messages {
		got = append(got, seq(msg.ID))
	}
	held := m.held(o.Channel, ring.Newest)
	last := func(upto backend.Position) (list []string) {
		for _, rec := range held {
			if rec.Pos.Compare(upto) <= 0 {
				list = append(list, seq(wire.Cursor(rec.Pos)))
			}
		}
		return list[max(0, len(list)-n):]
	}
	if slices.Equal(got, last(f.pos)) {
		return
	}
	f.due = func(next object) {
		pos, _ := wire.ParseCursor(next.Cursor)
		if next.Event != "reset" || len(got) > 0 && !slices.Equal(got, last(pos)) {
			m.t.Errorf("%v with %v, want %v; then %v", o, got, last(f.pos), next)
		}
	}
}
