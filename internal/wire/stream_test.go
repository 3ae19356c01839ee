package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
)

// Content can be divided between characters, and between items.
func TestIsPlace(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		content string
		places  []int
	}{
		{Text, "", []int{0}},
		{Text, "abc", []int{0, 1, 2, 3}},
		{Text, "aä💬b", []int{0, 1, 3, 7, 8}},
		{Items, "", []int{0}},
		{Items, "12,3,", []int{0, 3, 5}},
		{Items, `"a,b",[1,2],{},`, []int{0, 6, 12, 15}},
	} {
		var got []int
		for place := range len(c.content) + 1 {
			if c.kind.IsPlace([]byte(c.content), place) {
				got = append(got, place)
			}
		}
		if !cmp.Equal(got, c.places) {
			t.Errorf("%q can be divided at %v, want %v", c.content, got, c.places)
		}
	}
}

// The frames of growing messages have the members that docs/protocol.md names, and
// nothing that is empty.
func TestStreamFrames(t *testing.T) {
	ref := int64(7)
	refused := &Error{Code: "internal", Message: "no \"model\"", Retry: true}
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{
			(&StreamFrame{
				Ref: &ref, Channel: "c", ID: "s", Run: "r", State: "failed", From: "tag", UserID: "ada", TS: 5, Metadata: json.RawMessage(`{"m":1}`),
				Kind: Text, Offset: 2, Content: []byte("lo\n"), Next: 5, Error: refused, Partial: true,
			}).Append(nil),
			`{"event":"stream","ref":7,"channel":"c","id":"s","run":"r","state":"failed","from":"tag","userId":"ada","ts":5,"metadata":{"m":1},` +
				`"offset":2,"text":"lo\n","next":5,"error":{"code":"internal","message":"no \"model\"","retry":true},"partial":true}`,
		},
		{
			(&StreamFrame{Channel: "c", ID: "s", Run: "r", State: "open"}).Append(nil),
			`{"event":"stream","channel":"c","id":"s","run":"r","state":"open","ts":0,"offset":0,"next":0}`,
		},
		{
			(&StreamAppend{Channel: "c", ID: "s", Kind: Items, Offset: 3, Content: []byte(`1,{"a":2},`), Next: 13}).Frame(),
			`{"event":"stream.append","channel":"c","id":"s","offset":3,"items":[1,{"a":2}],"next":13}`,
		},
		{
			(&StreamEnd{Channel: "c", ID: "s", State: "complete", TS: 5, Next: 13}).Append(nil),
			`{"event":"stream.end","channel":"c","id":"s","state":"complete","ts":5,"next":13}`,
		},
		{
			(&StreamEnd{Channel: "c", ID: "s", State: "failed", TS: 5, Error: &Error{Code: "x", Message: "y"}}).Append(nil),
			`{"event":"stream.end","channel":"c","id":"s","state":"failed","ts":5,"next":0,"error":{"code":"x","message":"y","retry":false}}`,
		},
		{
			(&RosterPart{Channel: "c", Members: []byte("1,2"), More: true}).Append(nil),
			`{"event":"presence.state","channel":"c","members":[1,2],"more":true}`,
		},
		{
			(&RosterPart{Channel: "c", Part: 1, Cursor: "1.1"}).Append(nil),
			`{"event":"presence.state","channel":"c","part":1,"members":[],"cursor":"1.1"}`,
		},
	} {
		if diff := cmp.Diff(c.want, string(c.got)); diff != "" {
			t.Error(diff)
		}
	}
}

// The data of a growing message is what encoding/json makes of it, and its content comes
// back from it.
func TestStreamData(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		content string
		want    Kind
		data    StreamData
	}{
		{Text, "wörld\n", Text, StreamData{State: "complete", Metadata: json.RawMessage(`{"m":1}`)}},
		{Items, `1,"a",[2],`, Items, StreamData{State: "failed", Error: &Error{Code: "internal", Message: "m", Retry: true}}},
		{Text, "", NoKind, StreamData{State: "complete"}},
		{Items, "", NoKind, StreamData{State: "open", Limit: 4096}},
	} {
		d := c.data
		d.Type, d.Stream, d.Run = StreamType, "s", "r"
		d.SetContent(c.kind, []byte(c.content))
		std, err := json.Marshal(&d)
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		var back StreamData
		encoded := d.Encode()
		for text, to := range map[*[]byte][]any{(*[]byte)(&encoded): {&got, &back}, &std: {&want}} {
			for _, to := range to {
				if err := json.Unmarshal(*text, to); err != nil {
					t.Fatalf("%s: %v", *text, err)
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s, want %s", encoded, std)
		}
		if kind, content := back.Content(); kind != c.want || string(content) != c.content || *back.Bytes != len(c.content) {
			t.Errorf("%q comes back as %d %q of %d bytes", c.content, kind, content, *back.Bytes)
		}
	}
	for _, items := range []string{`[]`, `{"a":1}`, `"ab"`, `null`, ``} { // what another server may send
		d := StreamData{Items: json.RawMessage(items)}
		if kind, content := d.Content(); kind != NoKind || content != nil {
			t.Errorf("items %s: %d %q", items, kind, content)
		}
	}
}

// Only messages tell of growing messages: the key of another event is no id.
func TestStreamOf(t *testing.T) {
	for typ, want := range map[string][2]string{backend.Message: {"s", "open"}, backend.PresenceJoin: {}, "kv.put": {}} {
		id, state := StreamOf(&backend.Event{Type: typ, Key: "s", Version: "open"})
		if [2]string{id, state} != want {
			t.Errorf("%s: %q, %q", typ, id, state)
		}
	}
}

// A frame costs one allocation, however much it carries.
func TestFrameAllocations(t *testing.T) {
	long := strings.Repeat("x", 1000)
	content := []byte(strings.Repeat("1,", 1000))
	for name, encode := range map[string]func(){
		"a message": func() {
			Channel(&backend.Logged{Event: backend.Event{Type: backend.Message, Channel: long, Data: content}})
		},
		"a part":              func() { _, _ = (&RosterPart{Channel: long, Part: 1 << 30, Members: content, More: true}).Frame() },
		"an append":           func() { (&StreamAppend{Channel: long, ID: long, Kind: Items, Content: content}).Frame() },
		"the data of a start": func() { (&StreamData{Metadata: content, Items: content, Text: long}).Encode() },
		"items":               func() { items(content) },
	} {
		if n := testing.AllocsPerRun(10, encode); n > 1 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}
