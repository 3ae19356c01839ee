package memory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// A model says what presence should do in the plainest way: it looks at all
// sessions every time.
type model struct {
	sessions map[backend.SessionKey]modelSession
	metadata map[modelMember]string // of those who are there
	leases   map[string]time.Time
}

type modelMember struct{ channel, user string }

type modelSession struct {
	node            string
	expires, leaves time.Time
	why             backend.Reason
}

// An outcome is an event that is expected, with every reason that is right.
type outcome struct {
	typ     string
	member  modelMember
	reasons []backend.Reason
}

func (m *model) join(s backend.Session, now time.Time) (out []outcome) {
	who := modelMember{s.Channel, s.User}
	switch metadata, there := m.metadata[who]; {
	case !there:
		out = []outcome{{typ: "presence.join", member: who}}
	case metadata != string(s.Metadata):
		out = []outcome{{typ: "presence.update", member: who}}
	}
	m.metadata[who] = string(s.Metadata)
	it := modelSession{node: s.Node}
	if s.TTL > 0 {
		it.expires = now.Add(s.TTL)
	}
	m.sessions[s.SessionKey] = it
	return out
}

func (m *model) leave(key backend.SessionKey, why backend.Reason, in time.Duration, now time.Time) []outcome {
	s, ok := m.sessions[key]
	if !ok {
		return nil
	}
	if at := now.Add(in); s.leaves.IsZero() || at.Before(s.leaves) || in == 0 {
		s.leaves, s.why = at, why
	}
	if in > 0 {
		m.sessions[key] = s
		return nil
	}
	delete(m.sessions, key)
	return m.vanished(modelMember{key.Channel, key.User}, []backend.Reason{why})
}

// vanished takes the member away if it has no session left.
func (m *model) vanished(who modelMember, reasons []backend.Reason) []outcome {
	for key := range m.sessions {
		if key.Channel == who.channel && key.User == who.user {
			return nil
		}
	}
	delete(m.metadata, who)
	return []outcome{{"presence.leave", who, reasons}}
}

func (m *model) sweep(node string, ttl time.Duration, now time.Time) (out []outcome) {
	m.leases[node] = now.Add(ttl)
	latest := map[modelMember]time.Time{}
	reasons := map[modelMember][]backend.Reason{}
	for key, s := range m.sessions {
		who := modelMember{key.Channel, key.User}
		end, why := m.end(s)
		if end.IsZero() || end.After(now) {
			continue
		}
		delete(m.sessions, key)
		if end.After(latest[who]) {
			latest[who], reasons[who] = end, nil
		}
		if end.Equal(latest[who]) {
			reasons[who] = append(reasons[who], why...)
		}
	}
	for who := range latest {
		out = append(out, m.vanished(who, reasons[who])...)
	}
	return out
}

// end returns when s ends, and all causes of that moment.
func (m *model) end(s modelSession) (end time.Time, why []backend.Reason) {
	for _, cause := range []struct {
		at  time.Time
		why backend.Reason
	}{{s.leaves, s.why}, {s.expires, backend.ReasonTimeout}, {m.leases[s.node], backend.ReasonNode}} {
		switch {
		case cause.at.IsZero() || !end.IsZero() && cause.at.After(end):
		case cause.at.Equal(end):
			why = append(why, cause.why)
		default:
			end, why = cause.at, []backend.Reason{cause.why}
		}
	}
	return end, why
}

// TestModel compares random steps with the model.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newComparison(t, seed)
				for range 1000 {
					c.step()
				}
				c.everybodyLeaves()
				c.wantAlternation()
			})
		})
	}
}

type comparison struct {
	*testing.T
	b      *Backend
	model  model
	random *rand.Rand
	head   backend.Position
}

func newComparison(t *testing.T, seed uint64) *comparison {
	return &comparison{
		T: t, b: New(Limits{}),
		model: model{
			sessions: map[backend.SessionKey]modelSession{},
			metadata: map[modelMember]string{},
			leases:   map[string]time.Time{},
		},
		random: rand.New(rand.NewPCG(seed, 0)),
	}
}

func (c *comparison) pick(from ...string) string { return from[c.random.IntN(len(from))] }

func (c *comparison) seconds(most int) time.Duration {
	return time.Duration(c.random.IntN(most+1)) * time.Second
}

func (c *comparison) step() {
	key := backend.SessionKey{Channel: c.pick("a", "b"), User: c.pick("ann", "bob", "cid"), ID: c.pick("1", "2", "3")}
	switch c.random.IntN(8) {
	case 0, 1, 2:
		s := backend.Session{SessionKey: key, Node: c.pick("x", "y", "z"), Metadata: []byte(c.pick("", "1", "2")), TTL: c.seconds(5)}
		c.compare(fmt.Sprintf("join %+v", s), c.model.join(s, time.Now()), c.b.Join(c.Context(), s))
	case 3, 4:
		in := c.seconds(3)
		why := backend.Reason(c.pick("left", "closed"))
		c.compare(fmt.Sprintf("leave %v %s in %v", key, why, in), c.model.leave(key, why, in, time.Now()), c.b.Leave(c.Context(), key, backend.Departure{Why: why, In: in}))
	case 5, 6:
		time.Sleep(c.seconds(2))
	default:
		c.sweep(c.pick("x", "y"), c.seconds(6)+time.Second) // z never sweeps
	}
}

func (c *comparison) sweep(node string, ttl time.Duration) {
	c.Helper()
	next, err := c.b.Sweep(c.Context(), node, ttl)
	c.compare(fmt.Sprintf("sweep %s for %v", node, ttl), c.model.sweep(node, ttl, time.Now()), err)
	want := ttl / 3
	for _, s := range c.model.sessions {
		if end, _ := c.model.end(s); !end.IsZero() {
			want = min(want, time.Until(end))
		}
	}
	if next != want {
		c.Fatalf("the next sweep is in %v, want %v", next, want)
	}
}

func (c *comparison) compare(step string, want []outcome, err error) {
	c.Helper()
	page, readErr := c.b.Read(c.Context(), c.head, 100)
	if err != nil || readErr != nil {
		c.Fatal(step, err, readErr)
	}
	c.head = page.Head
	for _, r := range page.Records {
		i := slices.IndexFunc(want, func(o outcome) bool { return o.matches(r.Event) })
		if i < 0 {
			c.Fatalf("%s: unexpected %s of %s in %s: %s; want %v", step, r.Event.Type, r.Event.User, r.Event.Channel, r.Event.Data, want)
		}
		want = slices.Delete(want, i, i+1)
	}
	if len(want) > 0 {
		c.Fatalf("%s: missing %v", step, want)
	}
	c.compareMembers(step)
}

func (o outcome) matches(e backend.Event) bool {
	if e.Type != o.typ || e.Channel != o.member.channel || e.User != o.member.user {
		return false
	}
	var data struct{ Reason backend.Reason }
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return false
	}
	return len(o.reasons) == 0 || slices.Contains(o.reasons, data.Reason)
}

func (c *comparison) compareMembers(step string) {
	c.Helper()
	there := 0
	for _, channel := range []string{"a", "b"} {
		members, err := c.b.Members(c.Context(), channel)
		if err != nil {
			c.Fatal(step, err)
		}
		there += len(members)
		for _, m := range members {
			if want, ok := c.model.metadata[modelMember{channel, m.User}]; !ok || want != string(m.Metadata) {
				c.Fatalf("%s: unexpected member %s with %s in %s, want %q", step, m.User, m.Metadata, channel, want)
			}
		}
	}
	if there != len(c.model.metadata) {
		c.Fatalf("%s: %d members, want %v", step, there, c.model.metadata)
	}
}

func (c *comparison) everybodyLeaves() {
	for key := range c.model.sessions {
		c.compare("the end", c.model.leave(key, backend.ReasonLeft, 0, time.Now()), c.b.Leave(c.Context(), key, backend.Departure{Why: backend.ReasonLeft}))
	}
	wantEmpty(c.T, c.b)
}

// wantAlternation looks at the whole log.
func (c *comparison) wantAlternation() {
	page, err := c.b.Read(c.Context(), backend.Position{}, 1<<20)
	if err != nil {
		c.Fatal(err)
	}
	there := map[modelMember]bool{}
	for _, r := range page.Records {
		who := modelMember{r.Event.Channel, r.Event.User}
		if joins := r.Event.Type == "presence.join"; joins == there[who] && r.Event.Type != "presence.update" {
			c.Fatalf("%s twice in a row for %v", r.Event.Type, who)
		}
		there[who] = r.Event.Type != "presence.leave"
	}
}
