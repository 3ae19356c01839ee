package realtime_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// frames divides what a server sent, of which no frame is longer than 64 KiB.
func frames(t *testing.T, b []byte) (list [][]byte) {
	t.Helper()
	for len(b) > 0 {
		n, head := int(b[1]&0x7F), 2
		if n == 126 {
			n, head = int(binary.BigEndian.Uint16(b[2:])), 4
		}
		if n == 127 || len(b) < head+n {
			t.Fatalf("half a frame: % x", b)
		}
		list = append(list, append([]byte{b[0]}, b[head:head+n]...))
		b = b[head+n:]
	}
	return list
}

// closing is a close frame of a client.
func closing(code uint16, reason string) []byte {
	return frame(0x88, true, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

type wsEnd struct {
	name  string
	raw   []byte
	code  uint16 // 0: none, as the client gave none
	ended string
}

func wsEnds() []wsEnd {
	list := []wsEnd{
		{"no code", frame(0x88, true, nil), 0, "client"},
		{"going away", closing(1001, "bye €"), 1001, "client"},
		{"longest reason", closing(4999, strings.Repeat("x", 123)), 4999, "client"},
		{"one byte", frame(0x88, true, []byte{3}), 1002, "violation"},
		{"half a rune", closing(1000, "bye \xe2\x82"), 1007, "violation"},
		{"half a rune at the limit", closing(1000, strings.Repeat("x", 121)+"\xe2\x82"), 1007, "violation"},
		{"long close", closing(1000, strings.Repeat("x", 124)), 1002, "violation"},
		{"long ping", frame(0x89, true, bytes.Repeat([]byte("x"), 126)), 1002, "violation"},
		{"fragmented ping", frame(0x09, true, nil), 1002, "violation"},
		{"continuation of nothing", frame(0x80, true, []byte("x")), 1002, "violation"},
		{"continuation after a message", slices.Concat(frame(0x81, true, []byte(`{"op":"ping"}`)), frame(0x00, true, nil)), 1002, "violation"},
		{"reserved bit of a continuation", slices.Concat(frame(0x01, true, []byte("{")), frame(0x80|0x40, true, []byte("}"))), 1002, "violation"},
		{"compressed, which was not agreed", frame(0xC1, true, []byte("x")), 1002, "violation"},
		{"reserved bit of a close", frame(0x98, true, nil), 1002, "violation"},
		{"close within a message", slices.Concat(frame(0x01, true, []byte("{")), closing(1000, "")), 1000, "client"},
		{"no mask", []byte{0x88, 2, 3, 0xE8}, 1002, "violation"},
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		list = append(list, wsEnd{fmt.Sprint("code ", code), closing(code, "x"), 1002, "violation"})
	}
	return list
}

// A WebSocket ends with one close frame, which says why, as the last that the server
// sends: whatever the client breaks, and whatever it sends after that, or after its own
// close frame. What it sent before is done; nobody else notices.
func TestWSEndsOnce(t *testing.T) {
	t.Parallel()
	more := slices.Concat(frame(0x89, true, []byte("late")), frame(0x81, true, []byte(`{"op":"publish","channel":"room","data":"late"}`)), closing(1011, "late"))
	for _, c := range wsEnds() {
		for _, rest := range []struct {
			name string
			raw  []byte
		}{{"", nil}, {", and more", more}} {
			bubble(t, c.name+rest.name, func(t *testing.T) {
				h := start(t, open(), nil)
				other := h.socket(get("/realtime"))
				other.ok(subscribe("room"))
				s := h.dialStalled(get("/realtime"))
				s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
				s.send(`{"op":"publish","channel":"room","data":"before"}`)
				go func() {
					_, _ = s.net.Write(slices.Concat(c.raw, rest.raw)) // the server may not read all of it
				}()
				all, _ := io.ReadAll(s.net)
				got := frames(t, all)
				last := got[len(got)-1]
				if last[0] != 0x88 || len(last) < 3 && c.code != 0 || c.code != 0 && binary.BigEndian.Uint16(last[1:]) != c.code || c.code == 0 && len(last) > 1 {
					t.Errorf("the last is % x, want a close frame with %d", last, c.code)
				}
				for _, f := range got[:len(got)-1] {
					if f[0] != 0x81 || bytes.Contains(f, []byte("late")) {
						t.Errorf("before it comes %q", f)
					}
				}
				if got := other.data(1); got != `"before"` {
					t.Errorf("the other got %s", got)
				}
				other.ok(`"op":"ping"`)
				synctest.Wait()
				if n := h.Stats().WebSocket.Ended[c.ended]; n != 1 {
					t.Errorf("ended: %v", h.Stats().WebSocket.Ended)
				}
			})
		}
	}
}
