package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// What is too large for the log is read from the node that wrote it, while that has it.
func TestStreamTooLargeForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), &realtime.Options{
			Limits: realtime.Limits{Publish: 1000}, Streams: realtime.StreamOptions{Bytes: 3000},
		})
		s := hosts[0].stream("a1")
		text := strings.Repeat("0123456789", 200)
		var readers []*growth
		for _, h := range hosts {
			readers = append(readers, h.socket(get("/realtime")).reads("a1"))
		}
		say(t, s, text)
		if n, err := s.Write(make([]byte, 1001)); n != 0 || !errors.Is(err, realtime.ErrTooLarge) {
			t.Errorf("wrote %d: %v", n, err)
		}
		say(t, s, strings.Repeat("x", 1000)) // it is still open, and there is room
		text += strings.Repeat("x", 1000)
		noError(t, s.Close())
		for _, r := range readers {
			r.want(text, "complete")
		}
		page, err := hosts[1].History(t.Context(), "room", "", 1)
		noError(t, err)
		var data map[string]any
		noError(t, json.Unmarshal(page.Events[0].Data, &data))
		if data["text"] != nil || data["bytes"] != 3000.0 || data["limit"] != 1000.0 {
			t.Errorf("%v", data)
		}
		if g := grow(t, hosts[0].socket(get("/realtime")).call(streamOp("a1"))); g.Text != text || g.Partial {
			t.Errorf("soon after: %d bytes, %v", len(g.Text), g.Partial)
		}
		time.Sleep(2 * time.Minute)
		for _, h := range hosts {
			if g := grow(t, h.socket(get("/realtime")).call(streamOp("a1"))); g.Text != "" || !g.Partial || g.State != "complete" {
				t.Errorf("long after: %+v", g)
			}
		}
	})
}

// An engine that takes less than the limits permit does not keep a message open.
func TestStreamTooLargeForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &tight{realtime.NewMemory(), 1000}
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.stream("a1")
		say(t, s, strings.Repeat("x", 2000))
		noError(t, s.Close())
		h.tells("a1 streaming", "a1 complete")
	})
}

// tight takes only entries of so many bytes.
type tight struct {
	backend.Backend
	most int
}

func (b *tight) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	if e != nil && len(e.Data) > b.most {
		return backend.ErrTooLarge
	}
	return b.Backend.Delete(ctx, k, rev, e)
}

func (b *tight) SingleProcess() bool { return true }
