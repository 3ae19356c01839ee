package realtime_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Users with tabs, devices and server leases, against a model that knows
// sessions only: joins and leaves alternate, each leave has its reason, updates
// are told once, and roster and metadata are those of the model at any time.
func TestPresenceModel(t *testing.T) {
	for seed := range uint64(figure(6, 200)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newPresenceModel(t, rand.New(rand.NewPCG(seed, 7)))
				for range 400 {
					m.step()
				}
			})
		})
	}
}

// presenceModel compares a host with what it should be.
type presenceModel struct {
	t        *testing.T
	rnd      *rand.Rand
	host     *host
	watch    *ren
	sessions []*session
	metadata map[string]string // of users, as it should be
	shown    map[string]string // of users, as the events say; "" for none
	last     string            // what was done
}

// session is one client of a user, on one connection or leased by the server.
type session struct {
	user, client string
	socket       *socket   // nil: the server's
	ends         time.Time // zero: not by itself
	why          []string  // reasons it may give then
}

var modelClients = []string{tab1, tab2}

func newPresenceModel(t *testing.T, rnd *rand.Rand) *presenceModel {
	h := start(t, open(), forever)
	return &presenceModel{t: t, rnd: rnd, host: h, watch: h.presence(), metadata: map[string]string{}, shown: map[string]string{}}
}

func pick[T any](rnd *rand.Rand, from ...T) T { return from[rnd.IntN(len(from))] }

// step does something, and compares.
func (m *presenceModel) step() {
	user, client := pick(m.rnd, "ada", "bob", "eve"), pick(m.rnd, modelClients...)
	tabs := m.find(func(s *session) bool { return s.user == user && s.socket != nil && s.ends.IsZero() })
	var left []string // reasons a leave may give
	what := m.rnd.IntN(10)
	if len(tabs) == 0 && what < 5 {
		what = 5
	}
	switch {
	case what < 5:
		left = m.tab(pick(m.rnd, tabs...), what)
	case what == 5:
		s := m.host.socket(get("/realtime", "Authorization", "Bearer "+user))
		m.sessions = append(m.sessions, &session{user: user, client: client, socket: s})
		m.last = fmt.Sprint("a tab of ", user, " joins as ", client)
		s.ok(m.join("join", user, client))
	case what == 6:
		m.last = fmt.Sprint("the server joins ", user)
		m.serverJoin(user)
	case what == 7:
		m.last = fmt.Sprint("the server's session of ", user, " leaves")
		if err := m.host.Presence().Leave(m.t.Context(), "room", user); err != nil {
			m.t.Fatal(err)
		}
		left = m.end(func(s *session) bool { return s.user == user && s.socket == nil }, "left")
	default:
		wait := pick(m.rnd, time.Second, 3*time.Second, 7*time.Second, 15*time.Second, time.Minute)
		m.last = fmt.Sprint(wait, " pass")
		time.Sleep(wait)
	}
	m.compare(user, left)
}

// tab lets an open tab do something.
func (m *presenceModel) tab(s *session, what int) (left []string) {
	switch what {
	case 0:
		m.last = fmt.Sprint("a tab of ", s.user, " closes")
		s.socket.leave()
		s.ends, s.why = time.Now().Add(3*time.Second), []string{"closed"}
	case 1:
		m.last = fmt.Sprint("a tab of ", s.user, " breaks")
		s.socket.drop()
		s.ends, s.why = time.Now().Add(15*time.Second), []string{"timeout"}
	case 2:
		m.last = fmt.Sprint("a tab of ", s.user, " updates")
		s.socket.answer(s.socket.ask(m.join("update", s.user, s.client)))
	case 3: // a reload
		m.last = fmt.Sprint("a tab of ", s.user, " is reloaded")
		s.socket.leave()
		s.ends, s.why = time.Now().Add(3*time.Second), []string{"closed"}
		time.Sleep(time.Duration(m.rnd.Int64N(int64(2 * time.Second))))
		again := m.host.socket(get("/realtime", "Authorization", "Bearer "+s.user))
		m.sessions = append(m.sessions, &session{user: s.user, client: s.client, socket: again})
		again.ok(m.join("join", s.user, s.client))
	default:
		m.last = fmt.Sprint("a tab of ", s.user, " leaves as ", s.client)
		synctest.Wait() // until the server knows of connections that broke
		s.socket.ok(`"op":"leave","channel":"room","cid":"` + s.client + `"`)
		left = m.end(func(o *session) bool {
			return o == s || o.user == s.user && o.socket != nil && o.client == s.client && !o.ends.IsZero()
		}, "left")
		s.socket.drop()
	}
	return left
}

// join returns the operation, with new metadata or the same.
func (m *presenceModel) join(op, user, client string) string {
	m.metadata[user] = fmt.Sprint(m.rnd.IntN(3))
	return `"op":"` + op + `","channel":"room","cid":"` + client + `","metadata":` + m.metadata[user]
}

func (m *presenceModel) serverJoin(user string) {
	m.metadata[user] = fmt.Sprint(m.rnd.IntN(3))
	m.host.join("room", user, json.RawMessage(m.metadata[user]))
	found := m.find(func(s *session) bool { return s.user == user && s.socket == nil })
	if len(found) == 0 {
		found = []*session{{user: user}}
		m.sessions = append(m.sessions, found...)
	}
	found[0].ends, found[0].why = time.Now().Add(90*time.Second), []string{"timeout"}
}

func (m *presenceModel) find(match func(*session) bool) (found []*session) {
	for _, s := range m.sessions {
		if match(s) && (s.ends.IsZero() || s.ends.After(time.Now())) {
			found = append(found, s)
		}
	}
	return found
}

// end ends sessions at once.
func (m *presenceModel) end(match func(*session) bool, why string) []string {
	for _, s := range m.find(match) {
		s.ends, s.why = time.Now(), []string{why}
	}
	return []string{why}
}

// compare looks at what was told and at the roster. Only the user of the step may
// have left because of it; all others, and that one as well, may have run out of
// time.
func (m *presenceModel) compare(actor string, left []string) {
	m.t.Helper()
	want := map[string]string{}
	latest, reasons := map[string]time.Time{}, map[string][]string{}
	for _, s := range m.sessions {
		if s.ends.IsZero() || s.ends.After(time.Now()) {
			want[s.user] = m.metadata[s.user]
			continue
		}
		if s.ends.After(latest[s.user]) {
			latest[s.user], reasons[s.user] = s.ends, nil
		}
		if s.ends.Equal(latest[s.user]) {
			reasons[s.user] = append(reasons[s.user], s.why...)
		}
	}
	reasons[actor] = append(reasons[actor], left...)
	for _, ev := range m.watch.rest() {
		var data struct {
			Metadata json.RawMessage
			Reason   string
		}
		_ = json.Unmarshal(ev.Data, &data)
		switch was := m.shown[ev.User]; {
		case ev.Type == "presence.join" && was == "":
		case ev.Type == "presence.update" && was != "" && was != string(data.Metadata):
		case ev.Type == "presence.leave" && was != "" && slices.Contains(reasons[ev.User], data.Reason):
			data.Metadata = nil
		default:
			m.t.Fatalf("%v, %s: told %s of %s, who was shown with %q; reasons may be %v", time.Now(), m.last, ev.Raw, ev.User, was, reasons[ev.User])
		}
		m.shown[ev.User] = string(data.Metadata)
	}
	maps.DeleteFunc(m.shown, func(_, metadata string) bool { return metadata == "" })
	if diff := cmp.Diff(want, m.shown); diff != "" {
		m.t.Fatalf("%v, %s: told (-want +got):\n%s", time.Now(), m.last, diff)
	}
	members, err := m.host.Presence().Members(m.t.Context(), "room")
	if err != nil {
		m.t.Fatal(err)
	}
	got := map[string]string{}
	for _, member := range members {
		got[member.UserID] = string(member.Metadata)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Fatalf("%v, %s: roster (-want +got):\n%s", time.Now(), m.last, diff)
	}
	// The model forgets sessions that have ended and are explained.
	m.sessions = slices.DeleteFunc(m.sessions, func(s *session) bool { return !s.ends.IsZero() && !s.ends.After(time.Now()) })
}
