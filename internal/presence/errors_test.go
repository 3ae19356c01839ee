package presence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// errorCalls are calls that return an error of the store.
var errorCalls = map[string]func(context.Context, *node) error{
	"Join":     func(ctx context.Context, n *node) error { return n.Join(ctx, with(tab("ann", "1"), `2`)) },
	"Leave":    func(ctx context.Context, n *node) error { return n.Leave(ctx, key("ann", "1"), presence.Departure{}) },
	"Touch":    func(ctx context.Context, n *node) error { return n.Touch(ctx, channel, "elsewhere") },
	"Members":  func(ctx context.Context, n *node) error { _, err := n.Members(ctx, channel); return err },
	"Nodes":    func(ctx context.Context, n *node) error { _, err := n.Nodes(ctx); return err },
	"Channels": func(ctx context.Context, n *node) error { _, err := n.Channels(ctx); return err },
	"Followed": func(ctx context.Context, n *node) error { _, err := n.Followed(ctx); return err },
}

// Errors go to the caller.
func TestErrorsGoToTheCaller(t *testing.T) {
	for _, c := range []struct{ call, fails string }{
		{"Join", "Get member"}, {"Join", "Put member"}, {"Leave", "Get member"}, {"Leave", "Delete member"}, {"Touch", "Get member"},
		{"Members", "List member"}, {"Nodes", "List node"}, {"Channels", "List every member"}, {"Followed", "List node"},
		{"Followed", "List every followed"},
	} {
		t.Run(c.call+", "+c.fails, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				w.start("b", false)
				w.join(n, tab("ann", "1"))
				if c.fails == "Get member" { // the node reads a record where another one has written since
					other := w.start("b", false)
					w.join(other, tab("ann", "2"))
					w.leave(other, "ann", "2", presence.Left, 0)
				}
				p.failing(only(c.fails, errCut))
				if err := errorCalls[c.call](w.ctx, n); !errors.Is(err, errCut) {
					t.Errorf("%v", err)
				}
			})
		})
	}
	inWorld(t, func(w *world) {
		for _, fault := range []func(string) error{
			only("Put node", errCut),
			func(call string) error {
				return map[string]error{"Put node": backend.ErrMaybeStored, "Get node": errCut}[call]
			},
		} {
			p := w.probe()
			p.failing(fault)
			if err := presence.New(p, presence.Options{Node: "a", NodeLease: lease}).Start(w.ctx); !errors.Is(err, errCut) {
				t.Errorf("Start: %v", err)
			}
		}
	})
}

// A call ends with its context, also while it waits for another one.
func TestCallsEndWithTheirContext(t *testing.T) {
	for _, call := range []string{"Join", "Leave", "Touch"} {
		t.Run(call, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				p.slowDown(time.Second)
				for _, user := range []string{"ann", "elsewhere"} {
					go n.Join(w.ctx, tab(user, "2"))
				}
				time.Sleep(time.Millisecond)
				ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
				defer cancel()
				if call == "Touch" {
					time.Sleep(time.Nanosecond)
				}
				if err := errorCalls[call](ctx, n); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				w.pass(time.Minute)
			})
		})
	}
}

// A record that is malformed is an error of who changes it.
func TestMalformedRecords(t *testing.T) {
	for _, call := range []string{"Join", "Leave"} {
		t.Run(call, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n := w.start("a", true)
				k := backend.Key{Kind: "member", Group: channel, Name: "ann"}
				_, err := w.b.Put(w.ctx, backend.Write{Key: k, Value: []byte{9}})
				w.must(err)
				if err := errorCalls[call](w.ctx, n); err == nil || !strings.Contains(err.Error(), "malformed") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// Of those who change a record at the same time each has its turn, until its
// context ends.
func TestConflictsAreTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		p.failing(times(5, "Put member", backend.ErrConflict))
		w.join(n, tab("ann", "1"))
		w.expect("tried six times", `presence.join ann {}`)
		p.failing(only("Put member", backend.ErrConflict))
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := n.Join(ctx, tab("bob", "1")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, backend.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
}

// loopCases are what the loops of a node cannot do for a while.
var loopCases = map[string]struct {
	begin func(w *world, n *node)
	fails string
	then  []string // the events once it can
}{
	"renew":            {nil, "Put node", nil},
	"renewed, perhaps": {nil, "Put node", nil},
	"watch":            {nil, "List node", nil},
	"sweep": {func(w *world, n *node) {
		w.leave(n, "ann", "1", presence.Left, time.Second)
	}, "Delete member", []string{annLeft}},
	"settle": {func(w *world, n *node) {
		n.store.failing(lateMembers(-1))
		w.unknown(func(ctx context.Context) error { return n.Join(ctx, tab("bob", "1")) })
		n.store.failing(nil)
	}, "Get member", nil},
	"restore": {func(_ *world, n *node) {
		time.AfterFunc(time.Second, n.Lost) // when it cannot
	}, "Get member", nil},
	"reap": {func(w *world, n *node) {
		b := w.start("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second)
		b.kill()
		w.payloads()
	}, "List every member", []string{`presence.leave bob {"reason":"node"}`}},
	"give up": {func(w *world, n *node) {
		b := w.start("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second)
		b.kill()
		w.payloads()
	}, "Delete node", []string{`presence.leave bob {"reason":"node"}`}},
	"reap, whom it cannot remove": {func(w *world, n *node) {
		b := w.start("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second)
		b.kill()
		w.payloads()
	}, "Delete member", []string{`presence.leave bob {"reason":"node"}`}},
	"reap, who is gone": {func(w *world, n *node) {
		b := w.start("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second)
		b.kill()
		w.payloads()
	}, "Get node", []string{`presence.leave bob {"reason":"node"}`}},
}

// Each loop of a node says what it cannot do, and does it when it can again.
func TestLoopsGoOn(t *testing.T) {
	for name, c := range loopCases {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, said := w.probed("a", false)
				w.join(n, tab("ann", "1"))
				w.payloads()
				said.take()
				if c.begin != nil {
					c.begin(w, n)
				}
				failure := errCut
				if strings.Contains(name, "perhaps") {
					failure = backend.ErrMaybeStored
				}
				p.failing(only(c.fails, failure))
				wait := 10 * time.Second
				if strings.HasPrefix(name, "reap") || name == "give up" {
					wait += lease
				}
				w.pass(wait)
				log := said.take()
				if n := strings.Count(log, "presence cannot be kept"); n < 5 || n > 30 || !strings.Contains(log, failure.Error()) {
					t.Errorf("it is said %d times: %.300s", n, log)
				}
				p.failing(nil)
				w.pass(lease)
				if log := said.take(); log != "" {
					t.Errorf("then it is said that %.300s", log)
				}
				if len(c.then) > 0 {
					w.expect("when it can again", c.then...)
				}
			})
		})
	}
}

// A node that cannot renew its record is given up by others, not by itself.
func TestOwnRecordIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		w.join(n, tab("ann", "1"))
		w.payloads()
		p.failing(only("Put node", errCut))
		w.pass(3 * lease)
		w.expect("nobody else is there")
		p.failing(nil)
		w.pass(lease)
		w.expect("it goes on")
		if n.Name() != "a" {
			t.Errorf("as %s", n.Name())
		}
	})
}

// movedAtOnce waits until a node that was given up has another name, and its
// sessions are recorded under it.
func (w *world) movedAtOnce(n *node, before string) {
	w.t.Helper()
	for began := time.Now(); n.Name() == before; w.pass(10 * time.Millisecond) {
		if time.Since(began) > lease {
			w.t.Fatal("it has no other name")
		}
	}
	w.pass(time.Second)
	it, err := w.b.Get(w.ctx, backend.Key{Kind: "member", Group: channel, Name: "ann"})
	w.must(err)
	if !bytes.Contains(it.Value, []byte(n.Name())) {
		w.t.Errorf("a second later, ann's session is not recorded as of %s", n.Name())
	}
}

// A node that is given up again and again has another name each time.
func TestGivenUpAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", false)
		w.join(n, tab("ann", "1"))
		for i := range 3 {
			it, err := w.b.Get(w.ctx, backend.Key{Kind: "node", Group: "lease", Name: n.Name()})
			w.must(err)
			w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil))
			w.movedAtOnce(n, it.Name)
			if want := fmt.Sprintf("a/%d", i+1); n.Name() != want {
				t.Errorf("it is %s, want %s", n.Name(), want)
			}
		}
		w.present(n, "with its sessions", "ann")
		w.payloads()
		w.pass(10 * time.Minute)
		w.expect("which nobody ends")
	})
}

// A node that starts finds the members that dead nodes have left while nobody watched.
// Looking for them costs nothing while no node dies.
func TestLeftByNodesOfBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", false)
		w.join(a, tab("ann", "1"))
		a.kill()
		it, err := w.b.Get(w.ctx, backend.Key{Kind: "node", Group: "lease", Name: "a"})
		w.must(err)
		w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil)) // given up by a node that then died as well
		w.payloads()
		b, p, _ := w.probed("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second) // so that c comes second
		w.join(w.start("c", false), tab("cid", "1"))
		w.payloads()
		p.failing(nil)
		w.pass(2*lease + lease/2)
		w.expect("found", `presence.leave ann {"reason":"node"}`)
		if n := p.count("Get member"); n != 1 {
			t.Errorf("%d members are read one by one, where one has to leave", n)
		}
		p.failing(nil)
		w.pass(time.Hour)
		if n := p.count("List every member"); n != 0 {
			t.Errorf("all members are listed %d times in an hour without a death", n)
		}
	})
}

// A session that has joined again while its end waited for its turn goes on, and one that
// has left has ended.
func TestJoinedWhileItsEndWaits(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(w *world, n *node)
		present []string
	}{
		"joined":           {func(w *world, n *node) { w.join(n, with(tab("ann", "1"), `1`)) }, []string{"ann"}},
		"joined for a day": {func(w *world, n *node) { w.join(n, lasting(with(tab("ann", "1"), `1`), 24*time.Hour)) }, []string{"ann"}},
		"left":             {func(w *world, n *node) { w.leave(n, "ann", "1", presence.Left, 0) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				w.join(n, lasting(tab("ann", "1"), 10*time.Second))
				time.Sleep(9 * time.Second)
				p.slowDown(2 * time.Second)
				c.do(w, n)
				w.payloads()
				w.pass(time.Hour)
				w.expect("the end is off")
				w.present(n, "in the end", c.present...)
			})
		})
	}
}

// Sessions end, and are recorded again, 16 at a time.
func TestAtMostSoManyAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		for i := range 100 {
			w.join(n, tab(fmt.Sprint("user", i), "1"))
		}
		p.failing(nil)
		p.slowDown(10 * time.Millisecond)
		n.Lost()
		w.pass(time.Minute)
		if got := p.count("Get member"); got != 100 {
			t.Errorf("%d members are read, of 100 to be recorded again", got)
		}
		for i := range 100 {
			w.leave(n, fmt.Sprint("user", i), "1", presence.Left, time.Second)
		}
		w.pass(time.Minute)
		w.present(n, "all have left")
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, call := range []string{"Get member", "Delete member"} {
			if most := p.most[call]; most < 8 || most > 16 {
				t.Errorf("%d times %s at once", most, call)
			}
		}
	})
}

// That somebody was seen is stored where others read it, and no more often than
// they may know. A Join is always stored there.
func TestSeenIsStoredForOthers(t *testing.T) {
	for name, c := range map[string]struct {
		see    func(w *world, n *node)
		shared int // how often it is stored where others read it
	}{
		"touch": {func(w *world, n *node) { w.must(n.Touch(w.ctx, channel, "ann")) }, 4},
		"join":  {func(w *world, n *node) { w.join(n, tab("ann", "1")) }, 120},
	} {
		for alone, want := range map[bool]int{true: 0, false: c.shared} {
			t.Run(fmt.Sprint(name, ", alone ", alone), func(t *testing.T) {
				inWorld(t, func(w *world) {
					n, p, _ := w.probed("a", alone)
					w.join(n, tab("ann", "1"))
					p.failing(nil)
					for range 120 {
						time.Sleep(time.Second)
						c.see(w, n)
						if seen := w.lastSeen(n, "ann"); time.Since(seen) >= time.Second {
							t.Errorf("last seen %v ago", time.Since(seen))
						}
					}
					if got := p.count("Put member"); got != want {
						t.Errorf("stored %d times", got)
					}
				})
			})
		}
	}
}

// Whether a node was given up, if that is not known, the next look tells.
func TestGivenUpPerhaps(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, said := w.probed("a", false)
		b := w.start("b", false)
		w.join(b, tab("bob", "1"))
		w.pass(time.Second)
		b.kill()
		w.payloads()
		p.failing(times(1, "Delete node", backend.ErrMaybeStored))
		w.pass(2 * lease)
		w.expect("given up", `presence.leave bob {"reason":"node"}`)
		if log := said.take(); log != "" {
			t.Errorf("it is said that %s", log)
		}
		_ = n
	})
}

// A node that ends while the end of a session waits for its turn ends at once.
func TestEndedWhileAnEndWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, said := w.probed("a", false)
		w.join(n, lasting(tab("ann", "1"), 10*time.Second))
		time.Sleep(9 * time.Second)
		p.slowDown(2 * time.Second)
		go n.Join(w.ctx, with(tab("ann", "1"), `1`))
		time.Sleep(1500 * time.Millisecond) // its end is over, and waits
		began := time.Now()
		n.kill()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if log := said.take(); log != "" {
			t.Errorf("it is said that %s", log)
		}
		w.pass(time.Minute)
		w.present(n, "ann has joined again", "ann")
	})
}

// LeavingOf lists the sessions of one user that are about to leave, in all channels.
func TestLeavingOf(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.join(n, tab("ann", "1"), tab("ann", "2"), tab("bob", "1"))
		w.leave(n, "ann", "1", presence.Closed, time.Minute)
		w.leave(n, "bob", "1", presence.Closed, time.Minute)
		if keys := n.LeavingOf("ann"); len(keys) != 1 || keys[0] != key("ann", "1") {
			t.Errorf("%v", keys)
		}
		if keys := n.LeavingOf("carl"); len(keys) != 0 {
			t.Errorf("%v", keys)
		}
		for source, want := range map[string]int{"tab-1": 1, "tab-2": 0} {
			if keys := n.Leaving(channel, "ann", source); len(keys) != want {
				t.Errorf("of %s: %v", source, keys)
			}
		}
		if keys := n.Leaving(channel, "carl", "tab-1"); len(keys) != 0 {
			t.Errorf("%v", keys)
		}
	})
}
