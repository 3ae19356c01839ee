package presence_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

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
