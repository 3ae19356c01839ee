package wire

import (
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// A ping is a control event like others.
func TestAppendPing(t *testing.T) {
	for _, pos := range []backend.Position{{}, {Epoch: 1, Seq: 2}, {Epoch: 1 << 60, Seq: 1 << 62}} {
		for _, now := range []int64{0, -1, 1795465200123} {
			got, want := AppendPing([]byte("x"), pos, now), AppendControl([]byte("x"), "ren.ping", pos, map[string]any{"ts": now})
			if string(got) != string(want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}
