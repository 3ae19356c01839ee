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

// overtaking is a store in which something happens before a change of a member is made,
// or before its answer arrives.
type overtaking struct {
	*memory.Backend
	before, after func()
}

func (o *overtaking) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if f := o.before; f != nil && w.Key.Kind == memberKind {
		o.before = nil
		f()
	}
	rev, err := o.Backend.Put(ctx, w)
	if f := o.after; f != nil && w.Key.Kind == memberKind {
		o.after = nil
		f()
	}
	return rev, err
}

// A session is recorded once more if the store is put back before the answer arrives that
// it is recorded.
func TestPutBackBeforeTheAnswer(t *testing.T) {
	for name, record := range map[string]func(ctx context.Context, p *Presence, s Session) error{
		"to a Join": func(ctx context.Context, p *Presence, s Session) error { return p.Join(ctx, s) },
		"when it is recorded again": func(ctx context.Context, p *Presence, s Session) error {
			p.local.join(s, "", time.Now())
			return p.reconcile(ctx, s.member())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &overtaking{Backend: memory.New(memory.Limits{})}
				p := New(store, Options{Node: "a", NodeLease: 30 * time.Second})
				s := Session{Key: Key{"room", "ann", "1"}}
				store.after = func() {
					it, err := store.Get(t.Context(), s.member().key())
					if err == nil {
						err = store.Delete(t.Context(), it.Key, it.Revision, nil)
					}
					if err != nil {
						t.Error(err)
					}
					p.Lost()
				}
				if err := record(t.Context(), p, s); err != nil {
					t.Fatal(err)
				}
				if err := p.settle(t.Context()); err != nil {
					t.Fatal(err)
				}
				if it, err := store.Get(t.Context(), s.member().key()); it.Revision == 0 || err != nil {
					t.Errorf("there is no record, %v", err)
				}
			})
		})
	}
}

// look is what becomes of a member's record, and what it is after [Presence.reconcile].
type look struct {
	after  time.Duration
	join   string          // of this session, before
	dies   string          // the node that does, before
	record []sessionRecord // which is there then; nil: what was there
	want   []sessionRecord // nil: record
	here   string          // the sessions that live here
}

// reconcileCases are records of a member of whom two sessions, 1 and 2, live on node a.
var reconcileCases = map[string]struct {
	look
	overtake []sessionRecord // which the record becomes, in the middle of it
	then     []look
}{
	"as it is":         {look: look{record: bothOurs, here: "1 2"}},
	"one too many":     {look: look{record: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "a", ""}}, want: bothOurs, here: "1 2"}},
	"one is missing":   {look: look{record: secondOurs, want: bothOurs, here: "1 2"}},
	"both are missing": {look: look{record: []sessionRecord{{"3", "b", ""}}, want: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "b", ""}}, here: "1 2"}},
	"nothing is there": {look: look{record: []sessionRecord{}, want: bothOurs, here: "1 2"}},
	"another node's":   {look: look{record: []sessionRecord{{"1", "a", ""}, {"2", "a", ""}, {"3", "b", ""}}, here: "1 2"}},
	"moved here, and a Join of the node that is gone came late": {
		look: look{record: []sessionRecord{{"1", "gone", ""}}, want: bothOurs, here: "1 2"},
	},
	"under an old name":    {look: look{record: []sessionRecord{{"1", "a/1", ""}, {"2", "a", ""}}, want: bothOurs, here: "1 2"}},
	"moved there and back": {look: look{record: []sessionRecord{{"1", "b", ""}}, want: bothOurs, here: "1 2"}, overtake: []sessionRecord{{"1", "a", ""}}},
	"moved": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: decided - 1, here: "1 2"},
		{after: 1, here: "2"},
	}},
	"moved, and on": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: time.Second, dies: "b", record: []sessionRecord{{"1", "c", ""}, {"2", "a", ""}}, here: "1 2"},
		{after: time.Second, record: secondOurs, here: "2"},
	}},
	"moved, and ended there": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: time.Second, record: secondOurs, here: "2"},
	}},
	"moved, and back": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: decided, record: bothOurs, here: "1 2"},
		{record: secondOurs, want: bothOurs, here: "1 2"},
	}},
	"moved, and joined here": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: decided, join: "1", record: secondOurs, want: bothOurs, here: "1 2"},
	}},
	"moved here, and a Join of a node that then dies came late": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: decided, dies: "b", want: bothOurs, here: "1 2"},
	}},
	"the same, and it was ended with that node": {look: look{record: firstTheirs, here: "1 2"}, then: []look{
		{after: decided, dies: "b", record: secondOurs, want: bothOurs, here: "1 2"},
	}},
}

// decided is when a session that is recorded for another node counts as that node's.
const decided = 30 * time.Second

var (
	bothOurs    = []sessionRecord{{"1", "a", ""}, {"2", "a", ""}}
	secondOurs  = []sessionRecord{{"2", "a", ""}}
	firstTheirs = []sessionRecord{{"1", "b", ""}, {"2", "a", ""}}
)

// Sessions of this node are recorded as its own. Sessions of other nodes, and those that
// have moved to another node, are not.
func TestReconcile(t *testing.T) {
	id := memberID{"room", "ann"}
	for name, c := range reconcileCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				must := func(err error) {
					t.Helper()
					if err != nil {
						t.Fatal(err)
					}
				}
				store := &overtaking{Backend: memory.New(memory.Limits{})}
				p := New(store, Options{Node: "a", NodeLease: decided})
				put := func(k backend.Key, value []byte) {
					t.Helper()
					it, err := store.Get(t.Context(), k)
					must(err)
					_, err = store.Backend.Put(t.Context(), backend.Write{Key: k, Value: value, If: it.Revision})
					must(err)
				}
				record := func(sessions []sessionRecord) { put(id.key(), (&member{sessions: sessions}).encode()) }
				join := func(session string) {
					must(p.Join(t.Context(), Session{Key: Key{id.channel, id.user, session}}))
				}
				put(nodeKey("b"), []byte{nodeLives})
				put(nodeKey("c"), []byte{nodeLives})
				join("1")
				join("2")
				var want []sessionRecord
				for i, l := range append([]look{c.look}, c.then...) {
					time.Sleep(l.after)
					if l.join != "" {
						join(l.join)
					}
					if l.dies != "" {
						it, err := store.Get(t.Context(), nodeKey(l.dies))
						must(err)
						must(store.Delete(t.Context(), it.Key, it.Revision, nil))
					}
					if l.record != nil {
						record(l.record)
						want = l.record
					}
					if l.want != nil {
						want = l.want
					}
					if c.overtake != nil && i == 0 {
						store.before = func() { record(c.overtake) }
					}
					must(p.reconcile(t.Context(), id))
					it, err := store.Get(t.Context(), id.key())
					must(err)
					m, err := decodeMember(it.Value)
					slices.SortFunc(m.sessions, func(a, b sessionRecord) int { return cmp.Compare(a.id, b.id) })
					if err != nil || !slices.Equal(m.sessions, want) {
						t.Errorf("look %d: the record has %+v, %v", i, m.sessions, err)
					}
					var here []string
					for s := range p.local.all {
						here = append(here, s.ID)
					}
					slices.Sort(here)
					if got := strings.Join(here, " "); got != l.here {
						t.Errorf("look %d: %s live here, not %s", i, got, l.here)
					}
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
			if (p.doubts[id] != nil) != want {
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
