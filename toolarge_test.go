package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// narrow is an engine that takes less than the limits permit, as NATS does where
// its max_payload is small.
type narrow struct {
	backend.Backend
	most atomic.Int64 // bytes of an entry or a value; 0: all that others take
}

func (n *narrow) over(data []byte) bool {
	most := n.most.Load()
	return most > 0 && int64(len(data)) > most
}

func (n *narrow) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if n.over(e.Data) {
		return backend.Position{}, backend.ErrTooLarge
	}
	return n.Backend.Append(ctx, e)
}

func (n *narrow) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if n.over(w.Value) {
		return 0, backend.ErrTooLarge
	}
	return n.Backend.Put(ctx, w)
}

// A record that the engine cannot take is refused as too large, for the host and for
// clients, and is not tried again.
func TestTooLargeForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &narrow{Backend: realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		s.ok(`"op":"join","channel":"here"`)
		b.most.Store(500)
		large := `"` + strings.Repeat("x", 600) + `"`
		for _, op := range []string{
			publish("room", large), `"op":"join","channel":"room","metadata":` + large, `"op":"update","channel":"here","metadata":` + large,
		} {
			if o := s.call(op); o.Code != "too_large" || o.Retry == nil || *o.Retry {
				t.Errorf("%s: %s", op, o.raw)
			}
		}
		if err := h.Publish(t.Context(), "room", large); !errors.Is(err, realtime.ErrTooLarge) {
			t.Errorf("Publish returned %v", err)
		}
		if err := h.Presence().Join(t.Context(), "room", "bob", large); !errors.Is(err, realtime.ErrTooLarge) {
			t.Errorf("Join returned %v", err)
		}
		s.ok(publish("room", "1"), `"op":"update","channel":"here","metadata":1`)
	})
}

// The largest metadata that the options permit can be stored, for a member of many
// sessions and in letters of three bytes, and comes to others as it is.
func TestLargestMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := realtime.Limits{Metadata: 60 << 10, Message: 64 << 10}
		h := start(t, open(), &realtime.Options{Limits: limits})
		metadata := strings.Repeat("€", (limits.Metadata-2)/3)
		s := h.socket(get("/realtime", "Authorization", "Bearer eve"))
		s.ok(`"op":"join","channel":"room","metadata":"` + metadata + `"`)
		for i := range 20 {
			h.join("room", "ann", metadata, realtime.FromClient(fmt.Sprintf("browser-%08d.tab", i)))
		}
		h.join("room", "zoe", 1)
		viewer := h.socket(get("/realtime"))
		viewer.ask(subscribe("room") + withPresence)
		got := collector{t: t}
		got.take(viewer.rest())
		got.want("subscribed fresh, roster, of 3")
		for i, want := range []string{metadata, metadata, "1"} {
			if have := strings.Trim(string(got.members[i].Metadata), `"`); have != want {
				t.Errorf("%s has %d bytes of metadata, not %d", got.members[i].UserID, len(have), len(want))
			}
		}
	})
}

// Rosters about as large as a part has room for.
func TestRosterOfOnePart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const part, around = 64 << 10, len(`{"userId":"ann","metadata":"","lastSeen":946684800000}`)
		parts := make(map[int]int)
		for extra := -3; extra <= 3; extra++ {
			h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Metadata: 60 << 10}})
			first := 40 << 10
			second := part - 1 - 2*around - first + extra // with the comma
			h.join("room", "ann", strings.Repeat("x", first))
			h.join("room", "bob", strings.Repeat("y", second))
			s := h.socket(get("/realtime"))
			s.ask(subscribe("room") + withPresence)
			all := s.rest()
			for _, o := range all {
				if o.Event == "presence.state" {
					parts[extra]++
				}
			}
			got := collector{t: t}
			got.take(all)
			got.want("subscribed fresh, roster, of 2")
		}
		if want := map[int]int{-3: 1, -2: 1, -1: 1, 0: 1, 1: 2, 2: 2, 3: 2}; fmt.Sprint(parts) != fmt.Sprint(want) {
			t.Errorf("parts: %v, want %v", parts, want)
		}
	})
}
