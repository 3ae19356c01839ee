package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

func TestMemberRecord(t *testing.T) {
	for _, m := range []member{
		{}, {lastSeen: 1 << 50, metadata: []byte(`{"a":1}`)},
		{sessions: []sessionRecord{{"1", "a", "tab"}}},
		{lastSeen: 1, metadata: []byte(`1`), sessions: []sessionRecord{{"1", "a", ""}, {"2", "a/1", "tab"}}},
		{sessions: []sessionRecord{{"1", strings.Repeat("n", maxNode), ""}}},
	} {
		whole := m.encode()
		got, err := decodeMember(whole)
		if err != nil || !gocmp.Equal(got, m, gocmp.AllowUnexported(member{}, sessionRecord{})) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
		for n := range whole {
			// A record that ends after a session is one of fewer sessions.
			if got, err := decodeMember(whole[:n]); err == nil && len(got.encode()) != n {
				t.Errorf("the first %d bytes of %+v are %+v", n, m, got)
			}
		}
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "another version": {memberVersion + 1, 0, 0}, "no time": {memberVersion},
		"a time too large": append([]byte{memberVersion}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0),
		"no metadata":      {memberVersion, 5}, "metadata longer than all": {memberVersion, 5, 2, '1'},
		"a session of one field":                   {memberVersion, 5, 0, 1, '1'},
		"a session of two":                         {memberVersion, 5, 0, 1, '1', 1, 'a'},
		"a session without a node, before another": {memberVersion, 5, 0, 1, '1', 0, 0, 1, '2', 1, 'a', 0},
		"the name of a node too long":              (&member{sessions: []sessionRecord{{"1", strings.Repeat("n", maxNode+1), ""}}}).encode(),
	} {
		if m, err := decodeMember(b); !errors.Is(err, errRecord) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// A session is in the record once, wherever it has been.
func TestPutMovesASession(t *testing.T) {
	var m member
	m.put("1", "a", "tab")
	m.put("2", "a", "tab")
	m.put("1", "b", "tab")
	if len(m.sessions) != 2 || m.owner("1") != "b" || m.owner("2") != "a" || m.owner("3") != "" {
		t.Errorf("%+v", m.sessions)
	}
	if m.remove(func(*sessionRecord) bool { return false }) != nil || len(m.sessions) != 2 {
		t.Error("something was removed")
	}
}

// Sessions become due in the order of their ends, however often these have changed.
func TestDeadlines(t *testing.T) {
	l := local{members: make(map[memberID]*localMember)}
	begin := time.Now()
	rng := rand.New(rand.NewPCG(1, 2))
	ends := make(map[string]time.Duration)
	for range 2000 {
		s := Session{Key: Key{"room", "ann", fmt.Sprint(rng.IntN(50))}}
		switch rng.IntN(4) {
		case 0:
			l.remove(s.Key)
			delete(ends, s.ID)
		case 1:
			if _, there := ends[s.ID]; there {
				l.join(s, "a", begin) // without an end
				ends[s.ID] = 0
			}
		default:
			s.TTL = time.Duration(1+rng.IntN(1000)) * time.Second
			l.join(s, "a", begin)
			ends[s.ID] = s.TTL
		}
	}
	for at := time.Duration(0); at <= 1000*time.Second; at += time.Second {
		due, wait := l.due(begin.Add(at), 3, time.Hour)
		var next time.Duration
		n := 0
		for _, end := range ends {
			if end > 0 && end <= at {
				n++
			} else if end > at && (next == 0 || end < next) {
				next = end
			}
		}
		if n == 0 && (len(due) > 0 || next > 0 && wait != next-at) {
			t.Fatalf("at %v: %v is due, the next in %v, not %v", at, due, wait, next-at)
		}
		if n > 0 && (len(due) == 0 || len(due) > 3 || wait != 0) {
			t.Fatalf("at %v: %d of %d are due, wait %v", at, len(due), n, wait)
		}
		for _, k := range due {
			if end := ends[k.ID]; end == 0 || end > at {
				t.Fatalf("at %v: %s is due, which ends at %v", at, k.ID, end)
			}
			l.remove(k)
			delete(ends, k.ID)
		}
		if len(due) > 0 {
			at -= time.Second // all of them
		}
	}
}

// That somebody was seen is stored once in 30 s.
func TestSeenIsStoredRarely(t *testing.T) {
	l := local{members: make(map[memberID]*localMember)}
	id, begin := memberID{"room", "ann"}, time.Now()
	if !l.touch(id, begin) {
		t.Error("nothing is known here of a member elsewhere")
	}
	l.join(Session{Key: Key{"room", "ann", "1"}}, "a", begin)
	var stored []time.Duration
	for at := time.Second; at <= 100*time.Second; at += time.Second {
		if l.touch(id, begin.Add(at)) {
			stored = append(stored, at/time.Second)
		}
	}
	if !slices.Equal(stored, []time.Duration{30, 60, 90}) {
		t.Errorf("stored after %d s", stored)
	}
}

// A record of followed channels is filled as far as it may be.
func TestPack(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		names []string
		want  int
	}{
		{nil, 0}, {[]string{"a"}, 1}, {[]string{"a", long(followedMax - 2)}, 1}, {[]string{"a", long(followedMax - 1)}, 2},
		{[]string{"a", "b", long(followedMax - 4)}, 1}, {[]string{"a", "b", long(followedMax - 3)}, 2},
	} {
		if values, cut := pack(c.names); len(values) != c.want || cut {
			t.Errorf("%d records of %d channels, want %d", len(values), len(c.names), c.want)
		}
	}
}

// Doubts about so many members that they are not listed are a doubt about all.
func TestTooManyDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(memory.New(memory.Limits{}), Options{Node: "a", NodeLease: 30 * time.Second})
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range maxDoubts {
			p.doubt(memberID{"room", fmt.Sprint(i)})
		}
		p.doubt(memberID{"room", "0"}) // known
		if len(p.doubts) != maxDoubts || !p.peers.trust.IsZero() {
			t.Fatalf("%d doubts, trusted from %v", len(p.doubts), p.peers.trust)
		}
		p.doubt(memberID{"room", "one more"})
		if len(p.doubts) != 0 || p.peers.trust.IsZero() {
			t.Errorf("%d doubts, trusted from %v", len(p.doubts), p.peers.trust)
		}
	})
}

// overtaking is a store in which, before a change of a member is made, another one
// is.
type overtaking struct {
	*memory.Backend
	before func()
}

func (o *overtaking) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if f := o.before; f != nil && w.Key.Kind == memberKind {
		o.before = nil
		f()
	}
	return o.Backend.Put(ctx, w)
}

// reconcileCases are records of a member of whom two sessions, 1 and 2, live on node a.
var reconcileCases = map[string]struct {
	record   []sessionRecord
	overtake []sessionRecord // which the record becomes, in the middle of it
	want     []sessionRecord
	here     string
}{
	"as it is":         {record: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2"},
	"one too many":     {record: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "a", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2"},
	"one is missing":   {record: []sessionRecord{{"2", "a", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2"},
	"both are missing": {record: []sessionRecord{{"3", "b", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "b", ""}}, here: "1 2"},
	"nothing is there": {want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2"},
	"another node's":   {record: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "b", ""}}, here: "1 2"},
	"moved":            {record: []sessionRecord{{"1", "b", ""}, {"2", "a", ""}}, here: "2"},
	"moved here, and a Join of the node that is gone came late": {
		record: []sessionRecord{{"1", "gone", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2",
	},
	"under an old name": {record: []sessionRecord{{"1", "a/1", ""}, {"2", "a", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2"},
	"moved there and back": {
		record: []sessionRecord{{"1", "b", ""}}, overtake: []sessionRecord{{"1", "a", ""}},
		want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}, here: "1 2",
	},
}

// Sessions of this node are recorded as its own. Sessions of other nodes, and those that
// have moved to another node, are not.
func TestReconcile(t *testing.T) {
	id := memberID{"room", "ann"}
	key := func(session string) Key { return Key{id.channel, id.user, session} }
	for name, c := range reconcileCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &overtaking{Backend: memory.New(memory.Limits{})}
				p := New(store, Options{Node: "a", NodeLease: 30 * time.Second})
				if _, err := store.Put(t.Context(), backend.Write{Key: nodeKey("b"), Value: []byte{nodeLives}}); err != nil {
					t.Fatal(err)
				}
				for _, session := range []string{"1", "2"} {
					if err := p.Join(t.Context(), Session{Key: key(session)}); err != nil {
						t.Fatal(err)
					}
				}
				k := backend.Key{Kind: memberKind, Group: id.channel, Name: id.user}
				put := func(sessions []sessionRecord) {
					it, _ := store.Get(t.Context(), k)
					m := member{sessions: sessions}
					if _, err := store.Backend.Put(t.Context(), backend.Write{Key: k, Value: m.encode(), If: it.Revision}); err != nil {
						t.Fatal(err)
					}
				}
				put(c.record)
				if c.overtake != nil {
					store.before = func() { put(c.overtake) }
				}
				if err := p.reconcile(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				it, _ := store.Get(t.Context(), k)
				m, err := decodeMember(it.Value)
				slices.SortFunc(m.sessions, func(a, b sessionRecord) int { return cmp.Compare(a.id, b.id) })
				if want := cmp.Or(len(c.want), len(c.record)); err != nil || len(m.sessions) != want || c.want != nil && !slices.Equal(m.sessions, c.want) {
					t.Errorf("the record has %+v, %v", m.sessions, err)
				}
				var here []string
				for s := range p.local.all {
					here = append(here, s.ID)
				}
				slices.Sort(here)
				if got := strings.Join(here, " "); got != c.here {
					t.Errorf("%s live here, not %s", got, c.here)
				}
			})
		})
	}
}

// A member in doubt is looked at twice: soon, and when nothing is on its way. A
// doubt that is newer begins from the start.
func TestDoubtsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(memory.New(memory.Limits{}), Options{Node: "a", NodeLease: 30 * time.Second})
		id := memberID{"room", "ann"}
		settle := func(want bool) {
			t.Helper()
			if err := p.settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if p.doubtful(id) != want {
				t.Errorf("in doubt: %v", !want)
			}
		}
		p.doubt(id)
		settle(true)
		time.Sleep(lateLook - 1)
		settle(true)
		p.doubt(id)
		time.Sleep(time.Nanosecond)
		settle(true)
		time.Sleep(lateLook - 2)
		settle(true)
		time.Sleep(time.Nanosecond)
		settle(false)
	})
}
