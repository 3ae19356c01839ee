package policy

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// A stream with any grants gets each event that they cover and See shows, in order and
// once, and no other one, while the history lets go of events, rights change, and the
// client goes and comes back. It is told that it missed something only where it did,
// and woken only by what concerns it.
func TestGrantsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		m := &grantsModel{t: t, r: rand.New(rand.NewPCG(seed, 0))}
		m.keep = 5 + m.r.IntN(40)
		m.ring = ring.New(ring.Limits{Records: m.keep, Bytes: 1 << 30, Age: time.Hour}, m.at(0))
		m.policy.See = func(_ *Identity, ev *backend.Event) bool { return ev.User != "ghost" }
		m.connect(nil)
		for range 300 {
			switch n := m.r.IntN(20); {
			case n < 9:
				m.happen()
			case n < 16:
				m.fill()
			case n == 16:
				m.s.Do(func() { m.s.Ping(1) })
			case n == 17:
				m.regrant()
			case n == 18 && m.cursor != nil:
				m.s.Close()
				m.connect(m.cursor)
			}
		}
		for m.woken || m.more {
			m.fill()
		}
		if missed := m.missed(uint64(len(m.log))); missed != 0 {
			t.Errorf("event %d was not told", missed)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type grantsModel struct {
	t      *testing.T
	r      *rand.Rand
	ring   *ring.Ring
	keep   int
	policy Policy
	log    []*backend.Logged

	s      *session.Stream
	buf    session.Buffer
	grants []grant.Grant // that will be told
	asked  []string
	woken  bool
	more   bool

	// the client
	cursor *backend.Position
	pos    uint64 // of the last cursor
	read   uint64 // it has looked elsewhere for what is up to here, as a reset told it to
	resets int
}

func (m *grantsModel) at(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }

// anyOf returns one of some values.
func anyOf[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (m *grantsModel) happen() {
	ev := backend.Event{Type: "x", Resource: anyOf(m.r, "kv", "db", "storage", "jobs", "realtime", "presence"), Data: json.RawMessage("1")}
	ev.User = anyOf(m.r, "ada", "ada", "ghost")
	name := anyOf(m.r, "a", "b", "a:1", "a:1:2", "a1", "a/1", "a/1/x", "b:1", "a::1", "a:", "")
	if backend.InChannel(ev.Resource) {
		ev.Channel = name
	} else {
		ev.Namespace, ev.Key = anyOf(m.r, "", "n", "m"), name
	}
	if ev.Resource == "kv" && m.r.IntN(10) == 0 {
		ev = backend.Event{Type: backend.Reset, Resource: "kv"}
	}
	m.log = append(m.log, &backend.Logged{Pos: m.at(uint64(len(m.log) + 1)), Event: ev})
	before := m.woken
	m.ring.Put(m.log[len(m.log)-1:])
	if m.woken && !before && !m.more && !m.concerns(&ev) && !m.broad() {
		m.t.Errorf("%+v woken by %+v", m.grants, ev)
	}
}

// broad reports whether the grants are everything that is asked for.
func (m *grantsModel) broad() bool {
	return m.asked == nil && slices.ContainsFunc(m.grants, func(g grant.Grant) bool { return g.Resource == "*" && !g.In && !g.Under })
}

func (m *grantsModel) concerns(ev *backend.Event) bool {
	return (m.asked == nil || slices.Contains(m.asked, ev.Resource)) && slices.ContainsFunc(m.grants, func(g grant.Grant) bool { return covered(g, ev) })
}

// covered is what a stream carries, in the words of the documentation of [Grant].
func covered(g grant.Grant, ev *backend.Event) bool {
	name, sep := ev.Key, ":"
	switch ev.Resource {
	case "realtime", "presence":
		name = ev.Channel
		if g.Resource == "*" && !g.Channels {
			return false
		}
	case "storage":
		sep = "/"
	}
	if ev.IsReset() {
		return g.Resource == "*" || g.Resource == ev.Resource
	}
	return (g.Resource == "*" || g.Resource == ev.Resource) && (!g.In || g.Namespace == ev.Namespace) &&
		(!g.Under || name == g.Prefix || strings.HasPrefix(name, g.Prefix+sep))
}

func (m *grantsModel) anyGrants() (list []grant.Grant) {
	if n := m.r.IntN(20); n == 0 {
		return []grant.Grant{{Resource: "*", Channels: true, Data: true}}
	} else if n == 1 {
		return []grant.Grant{{Resource: "*", Channels: true, Data: true, Under: true, Prefix: "a"}}
	}
	for range 1 + m.r.IntN(3) {
		g := grant.Grant{Resource: anyOf(m.r, "kv", "db", "storage", "jobs", "realtime", "presence", "*"), Data: true}
		if !backend.InChannel(g.Resource) && g.Resource != backend.Storage && m.r.IntN(2) == 0 {
			g.In, g.Namespace = true, anyOf(m.r, "n", "m")
		}
		if m.r.IntN(3) > 0 {
			g.Under, g.Prefix = true, anyOf(m.r, "a", "a:1", "a/1", "a:1:2", "b", "c")
		}
		if field, _ := g.Flaw(); field != "" {
			m.t.Fatalf("%+v", g)
		}
		list = append(list, g)
	}
	return list
}

func (m *grantsModel) connect(since *backend.Position) {
	if since == nil || m.r.IntN(3) == 0 { // or with the same grants
		m.grants, m.asked = m.anyGrants(), nil
		if m.r.IntN(3) == 0 {
			m.asked = []string{"kv", "realtime", "jobs"}[:1+m.r.IntN(3)]
		}
	}
	m.s = session.NewStream(m.ring, func() { m.woken = true })
	m.buf = session.Buffer{}
	m.s.Do(func() { m.s.Begin(since, m.view(), grant.Topics(m.grants, m.asked), session.Hello{}) })
	m.fill() // the hello, before the grants change again
}

func (m *grantsModel) view() *View { return m.policy.View(new(Identity), m.grants) }

// regrant gives other grants, at once, so that the model knows which ones count.
func (m *grantsModel) regrant() {
	for m.woken || m.more {
		m.fill()
	}
	m.grants, m.pos = m.anyGrants(), uint64(len(m.log)) // the new ones count from now on
	m.s.Do(func() { m.s.Regrant(m.view(), grant.Topics(m.grants, m.asked), session.Hello{}) })
	if m.fill(); m.resets > 0 {
		m.t.Errorf("a stream that has read all is reset as its grants change")
	}
}

// missed returns the first event up to a place that the client must have and has not.
func (m *grantsModel) missed(upto uint64) uint64 {
	had := max(m.pos, m.read)
	for _, rec := range m.log[had:max(upto, had)] {
		if m.concerns(&rec.Event) && rec.Event.User != "ghost" {
			return rec.Pos.Seq
		}
	}
	return 0
}

func (m *grantsModel) fill() {
	m.woken, m.resets = false, 0
	m.more = m.s.Fill(&m.buf, session.Budget{Events: 1 + m.r.IntN(6), Bytes: anyOf(m.r, 1, 300, 64<<10)})
	frames := sse.NewReader(strings.NewReader(string(m.buf.Bytes)), 1<<20)
	for {
		ev, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			m.t.Fatal(err)
		}
		pos, _ := wire.ParseCursor(ev.ID)
		switch reset := strings.Contains(ev.Data, `"evicted"`); {
		case reset:
			m.reset(ev.Name, pos)
		case strings.HasPrefix(ev.Name, "ren.") && ev.Name != "ren.reset":
			m.expect(ev.Name, pos.Seq)
			m.pos = pos.Seq
		default:
			rec := m.log[pos.Seq-1]
			if m.expect("event", pos.Seq-1); !m.concerns(&rec.Event) || rec.Event.User == "ghost" || pos.Seq <= m.pos {
				m.t.Errorf("%+v asked for %v at %d: told %d, %+v", m.grants, m.asked, m.pos, pos.Seq, rec.Event)
			}
			m.pos = pos.Seq
		}
		m.cursor = &pos
	}
}

func (m *grantsModel) expect(what string, upto uint64) {
	if missed := m.missed(upto); missed != 0 {
		m.t.Errorf("%+v asked for %v at %d: %s %d comes without event %d", m.grants, m.asked, m.pos, what, upto, missed)
	}
}

// reset checks that something was missed, as far as that is remembered.
func (m *grantsModel) reset(what string, pos backend.Position) {
	m.resets++
	evicted := uint64(max(0, len(m.log)-m.keep))
	missed := slices.ContainsFunc(m.log[min(m.pos, evicted):evicted], func(rec *backend.Logged) bool { return m.concerns(&rec.Event) })
	if remembered := int(m.pos) >= len(m.log)-2*m.keep; remembered && !missed && !m.broad() {
		m.t.Errorf("%+v asked for %v at %d: %s at %d, but nothing of it was evicted up to %d", m.grants, m.asked, m.pos, what, pos.Seq, evicted)
	}
	m.pos, m.read = pos.Seq, uint64(len(m.log))
}
