package presence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// odd are values that no release has written so far, as records of a member.
var odd = map[string]string{
	"empty":           "",
	"other version":   "\x02\x01\x00\x011\x01a\x00",
	"other program":   `{"user":"ann"}`,
	"cut":             "\x01\x01\x00\x011\x7f",
	"no node":         "\x01\x01\x00\x011\x00\x00",
	"impossible node": "\x01\x01\x00\x011\xac\x02" + strings.Repeat("n", 300) + "\x00",
}

// overwrite stores a value whatever is there.
func (w *world) overwrite(k backend.Key, value string) {
	w.t.Helper()
	it, err := w.b.Get(w.ctx, k)
	w.must(err)
	_, err = w.b.Put(w.ctx, backend.Write{Key: k, Value: []byte(value), If: it.Revision})
	w.must(err)
}

func memberKey(user string) backend.Key {
	return backend.Key{Kind: "member", Group: channel, Name: user}
}

// reports checks that so many records were reported, and nothing else was said.
func (w *world) reports(when string, said *journal, want int) {
	w.t.Helper()
	got := said.take()
	if n := strings.Count(got, "a record of the store cannot be read"); n != want || strings.Count(got, "\n") != want {
		w.t.Errorf("%s: %d records are reported, want %d: %s", when, n, want, got)
	}
}

// Records of members that cannot be read change nothing for others: those of a dead node
// leave, the channel is listed without them, and each is reported once.
func TestOddMembersOfOthers(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.start("dead", false)
		a, _, said := w.probed("a", false)
		w.join(dead, tab("ann", "1"), tab("zoe", "1"))
		w.join(a, tab("bob", "1"))
		for name, value := range odd {
			w.overwrite(memberKey(name), value)
		}
		w.payloads()
		w.reports("before anybody looks", said, 0)
		w.present(a, "listed", "ann", "bob", "zoe")
		w.reports("listed", said, len(odd))
		dead.kill()
		w.pass(lease)
		w.expect("after the lease", `presence.leave ann {"reason":"node"}`, `presence.leave zoe {"reason":"node"}`)
		w.pass(time.Hour)
		w.present(a, "later", "bob")
		w.reports("later", said, 0)
		for name, value := range odd {
			if it, err := w.b.Get(w.ctx, memberKey(name)); err != nil || string(it.Value) != value {
				t.Errorf("the record of %s is %q, %v", name, it.Value, err)
			}
		}
	})
}

// A node whose session is in a record that cannot be read ends its other sessions, and
// makes its other changes, as if nothing was. It forgets that session at its end.
func TestOddMembersOfThisNode(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, said := w.probed("a", false)
		for i := range 40 { // more than are ended at once
			w.join(a, lasting(tab(fmt.Sprintf("odd%02d", i), "1"), time.Minute))
		}
		w.join(a, lasting(tab("ann", "1"), time.Minute+time.Second/2), tab("bob", "1"))
		for i := range 40 {
			w.overwrite(memberKey(fmt.Sprintf("odd%02d", i)), "\x02")
		}
		w.payloads()
		if err := a.Join(w.ctx, tab("odd00", "2")); err == nil {
			t.Error("a user joins whose record cannot be read")
		}
		w.reports("changed", said, 1)
		w.pass(31 * time.Second) // for so long lastSeen is not stored again
		w.must(a.Touch(w.ctx, channel, "odd00"))
		w.pass(31 * time.Second)
		w.expect("after a minute", `presence.leave ann {"reason":"timeout"}`)
		w.reports("after a minute", said, 39)
		if n := a.Sessions(); n != 1 {
			t.Errorf("%d sessions are left, want 1", n)
		}

		// The node comes back after it was given up: it records bob again.
		w.pass(time.Second)
		w.join(a, tab("odd", "1"), tab("cid", "1"))
		w.overwrite(memberKey("odd"), "\x02")
		w.payloads()
		p.failing(only("Put node", errCut))
		b := w.start("b", false)
		w.pass(2 * lease)
		w.expect("given up", `presence.leave bob {"reason":"node"}`, `presence.leave cid {"reason":"node"}`)
		p.failing(nil)
		log := said.take()
		w.pass(lease)
		w.expect("back", `presence.join bob {}`, `presence.join cid {}`)
		w.present(b, "back", "bob", "cid")
		w.pass(time.Hour)
		if log += said.take(); strings.Count(log, `\"odd\"`) != 1 {
			t.Errorf("the log says %s", log)
		}
	})
}

// A record may also change after it was listed.
func TestMemberThatBecomesOdd(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.start("dead", false)
		a, p, said := w.probed("a", false)
		w.join(dead, tab("ann", "1"), tab("zoe", "1"))
		w.payloads()
		p.failing(func(call string) error {
			if call == "Get member" {
				w.overwrite(memberKey("ann"), "\x02")
			}
			return nil
		})
		dead.kill()
		w.pass(10 * lease)
		w.expect("after the lease", `presence.leave zoe {"reason":"node"}`)
		w.present(a, "after the lease")
		w.reports("after the lease", said, 1)
	})
}

// A change whose outcome is unknown is looked at again, also where another one cannot be.
func TestOddMembersInDoubt(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, said := w.probed("a", false)
		w.join(a, tab("ann", "1"), tab("odd", "1"))
		maybe := func(user string) {
			p.failing(times(1, "Delete member", backend.ErrMaybeStored))
			w.must(a.Leave(w.ctx, key(user, "1"), presence.Departure{Why: presence.Left}))
			p.failing(nil)
		}
		maybe("odd")
		maybe("ann")
		w.overwrite(memberKey("odd"), "\x02")
		w.overwrite(memberKey("ann"), "\x01\x01\x00\x011\x01a\x00") // the session that has left
		w.payloads()
		w.pass(lease)
		w.expect("looked at", `presence.leave ann {"reason":"timeout"}`)
		w.pass(time.Hour)
		w.reports("looked at", said, 1)
	})
}

// A record of a node that says nothing known is that of a node that lives, as long as it
// changes. Without changes it is given up, and so are the others.
func TestOddNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		dead := w.start("dead", false)
		a, _, said := w.probed("a", false)
		w.join(dead, tab("ann", "1"))
		for name, value := range odd {
			w.overwrite(backend.Key{Kind: "node", Group: "lease", Name: name}, value)
		}
		w.payloads()
		dead.kill()
		w.pass(lease)
		w.expect("after the lease", `presence.leave ann {"reason":"node"}`)
		w.nodesAre(a, "after the lease", "a")
		w.reports("after the lease", said, 0)
	})
}

// Records of followed channels that cannot be read hide only what they would list.
func TestOddFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _, _, said := w.probedFollowing("a")
		b, onB := w.startFollowing("b")
		onB.set("room", "zebra")
		w.pass(3 * time.Second)
		bad := []string{"", "\x01", "room\n", "a\x00b", strings.Repeat("x", 256)}
		for i, value := range bad {
			w.overwrite(backend.Key{Kind: "followed", Group: "b", Name: fmt.Sprint("odd", i)}, value)
		}
		for range 3 {
			w.followed(a, "on b", "room", "zebra")
		}
		w.reports("listed", said, len(bad))
		b.kill()
		w.pass(3 * lease)
		w.recorded("after b's lease", 0)
		if nodes, err := a.Nodes(w.ctx); err != nil || !slices.Equal(nodes, []string{"a"}) {
			t.Errorf("the nodes are %q, %v", nodes, err)
		}
	})
}
