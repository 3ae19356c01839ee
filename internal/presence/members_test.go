package presence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// Joins pass the gate of what causes them; the sessions of clients that are gone end, also
// if the store does not take it at first.
func TestMembersOfTheHost(t *testing.T) {
	in(t, func(w *world, n *node) {
		var gates [2]conns.Gate
		var logs bytes.Buffer
		m := &presence.Members{
			Presence: n.Presence, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
			Gate: func(depth int) *conns.Gate { return &gates[min(depth, 1)] },
		}
		w.must(m.Join(w.ctx, tab("ada", "1")))
		w.must(m.Join(w.ctx, tab("bob", "1")))
		gates[0].Close(w.ctx)
		if err := m.Join(w.ctx, tab("eve", "1")); err != bounded.ErrClosed {
			w.t.Errorf("through a gate that is closed: %v", err)
		}
		fromHandler := tab("joe", "1")
		fromHandler.Depth = 1
		w.must(m.Join(w.ctx, fromHandler))

		n.store.fail(errCut)
		fromHandler.Metadata = []byte(`1`)
		if err := m.Join(w.ctx, fromHandler); !errors.Is(err, errCut) {
			w.t.Errorf("a join without the store: %v", err)
		}
		if err := m.Leave(w.ctx, key("joe", "1"), presence.Departure{Why: presence.Left}); !errors.Is(err, errCut) {
			w.t.Errorf("a leave without the store: %v", err)
		}
		m.EndAll(w.ctx, []presence.Key{key("ada", "1"), key("bob", "1")}, presence.Closed, 0)
		n.store.fail(nil)
		w.pass(time.Minute)
		w.present(n, "after the store has come back")
		if !strings.Contains(logs.String(), "a member cannot leave; trying again") {
			w.t.Errorf("the logs are %q", &logs)
		}
	})
}

// members returns the members of a node as the host changes them, and what they log.
func (n *node) members() (*presence.Members, *journal) {
	said, gate := new(journal), new(conns.Gate)
	return &presence.Members{
		Presence: n.Presence, Logger: slog.New(slog.NewTextHandler(said, nil)),
		Gate: func(int) *conns.Gate { return gate },
	}, said
}

// Many sessions that end at once do so 16 at a time, silently, and stay ended.
func TestManyEndAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		m, said := n.members()
		var keys []presence.Key
		for i := range 100 {
			s := tab(fmt.Sprint("user", i), "1")
			w.join(n, s)
			keys = append(keys, s.Key)
		}
		p.failing(nil)
		p.slowDown(10 * time.Millisecond)
		m.EndAll(w.ctx, keys, presence.Closed, 0)
		w.present(n, "at once")
		w.pass(time.Minute)
		p.mu.Lock()
		defer p.mu.Unlock()
		if ends, most := p.calls["Delete member"], p.most["Delete member"]; ends != 100 || most < 8 || most > 16 {
			t.Errorf("%d ends, %d at once", ends, most)
		}
		if log := said.take(); log != "" {
			t.Errorf("it is said that %s", log)
		}
	})
}

// A session whose end the store does not take is ended a second later, and nobody is told
// of it if the store is closed.
func TestEndsAreTriedAgain(t *testing.T) {
	for err, logs := range map[error]int{errCut: 1, backend.ErrClosed: 0} {
		t.Run(err.Error(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				m, said := n.members()
				w.join(n, tab("ann", "1"))
				w.pass(time.Millisecond)
				p.failing(times(1, "Delete member", err))
				m.EndAll(w.ctx, []presence.Key{key("ann", "1")}, presence.Closed, 0)
				w.pass(time.Second / 2)
				if tried := p.count("Delete member"); tried != 1 {
					t.Errorf("tried %d times within half a second", tried)
				}
				w.pass(time.Second)
				w.present(n, "later")
				w.expect("later", `presence.join ann {}`, `presence.leave ann {"reason":"closed"}`)
				if log := said.take(); strings.Count(log, "a member cannot leave; trying again") != logs || strings.Count(log, "\n") != logs {
					t.Errorf("it is said that %s", log)
				}
			})
		})
	}
}

// That somebody was seen who cannot be recorded is logged, unless the one who was seen has
// gone.
func TestSeenButNotRecorded(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		m, said := n.members()
		w.join(n, tab("ann", "1"))
		w.pass(31 * time.Second)
		m.Touch(w.ctx, channel, "ann")
		if log := said.take(); log != "" {
			t.Errorf("it is said that %s", log)
		}
		p.failing(only("Put member", errCut))
		w.pass(31 * time.Second)
		m.Touch(w.ctx, channel, "ann")
		if log := said.take(); strings.Count(log, "the lastSeen of a member cannot be moved") != 1 {
			t.Errorf("it is said that %q", log)
		}
		w.pass(31 * time.Second)
		gone, cancel := context.WithCancel(w.ctx)
		cancel()
		m.Touch(gone, channel, "ann")
		if log := said.take(); log != "" {
			t.Errorf("of who has gone, it is said that %s", log)
		}
	})
}
