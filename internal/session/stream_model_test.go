package session_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// A stream tells each event once and in order, or that it does not, however it is
// interrupted, granted other domains, and taken up again.
func TestStreamModel(t *testing.T) {
	stories(t, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r)
		m := &streamModel{t: t, world: w}
		m.connect("")
		for range 150 {
			switch n := r.IntN(20); {
			case n < 8:
				w.happen()
			case n < 15:
				m.fill()
			case n == 15:
				m.Do(func() { m.Ping(1) })
			case n == 16:
				m.grant()
			case n == 17 && m.more: // cut
				m.connect(m.cursor)
			case n == 18:
				m.bye()
			}
		}
		m.finish()
	})
}

type streamModel struct {
	*stream
	*world
	t       *testing.T
	domains []string // that will be told
	more    bool

	// the client
	cursor string
	pos    backend.Position
	read   backend.Position // what is up to here it has read elsewhere, since a reset told it to
	told   []string         // domains
	begun  bool
	over   bool
}

func (m *streamModel) connect(cursor string) {
	m.stream = newStream(m.t, m.history)
	m.domains, m.begun, m.over, m.more = m.anyDomains(), false, false, true
	m.begin(cursor, m.domains...)
}

func (m *streamModel) anyDomains() []string {
	all := [][]string{{"realtime"}, {"kv", "realtime"}, {"kv", "presence", "realtime"}, {"*"}}
	return all[m.r.IntN(len(all))]
}

func (m *streamModel) grant() {
	domains := m.anyDomains()
	m.Do(func() { m.Regrant(&view{}, topics(domains...), session.Hello{Domains: domains}) })
}

func (m *streamModel) bye() {
	end := session.Ending{Reason: "rotate"}
	if m.r.IntN(2) == 0 {
		end = session.Ending{Reason: "closing", Rest: m.Head()}
	}
	m.Bye(end)
	for m.fill() {
	}
	if !m.over || m.pos.Compare(end.Rest) < 0 {
		m.t.Errorf("ended at %v without what is up to %v, with a bye: %v", m.pos, end.Rest, m.over)
	}
	m.connect(m.cursor)
}

func (m *streamModel) finish() {
	for m.dirty.Load() || m.more {
		m.fill()
	}
	for range 2 { // the first is told before the head is looked for
		m.Do(func() { m.Ping(1) })
		for m.fill() {
		}
	}
	if m.pos != m.Head() {
		m.t.Errorf("complete up to %v, the head is %v", m.pos, m.Head())
	}
}

func (m *streamModel) fill() bool {
	m.budget = anyBudget(m.r)
	var out string
	out, m.more = m.stream.fill()
	for _, ev := range frames(m.t, out) {
		pos, ok := wire.ParseCursor(ev.ID)
		if !ok || m.over {
			m.t.Errorf("%+v, after the end: %v", ev, m.over)
		}
		told := shortStream(m.t, "event: "+ev.Name+"\nid: "+ev.ID+"\ndata: "+ev.Data+"\n\n")
		switch ev.Name {
		case "ren.hello":
			if strings.Contains(told, "resumed") {
				m.inOrder(told, pos, pos)
			}
			m.pos = pos
			m.told, m.begun = strings.Split(strings.Fields(told)[len(strings.Fields(told))-2], ","), true
		case "ren.reset":
			m.pos, m.read = pos, m.Head()
		default:
			if !m.begun {
				m.t.Errorf("%s before the hello", told)
			}
			upto := pos
			if ev.Name == "message" {
				upto.Seq--
			}
			m.inOrder(told, upto, pos)
			m.pos, m.over = pos, ev.Name == "ren.bye"
		}
		m.cursor = ev.ID
	}
	return m.more
}

// inOrder checks that nothing was left out up to a place, and that what comes now is
// at a later one.
func (m *streamModel) inOrder(told string, upto, pos backend.Position) {
	if missed := m.between(m.pos.Max(m.read), upto, m.carried); missed != nil {
		m.t.Errorf("%s comes at %v, and %v was not told", told, m.pos, missed.Pos)
	}
	if pos.Compare(m.pos) < 0 || pos == m.pos && upto != pos {
		m.t.Errorf("%s comes at %v", told, m.pos)
	}
}

func (m *streamModel) carried(ev *backend.Event) bool {
	return slices.Contains(m.told, "*") || slices.Contains(m.told, ev.Resource)
}
