package realtime

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

var update = flag.Bool("update", false, "rewrite testdata/wire.json")

// golden is testdata/wire.json, which the tests of the browser SDK read too.
type golden struct {
	REN    []goldenREN   `json:"ren"`
	Server []goldenFrame `json:"server"`
	Client []goldenFrame `json:"client"`
	Stream []goldenFrame `json:"stream"`
}

type goldenREN struct {
	Name   string        `json:"name"`
	Frame  string        `json:"frame"`
	Parsed []goldenEvent `json:"parsed"`
	Means  []scene       `json:"means"`
}

type goldenEvent struct {
	Event string          `json:"event"`
	ID    string          `json:"id"`
	Data  json.RawMessage `json:"data"`
}

type goldenFrame struct {
	Name  string  `json:"name"`
	Frame string  `json:"frame"`
	Means []scene `json:"means,omitempty"` // of what the server sends
}

func TestGoldenFrames(t *testing.T) {
	var got golden
	got.ren(t)
	got.server(t)
	got.client(t)
	got.stream(t)

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/wire.json"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("frames differ from %s (-want +got):\n%s", file, diff)
	}
}

const (
	goldenClient  = "Zm9vYmFyYmF6cXV4.dGFi"
	goldenEpoch   = 1795465200000000
	goldenInstant = 1795465200123
)

var now = time.UnixMilli(goldenInstant)

func goldenRecords() map[string]*backend.Logged {
	src := wire.Tag(goldenClient)
	member := func(typ, metadata string, why presence.Reason) backend.Event {
		return presence.NewEvent(typ, "room:42", "ada", json.RawMessage(metadata), why, now)
	}
	const ada = `{"name":"Ada","avatar":"/a.png"}`
	events := map[string]backend.Event{
		"kv.put":           backend.Event(KVPut("demo", "todolist:42:item:1").WithVersion("7")),
		"document.created": backend.Event(DocumentCreated("todos", "65f1")),
		"object.deleted":   backend.Event(ObjectDeleted("photos/ünïcode \"1\".png")),
		"custom":           {Type: "priority:high", Resource: "custom", Namespace: "jobs", Data: json.RawMessage(`{"id":1}`)},
		"message":          {Type: "realtime.message", Resource: "realtime", Channel: "room:42", User: "ada", Data: json.RawMessage(`{"type":"message","text":"line\nline\u2028 <b>&"}`)},
		"message.server":   {Type: "realtime.message", Resource: "realtime", Channel: "room:42", Data: json.RawMessage(`null`)},
		"join":             member(backend.PresenceJoin, ada, ""),
		"update":           member(backend.PresenceUpdate, ada, ""),
		"leave":            member(backend.PresenceLeave, ada, presence.Closed),
		"leave.bare":       member(backend.PresenceLeave, "", presence.Node),
	}
	records := make(map[string]*backend.Logged)
	for i, name := range goldenNames {
		ev := events[name]
		ev.UnixMilli = goldenInstant
		if !strings.HasSuffix(name, ".server") && name != "leave.bare" {
			ev.Source = src
		}
		records[name] = &backend.Logged{Event: ev, Pos: backend.Position{Epoch: goldenEpoch, Seq: uint64(35 + i)}}
	}
	return records
}

var goldenNames = []string{"kv.put", "document.created", "object.deleted", "custom", "message", "message.server", "join", "update", "leave", "leave.bare"}

func (g *golden) ren(t *testing.T) {
	records, means := goldenRecords(), renMeanings()
	defer means.done(t)
	add := func(name string, frame []byte) {
		entry := goldenREN{Name: name, Frame: string(frame), Means: means.of(t, name)}
		for r := sse.NewReader(bytes.NewReader(frame), 1<<20); ; {
			ev, err := r.Next()
			if err != nil {
				break
			}
			entry.Parsed = append(entry.Parsed, goldenEvent{ev.Name, ev.ID, json.RawMessage(ev.Data)})
		}
		if len(entry.Parsed) == 0 {
			t.Errorf("%s: frame %q holds no event", name, frame)
		}
		g.REN = append(g.REN, entry)
	}
	for _, name := range goldenNames {
		add(name, wire.REN(records[name]))
	}
	add("message without data", wire.RENBare(records["message"]))

	control := func(name string, members map[string]any) []byte {
		return wire.AppendControl(nil, name, backend.Position{Epoch: goldenEpoch, Seq: 99}, members)
	}
	add("hello fresh", append(sse.AppendRetry(nil, 3127e6),
		control("ren.hello", map[string]any{"state": ring.Fresh, "domains": []string{"*"}, "src": wire.Tag(goldenClient), "userId": "ada"})...))
	add("hello with an expiry", control("ren.hello", map[string]any{"state": ring.Fresh, "domains": []string{"kv"}, "userId": "ada", "expiresIn": 900000}))
	add("hello resumed", control("ren.hello", map[string]any{"state": ring.Resumed, "domains": []string{"db", "kv"}}))
	add("hello reset", control("ren.hello", map[string]any{"state": ring.Reset, "reason": ring.Evicted, "domains": []string{"kv"}}))
	add("reset", control("ren.reset", map[string]any{"reason": ring.Lost}))
	add("ping", control("ren.ping", map[string]any{"ts": goldenInstant}))
	add("bye", append(sse.AppendRetry(nil, 1500e6), control("ren.bye", map[string]any{"reason": "closing", "retryMs": 1500})...))
	add("bye without cursor", sse.AppendEvent(sse.AppendRetry(nil, 1500e6), "ren.bye", "", []byte(`{"reason":"closing","retryMs":1500}`)))
	for _, bye := range goldenByes {
		if bye.both {
			add("bye "+bye.reason, control("ren.bye", map[string]any{"reason": bye.reason, "retryMs": bye.retryMs}))
		}
	}
}

func (g *golden) server(t *testing.T) {
	records, means := goldenRecords(), channelMeanings()
	defer means.done(t)
	add := func(name string, frame []byte) {
		g.Server = append(g.Server, goldenFrame{name, string(frame), means.of(t, name)})
	}
	for _, name := range []string{"message", "message.server", "join", "update", "leave", "leave.bare"} {
		add(name, wire.Channel(records[name]))
	}
	live := *records["message"]
	live.Ephemeral = true
	add("message.ephemeral", wire.Channel(&live))
	ref, retry, expiry := int64(7), int64(1500), int64(900000)
	cursorAt := func(seq uint64) string { return wire.Cursor(backend.Position{Epoch: goldenEpoch, Seq: seq}) }
	cursor := cursorAt(99)
	forbidden := wire.Errorf("forbidden", "not allowed to subscribe to %s", wire.Quote("room:42"))
	for _, f := range []struct {
		name  string
		frame wire.Frame
	}{
		{"hello", wire.Frame{Event: "hello", Src: wire.Tag(goldenClient), UserID: "ada", Cursor: cursor, Limits: &wire.Limits{Message: 65536, Channels: 128, Metadata: 1024, Rate: 30, Burst: 60}}},
		{"hello with an expiry", wire.Frame{Event: "hello", Src: wire.Tag(goldenClient), UserID: "ada", Cursor: cursor, Limits: &wire.Limits{Message: 65536, Channels: 128, Metadata: 1024, Rate: 30, Burst: 60}, ExpiresIn: &expiry}},
		{"subscribed fresh", wire.Frame{Event: "subscribed", Ref: &ref, Channel: "room:42", State: "fresh", Cursor: cursor}},
		{"subscribed resumed", wire.Frame{Event: "subscribed", Ref: &ref, Channel: "room:42", State: "resumed", Cursor: cursor}},
		{"subscribed reset", wire.Frame{Event: "subscribed", Ref: &ref, Channel: "room:42", State: "reset", Reason: "epoch", Cursor: cursor}},
		{"ok", wire.Frame{Event: "ok", Ref: &ref}},
		{"ok renewed", wire.Frame{Event: "ok", Ref: &ref, ExpiresIn: &expiry}},
		{"error", wire.ErrorFrame(&ref, forbidden)},
		{"error for a while", wire.ErrorFrame(&ref, refused.Unavailable().Error)},
		{"error not_joined", wire.ErrorFrame(&ref, wire.Errorf("not_joined", "join comes before update"))},
		{"error user_mismatch", wire.ErrorFrame(&ref, wire.Errorf("user_mismatch", "\"bob\" is not who you are"))},
		{"error bad_channel", wire.ErrorFrame(&ref, wire.BadChannel("$room"))},
		{"error without ref", wire.ErrorFrame(nil, forbidden)},
		{"ping", wire.Frame{Event: "ping", Cursor: cursorAt(100), TS: goldenInstant}},
		{"ping without cursor", wire.Frame{Event: "ping", TS: goldenInstant}},
		{"reset", wire.Frame{Event: "reset", Channel: "room:42", Reason: "evicted", Cursor: cursor}},
		{"unsubscribed", withCursor(wire.TakenFrame("unsubscribed", "room:42", "", forbidden), cursorAt(98))},
		{"unsubscribed without cursor", wire.TakenFrame("unsubscribed", "room:42", "", forbidden)},
		{"unsubscribed for a while", withCursor(wire.TakenFrame("unsubscribed", "room:42", "", refused.Unavailable().Error), cursorAt(98))},
		{"left", wire.TakenFrame("left", "room:42", "ada", forbidden)},
		{"left for a while", wire.TakenFrame("left", "room:42", "ada", refused.Unavailable().Error)},
		{"bye", wire.Frame{Event: "bye", Reason: "closing", RetryMs: &retry, Cursor: cursorAt(101)}},
		{"bye without cursor", wire.Frame{Event: "bye", Reason: "closing", RetryMs: &retry}},
	} {
		add(f.name, f.frame.Append(nil))
	}
	for _, bye := range goldenByes {
		add("bye "+bye.reason, wire.Frame{Event: "bye", Reason: bye.reason, RetryMs: &bye.retryMs, Cursor: cursorAt(101)}.Append(nil))
	}
	past := &wire.Past{Messages: [][]byte{wire.Channel(records["message.server"]), wire.Channel(records["message"])}, Before: cursorAt(35)}
	add("history", wire.Frame{Event: "history", Ref: &ref, Channel: "room:42", Past: past}.Append(nil))
	add("history to its start", wire.Frame{Event: "history", Ref: &ref, Channel: "room:42", Past: &wire.Past{End: "start"}}.Append(nil))
	add("history to what is evicted", wire.Frame{Event: "history", Ref: &ref, Channel: "room:42", Past: &wire.Past{End: "evicted"}}.Append(nil))
	add("subscribed with messages", wire.Frame{Event: "subscribed", Ref: &ref, Channel: "room:42", State: "resumed", Past: past}.Append(nil))
	g.rosters(cursor, add)
	g.growing(add)
}

func (g *golden) rosters(cursor string, add func(string, []byte)) {
	ada := wire.AppendMember(nil, "ada", json.RawMessage(`{"name":"Ada"}`), goldenInstant)
	bob := wire.AppendMember(nil, "bob", nil, goldenInstant)
	for _, f := range []struct {
		name string
		part wire.RosterPart
	}{
		{"presence.state", wire.RosterPart{Members: bytes.Join([][]byte{ada, bob}, []byte(",")), Cursor: cursor}},
		{"presence.state empty", wire.RosterPart{Cursor: cursor}},
		{"presence.state first part", wire.RosterPart{Members: ada, More: true}},
		{"presence.state middle part", wire.RosterPart{Members: bob, Part: 1, More: true}},
		{"presence.state last part", wire.RosterPart{Members: bob, Part: 2, Cursor: cursor}},
	} {
		f.part.Channel = "room:42"
		add(f.name, f.part.Append(nil))
	}
}

// growing adds the messages that tell of a growing one, and the frames of one that is
// followed.
func (g *golden) growing(add func(string, []byte)) {
	begin := growing.Begin{
		Key: growing.Key{Channel: "room:42", ID: "a1"}, Run: "K3XW5M2PQ7RT", User: "ada", Source: wire.Tag(goldenClient),
		UnixMilli: goldenInstant, Metadata: json.RawMessage(`{"role":"assistant"}`),
	}
	broken := wire.Errorf("internal", "the message could not be completed")
	logged := func(state string, change func(*wire.StreamData)) []byte {
		data := wire.StreamData{State: state, Stream: begin.ID, Run: begin.Run, Metadata: begin.Metadata}
		change(&data)
		ev := backend.Event{
			Type: backend.Message, Resource: backend.Realtime, Channel: begin.Channel, Key: begin.ID, Version: state,
			User: begin.User, Source: begin.Source, UnixMilli: goldenInstant, Data: data.Encode(),
		}
		return wire.Channel(&backend.Logged{Event: ev, Pos: backend.Position{Epoch: goldenEpoch, Seq: 102}})
	}
	add("message of a stream that begins", logged("streaming", func(*wire.StreamData) {}))
	add("message of a stream that is complete", logged("complete", func(d *wire.StreamData) { d.SetContent(wire.Text, []byte("Hello, wörld \"<&>\"\n")) }))
	add("message of a stream that failed", logged("failed", func(d *wire.StreamData) {
		d.SetContent(wire.Items, []byte(`{"a":[1,2]},"x",`))
		d.Error = broken
	}))
	add("message of a stream that is too large", logged("cancelled", func(d *wire.StreamData) {
		d.SetContent(wire.NoKind, nil)
		*d.Bytes, d.Limit = 1200000, 1048576
	}))
	g.grown(&begin, broken, add)
}

// grown adds the frames of one that is followed.
func (g *golden) grown(begin *growing.Begin, broken *wire.Error, add func(string, []byte)) {
	ref := int64(7)
	frame := wire.StreamFrame{
		Ref: &ref, Channel: begin.Channel, ID: begin.ID, Run: begin.Run, State: "streaming", From: begin.Source, UserID: begin.User,
		TS: goldenInstant, Metadata: begin.Metadata,
	}
	with := func(change func(f *wire.StreamFrame)) []byte {
		f := frame
		change(&f)
		return f.Append(nil)
	}
	add("stream", with(func(f *wire.StreamFrame) { f.Kind, f.Content, f.Next = wire.Text, []byte("Hello"), 5 }))
	add("stream empty", with(func(f *wire.StreamFrame) {}))
	add("stream of JSON", with(func(f *wire.StreamFrame) { f.Kind, f.Content, f.Next = wire.Items, []byte(`{"a":[1,2]},"x",`), 16 }))
	add("stream resumed", with(func(f *wire.StreamFrame) { f.Kind, f.Offset, f.Content, f.Next = wire.Text, 5, []byte(", wörld"), 13 }))
	add("stream complete", with(func(f *wire.StreamFrame) {
		f.State, f.Kind, f.Content, f.Next = "complete", wire.Text, []byte("Hello, wörld"), 13
	}))
	add("stream failed", with(func(f *wire.StreamFrame) { f.State, f.Error, f.Partial = "failed", refused.Unavailable().Error, true }))
	for _, a := range []struct {
		name  string
		frame wire.StreamAppend
	}{
		{"stream.append", wire.StreamAppend{Kind: wire.Text, Offset: 5, Content: []byte(", wörld"), Next: 13}},
		{"stream.append of JSON", wire.StreamAppend{Kind: wire.Items, Offset: 16, Content: []byte("null,"), Next: 21}},
	} {
		a.frame.Channel, a.frame.ID = begin.Channel, begin.ID
		add(a.name, a.frame.Frame())
	}
	for _, e := range []wire.StreamEnd{{State: "complete", Next: 13}, {State: "cancelled", Next: 5}, {State: "failed", Next: 5, Error: broken}} {
		e.Channel, e.ID, e.TS = begin.Channel, begin.ID, goldenInstant
		add("stream.end "+e.State, e.Append(nil))
	}
	taken := wire.TakenFrame("unstreamed", begin.Channel, "", wire.Errorf("forbidden", "not allowed to subscribe to %s", wire.Quote("room:42")))
	taken.ID = begin.ID
	add("unstreamed", taken.Append(nil))
	taken = wire.TakenFrame("unstreamed", begin.Channel, "", refused.Unavailable().Error)
	taken.ID = begin.ID
	add("unstreamed for a while", taken.Append(nil))
}

// stream lists what clients send about growing messages.
func (g *golden) stream(t *testing.T) {
	ref := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, frame string
		want        wire.Op
	}{
		{"stream", `{"op":"stream","ref":1,"channel":"room:42","id":"a1"}`, wire.Op{Op: "stream", Ref: ref(1), Channel: "room:42", ID: "a1"}},
		{"stream that goes on", `{"op":"stream","ref":2,"channel":"room:42","id":"a1","run":"K3XW5M2PQ7RT","offset":13}`,
			wire.Op{Op: "stream", Ref: ref(2), Channel: "room:42", ID: "a1", Run: "K3XW5M2PQ7RT", Offset: ref(13)}},
		{"unstream", `{"op":"unstream","ref":3,"channel":"room:42","id":"a1"}`, wire.Op{Op: "unstream", Ref: ref(3), Channel: "room:42", ID: "a1"}},
		{"stop", `{"op":"stop","ref":4,"channel":"room:42","id":"a1"}`, wire.Op{Op: "stop", Ref: ref(4), Channel: "room:42", ID: "a1"}},
	} {
		op, err := wire.DecodeOp([]byte(c.frame))
		if diff := cmp.Diff(c.want, op); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
		g.Stream = append(g.Stream, goldenFrame{Name: c.name, Frame: c.frame})
	}
}

// goldenByes are the other reasons for a bye, each with its retryMs.
var goldenByes = []struct {
	reason  string
	retryMs int64
	both    bool // on REN as well
}{
	{"rotate", 100, true}, {"expired", 0, true}, {"revoked", 0, true}, {"forbidden", 0, true}, {"unauthorized", 0, true},
	{"unavailable", 2000, true}, {"internal", 2000, true}, {"too_many", 2000, false}, {"hello_required", 0, false},
}

func withCursor(f wire.Frame, cursor string) wire.Frame {
	f.Cursor = cursor
	return f
}

// client lists what the SDK sends, and that it is understood as meant.
func (g *golden) client(t *testing.T) {
	ref := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, frame string
		want        wire.Op
	}{
		{"hello", `{"op":"hello","cid":"Zm9vYmFyYmF6cXV4.dGFi"}`, wire.Op{Op: "hello", CID: goldenClient}},
		{"hello with token", `{"op":"hello","cid":"Zm9vYmFyYmF6cXV4.dGFi","token":"secret"}`, wire.Op{Op: "hello", CID: goldenClient, Token: "secret"}},
		{"subscribe", `{"op":"subscribe","ref":1,"channel":"room:42"}`, wire.Op{Op: "subscribe", Ref: ref(1), Channel: "room:42"}},
		{"subscribe with since and presence", `{"op":"subscribe","ref":2,"channel":"room:42","since":"hog38gu134.2r","presence":true}`,
			wire.Op{Op: "subscribe", Ref: ref(2), Channel: "room:42", Since: "hog38gu134.2r", Presence: true}},
		{"subscribe with rewind", `{"op":"subscribe","ref":8,"channel":"room:42","rewind":2,"rewindMs":60000}`,
			wire.Op{Op: "subscribe", Ref: ref(8), Channel: "room:42", Rewind: ref(2), RewindMs: ref(60000)}},
		{"history", `{"op":"history","ref":9,"channel":"room:42","before":"hog38gu134.2r","limit":50}`,
			wire.Op{Op: "history", Ref: ref(9), Channel: "room:42", Before: "hog38gu134.2r", Limit: ref(50)}},
		{"unsubscribe", `{"op":"unsubscribe","ref":3,"channel":"room:42"}`, wire.Op{Op: "unsubscribe", Ref: ref(3), Channel: "room:42"}},
		{"publish", `{"op":"publish","ref":4,"channel":"room:42","data":{"type":"message","text":"hello"},"id":"p1"}`,
			wire.Op{Op: "publish", Ref: ref(4), Channel: "room:42", Data: json.RawMessage(`{"type":"message","text":"hello"}`), ID: "p1"}},
		{"publish ephemeral", `{"op":"publish","ref":4,"channel":"room:42","data":{"type":"typing"},"ephemeral":true}`,
			wire.Op{Op: "publish", Ref: ref(4), Channel: "room:42", Data: json.RawMessage(`{"type":"typing"}`), Ephemeral: true}},
		{"join", `{"op":"join","ref":5,"channel":"room:42","userId":"ada","metadata":{"name":"Ada"}}`,
			wire.Op{Op: "join", Ref: ref(5), Channel: "room:42", UserID: "ada", Metadata: json.RawMessage(`{"name":"Ada"}`)}},
		{"update", `{"op":"update","ref":6,"channel":"room:42","userId":"ada","metadata":{"name":"Countess"}}`,
			wire.Op{Op: "update", Ref: ref(6), Channel: "room:42", UserID: "ada", Metadata: json.RawMessage(`{"name":"Countess"}`)}},
		{"leave", `{"op":"leave","ref":7,"channel":"room:42","userId":"ada"}`, wire.Op{Op: "leave", Ref: ref(7), Channel: "room:42", UserID: "ada"}},
	} {
		op, err := wire.DecodeOp([]byte(c.frame))
		if diff := cmp.Diff(c.want, op); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
		g.Client = append(g.Client, goldenFrame{Name: c.name, Frame: c.frame})
	}
}
