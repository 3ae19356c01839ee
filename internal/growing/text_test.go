package growing

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"": false, "a": true, "a\n": false, "\xff": false, strings.Repeat("a", MaxID): true, strings.Repeat("a", MaxID+1): false,
	} {
		if ValidID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

// Content is read from places between characters; from others all of it is.
func TestFrom(t *testing.T) {
	text := &Text{kind: wire.Text, content: []byte("aöb and more"), told: 4}
	for place, want := range map[int]string{-1: "aöb", 0: "aöb", 1: "öb", 2: "aöb", 3: "b", 4: "", 5: "aöb"} {
		v := text.From(place)
		if string(v.Content) != want || v.Next != 4 || (v.From == place) != (want != "aöb" || place == 0) {
			t.Errorf("from %d: %q, %d to %d", place, v.Content, v.From, v.Next)
		}
	}
}

// Those who are at the same place share a frame; one who lags has its own, and does not take
// that of the others from them.
func TestSharedFrames(t *testing.T) {
	text := &Text{Begin: Begin{Key: Key{"room", "a1"}}, kind: wire.Text, content: []byte("0123456789abcdef")}
	frame := func(place int, want string) *byte {
		t.Helper()
		b, next, end := text.Frame(place)
		var got struct{ Text string }
		if err := json.Unmarshal(b, &got); err != nil || got.Text != want || next != text.told || end != nil {
			t.Fatalf("from %d: %s to %d, %v", place, b, next, err)
		}
		return &b[0]
	}
	shared := func(place int, want string, with *byte, is bool) {
		t.Helper()
		if (frame(place, want) == with) != is {
			t.Errorf("from %d it is shared: %v", place, !is)
		}
	}
	if b, next, _ := text.Frame(0); b != nil || next != 0 {
		t.Errorf("nothing is %s", b)
	}
	text.told = 10
	first := frame(6, "6789")
	shared(6, "6789", first, true)
	shared(2, "23456789", first, false)
	shared(6, "6789", first, true)
	text.told = 14
	second := frame(8, "89abcd")
	shared(8, "89abcd", second, true)
	shared(10, "abcd", second, false)
	shared(8, "89abcd", second, true)
	text.told = 16
	shared(14, "ef", frame(14, "ef"), true)
}

func TestDecodeRecord(t *testing.T) {
	r := record{Begin: Begin{Run: "r", User: "u", Source: "s", UnixMilli: 7, Depth: 2, Metadata: json.RawMessage(`{"a":1}`)}, node: "n"}
	b := encodeRecord(r)
	for i := range b {
		if got, err := decodeRecord(b[:i]); err == nil {
			t.Errorf("the first %d bytes of %d are %+v", i, len(b), got)
		}
	}
	got, err := decodeRecord(b)
	clear(b)
	if err != nil || string(got.Metadata) != `{"a":1}` || got.User != "u" || got.Depth != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	b = encodeRecord(r)
	b[0]++
	if _, err := decodeRecord(b); err == nil {
		t.Error("another version is read")
	}
	for n, ok := range map[int]bool{maxNode: true, maxNode + 1: false} {
		got, err := decodeRecord(encodeRecord(record{node: strings.Repeat("n", n)}))
		if (err == nil) != ok || got.Metadata != nil {
			t.Errorf("%d bytes of a name: %v, %q", n, err, got.Metadata)
		}
	}
}

// What is to be looked at later is bounded, and is looked at when its time has come.
func TestDue(t *testing.T) {
	g := New(Node{Logger: slog.New(slog.DiscardHandler)})
	now := time.Now()
	undue := grave{due: now.Add(time.Hour)}
	for n, want := range map[int]int{maxGraves: 0, maxGraves + 3: 3} {
		g.graves = slices.Repeat([]grave{undue}, n)
		if due := g.dueGraves(now); len(due) != want || len(g.graves) != maxGraves {
			t.Errorf("%d of %d are due, and %d left", len(due), n, len(g.graves))
		}
	}
	g.graves = nil
	for _, name := range []string{"a", "b", "a"} {
		for _, rev := range []backend.Revision{1, 2} {
			g.bury(backend.Key{Name: name}, rev)
		}
	}
	if len(g.graves) != 4 {
		t.Errorf("there are %v", g.graves)
	}
	g.doubt(Key{"room", "a"}, "r")
	since := g.doubts[0].since
	for _, step := range []struct {
		after     time.Duration
		due, left int
	}{{time.Second / 2, 0, 1}, {time.Second, 1, 1}, {time.Minute, 0, 1}, {time.Minute + time.Second, 1, 1}, {3 * time.Minute, 1, 0}, {time.Hour, 0, 0}} {
		if due := g.dueDoubts(since.Add(step.after)); len(due) != step.due || len(g.doubts) != step.left {
			t.Errorf("after %v: %d are due, and %d left", step.after, len(due), len(g.doubts))
		}
	}
	g.doubts = make([]doubt, maxDoubts)
	if g.doubt(Key{"room", "b"}, "r"); len(g.doubts) != maxDoubts {
		t.Errorf("there are %d doubts", len(g.doubts))
	}
}
