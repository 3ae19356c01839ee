package growing

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []record{
		{node: "n"}, {Begin: Begin{Run: "K3XW5M2PQ7RT", User: "ada", Source: "tag", UnixMilli: 1795465200123, Metadata: json.RawMessage(`{"a":1}`), Depth: 3}, node: "n/1", ended: true},
	} {
		f.Add(encodeRecord(r))
	}
	f.Add([]byte{recordVersion, 0, 0, 0, 200, 1})
	f.Add([]byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(encodeRecord(r))
		if diff := cmp.Diff(r, again, cmp.AllowUnexported(record{})); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	})
}

func FuzzDecodePiece(f *testing.F) {
	f.Add(encodePiece(0, 0, wire.NoKind, nil))
	f.Add(encodePiece(5, 13, wire.Text, []byte(", wörld")))
	f.Add(encodePiece(1<<20, 1<<21, wire.Items, []byte("1,")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		from, total, kind, content, err := decodePiece(b)
		if err != nil {
			return
		}
		if from < 0 || from+len(content) > total {
			t.Errorf("%d bytes at %d of %d", len(content), from, total)
		}
		f2, t2, k2, c2, err := decodePiece(encodePiece(from, total, kind, content))
		if err != nil || f2 != from || t2 != total || k2 != kind || !bytes.Equal(c2, content) {
			t.Errorf("it becomes %d %d %d %q: %v", f2, t2, k2, c2, err)
		}
	})
}

// What another node sends is a piece within its content, or nothing.
func TestDecodePiece(t *testing.T) {
	for b, want := range map[string]bool{
		"\x00\x00\x00":                          true, // the answer of a message that is empty
		"\x00\x05\x01hello":                     true,
		"\x05\x0a\x01hello":                     true,
		"\x06\x0a\x01hello":                     false, // beyond the end
		"\x00\x04\x01hello":                     false,
		"\x00\x05\x02[1,2]":                     true,
		"\x00\x05\x03hello":                     false, // of no kind
		"\x00\x05\x00hello":                     false,
		"\x00\x05":                              false,
		"\x00":                                  false,
		"":                                      false,
		"\x80":                                  false, // half a number
		"\x00\x80":                              false,
		"\x00" + strings.Repeat("\xff", 11):     false, // no number
		strings.Repeat("\xff", 11) + "\x01\x01": false,
		"\x00\x80\x80\x80\x80\x04\x01" + "x":    true, // 1 GiB
		"\x00\x81\x80\x80\x80\x04\x01" + "x":    false,
		"\x81\x80\x80\x80\x04\x82\x80\x80\x80\x04\x01x": false,
	} {
		if _, _, _, _, err := decodePiece([]byte(b)); (err == nil) != want {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// Whatever the log says of an end, it is no end or one that can be shown.
func FuzzEnded(f *testing.F) {
	end := End{State: Complete, UnixMilli: 1}
	for _, kind := range []wire.Kind{wire.NoKind, wire.Text, wire.Items} {
		t := &Text{Begin: Begin{Key: Key{"room", "a1"}, Run: "r"}, kind: kind}
		if kind != wire.NoKind {
			t.content = []byte(`"a",{"b":[1,2]},`)
		}
		f.Add([]byte(t.ending(end, 1<<20, true).Data))
		f.Add([]byte(t.ending(end, 10, true).Data))
	}
	f.Add([]byte(`{"stream":"a1","bytes":-1,"items":{"a":1}}`))
	f.Add([]byte(`{"stream":"a1","bytes":3,"items":"x","text":"y"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _ := ended(&backend.Event{Type: backend.Message, Channel: "room", Key: "a1", Data: data})
		if text == nil {
			return
		}
		v := text.From(0)
		frame := wire.StreamFrame{Channel: "room", ID: "a1", Kind: v.Kind, Content: v.Content, Next: v.Next, Error: v.End.Error}
		if b := frame.Append(nil); !json.Valid(b) || bytes.ContainsAny(b, "\r\n") {
			t.Errorf("%q", b)
		}
	})
}

// Text is cut between characters only, whatever is written and how.
func FuzzRunes(f *testing.F) {
	f.Add([]byte("wörld 💬"), uint8(3))
	f.Add([]byte("\xff\xc3\xf0\x9f\x92"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var got, left []byte
		for part := text; len(part) > 0; {
			n := min(int(size)+1, len(part))
			got, left = runes(got, append(left, part[:n]...), false)
			part = part[n:]
		}
		got, left = runes(got, left, true)
		whole, _ := runes(nil, text, true)
		if len(left) > 0 || !utf8.Valid(got) || !bytes.Equal(got, whole) || utf8.Valid(text) && !bytes.Equal(got, text) {
			t.Errorf("%q becomes %q, in one piece %q; %q is left", text, got, whole, left)
		}
	})
}

// A frame from any place is JSON, and together they are the content.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte("wörld"), false, 2)
	f.Add([]byte(`"a,\"",1,[2,3],`), true, 4)
	f.Fuzz(func(t *testing.T, content []byte, items bool, place int) {
		kind := wire.Text
		if items {
			kind = wire.Items
			if !json.Valid(append(append([]byte("["), bytes.TrimSuffix(content, []byte(","))...), ']')) || len(content) > 0 && content[len(content)-1] != ',' {
				return
			}
		} else if !utf8.Valid(content) {
			return
		}
		text := &Text{kind: kind, content: content, told: len(content)}
		v := text.From(place)
		if v.From != place && v.From != 0 || v.Next != len(content) {
			t.Errorf("from %d: %+v", place, v)
		}
		frame, _, _ := text.Frame(v.From)
		if frame != nil && (!json.Valid(frame) || !utf8.Valid(frame)) {
			t.Errorf("from %d of %q: %q", place, content, frame)
		}
	})
}
