package session_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// A message that is one event is one frame for all sessions, which is no copy. With
// anything else in it, it is a message of its own, and the frame stays as it was.
func TestSharedFrame(t *testing.T) {
	for _, size := range []int{1, 200, wsconn.Fragment, 100_000} {
		h := newHistory(roomy)
		a, b, c := newChannels(t, h), newChannels(t, h), newChannels(t, h)
		for _, s := range []*channels{a, b, c} {
			s.subscribe(1, "a", "", false)
			s.run()
		}
		c.ping()
		data := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		text := wire.Channel(h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", Data: data}))
		for _, s := range []*channels{a, b, c} {
			s.s.Fill(&s.buf, session.Batch)
		}
		if !bytes.Equal(a.buf.Frame, wsconn.Frame(text)) || len(a.buf.Bytes) > 0 || &a.buf.Frame[0] != &b.buf.Frame[0] {
			t.Errorf("%d bytes: frame %.40q and message %.40q", size, a.buf.Frame, a.buf.Bytes)
		}
		if n := a.buf.Len(); n != len(text) {
			t.Errorf("%d bytes: Len is %d, want %d", size, n, len(text))
		}
		if c.buf.Frame != nil || !bytes.HasSuffix(c.buf.Bytes, append([]byte("\n"), text...)) {
			t.Errorf("%d bytes after a ping: frame %.40q and message %.80q", size, c.buf.Frame, c.buf.Bytes)
		}
		if a.run(); a.buf.Frame != nil {
			t.Errorf("%d bytes: the frame comes twice", size)
		}
	}
}
