package tsgen_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/tsgen"
)

type (
	withChan struct {
		Deep []map[string]struct{ Done chan int }
	}
	withFunc    struct{ F func() }
	withComplex struct{ C *complex128 }
	badKey      struct{ M map[Point]int }
	FileInfo    struct{ Mine bool }
	Channels    struct{}
	failing     string
	untyped     struct{ Kind string }
	numbered    struct {
		Type int `json:"type"`
	}
)

func (failing) MarshalText() ([]byte, error) { return nil, errors.New("no") }

func message(v any) tsgen.Schema {
	return tsgen.Schema{Channels: map[string]tsgen.Channel{"c": {Message: v}}}
}

func typed(types ...tsgen.Type) tsgen.Schema { return tsgen.Schema{Types: types} }

func event(events ...tsgen.Event) tsgen.Schema { return tsgen.Schema{Events: events} }

func localPoint() any {
	type Point struct{ Z int } // another than the package's
	return struct {
		A Pair[Optionals, int]
		B Point
	}{}
}

var refusedSchemas = []struct {
	name   string
	schema tsgen.Schema
	want   string
}{
	{"chan", message(withChan{}), `Channels["c"].Message.Deep[][…].Done: chan int cannot be encoded`},
	{"func", message(withFunc{}), `Message.F: func() cannot`},
	{"complex", message(withComplex{}), `Message.C: complex128 cannot`},
	{"presence", tsgen.Schema{Channels: map[string]tsgen.Channel{"c": {Presence: func() {}}}}, `Channels["c"].Presence: func() cannot`},
	{"data", event(tsgen.Event{Resource: "a", Type: "b", Data: make(chan int)}), `Events["a", "b"].Data: chan int cannot`},
	{"key", message(badKey{}), `Message.M: map[tsgen_test.Point]int cannot be encoded as JSON: its keys are`},
	{"collision", message(struct {
		A FileInfo
		B os.FileMode
		C Chat
		D struct{ P Page[Chat] }
		E []struct{ PageChat }
		F PageChat
	}{}), `Message.F: github.com/maravilla-realtime/realtime/tsgen_test.Page[`},
	{"local", message(localPoint()), `would both be named Point: rename one with tsgen.Name`},
	{"reserved", message(Channels{}), `a type of the module itself and github.com/maravilla-realtime/realtime/tsgen_test.Channels would both`},
	{"nothing", message(nil), `Channels["c"]: has neither Message nor Presence`},
	{"no kinds", message(tsgen.ByType{}), `empty ByType`},
	{"kind without type", message(tsgen.ByType{"a": untyped{}}), `Message["a"]: tsgen_test.untyped is no struct`},
	{"kind with a number", message(tsgen.ByType{"a": numbered{}}), `is no struct with a string`},
	{"kind nil", message(tsgen.ByType{"a": nil}), `is no struct`},
	{"kind of chan", message(tsgen.ByType{"a": struct {
		Type string `json:"type"`
		C    chan int
	}{}}), `Message["a"].C: chan int`},

	{"empty enum", typed(tsgen.Enum[Status]()), `Types[0], of github.com/maravilla-realtime/realtime/tsgen_test.Status: an Enum without`},
	{"nameless enum", typed(tsgen.Enum([]int{1})), `type without a name`},
	{"two enums", typed(tsgen.Enum(Open), tsgen.Enum(Closed)), `Types[1], of github.com/maravilla-realtime/realtime/tsgen_test.Status: said twice`},
	{"enum and as", typed(tsgen.Enum(Open), tsgen.As[Status]("string")), `said twice`},
	{"two names", typed(tsgen.Name[Status]("A"), tsgen.Name[Status]("B")), `said twice`},
	{"bad name", typed(tsgen.Name[Status]("a b")), `a bad name or type: "a b"`},
	{"no name", typed(tsgen.Name[Status]("")), `a bad name or type`},
	{"no type", typed(tsgen.As[Status]("")), `a bad name or type`},
	{"zero type", typed(tsgen.Type{}), `Types[0] is empty`},
	{"enum of what fails", tsgen.Schema{
		Types:    []tsgen.Type{tsgen.Enum(failing("a"))},
		Channels: map[string]tsgen.Channel{"c": {Message: failing("")}},
	}, `Enum[github.com/maravilla-realtime/realtime/tsgen_test.failing]`},

	{"event twice", event(tsgen.Event{Resource: "a", Type: "b"}, tsgen.Event{Resource: "c", Type: "b"}, tsgen.Event{Resource: "a", Type: "b"}),
		`Events["a", "b"]: is there twice`},
	{"known resource", event(tsgen.Event{Resource: "kv", Type: "kv.put"}), `events of kv are in the SDK`},
	{"bad resource", event(tsgen.Event{Resource: "a b", Type: "x"}), `resource must be`},
	{"no event type", event(tsgen.Event{Resource: "a"}), `type is empty`},
	{"bad event type", event(tsgen.Event{Resource: "a", Type: "$x"}), `type names that begin with $`},
}

func TestRefused(t *testing.T) {
	for _, c := range refusedSchemas {
		t.Run(c.name, func(t *testing.T) {
			if src, err := tsgen.Generate(c.schema); err == nil {
				t.Errorf("taken:\n%s", src)
			} else if !strings.HasPrefix(err.Error(), "tsgen: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant …%s", err, c.want)
			}
		})
	}
}

type PageChat struct{ X int }

func TestChannelNames(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"a", ""}, {"room:{id}", ""}, {"{id}", ""}, {"{a}:{b}", ""}, {"räume:{nr_1}", ""}, {strings.Repeat("a", 255), ""},
		{strings.Repeat("a", 254) + "{averylongnameofaplaceholder}", ""},
		{"", "is empty"}, {"$a", "reserved"}, {"a\n", "control characters"}, {"a\x00{b}", "control characters"}, {"\xff", "not UTF-8"},
		{"room:{}", "placeholders must be {name}"}, {"room:{a b}", "placeholders"}, {"room:{1}", "placeholders"}, {"room:{id", "placeholders"},
		{"room:id}", "placeholders"}, {"{a{b}}", "placeholders"}, {"room:*", "use a {placeholder}"}, {"{a}{b}", "apart"},
		{strings.Repeat("a", 256), "longer than 255 bytes"}, {strings.Repeat("a", 255) + "{b}", "longer"},
	} {
		_, err := tsgen.Generate(tsgen.Schema{Channels: map[string]tsgen.Channel{c.name: {Message: ""}}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.40q: %v, want %q", c.name, err, c.want)
		}
	}
	_, err := tsgen.Generate(tsgen.Schema{Channels: map[string]tsgen.Channel{"r:{a}": {Message: ""}, "r:{b}": {Message: ""}}})
	if err == nil || !strings.Contains(err.Error(), `Channels["r:{b}"]: matches the same names as Channels["r:{a}"]`) {
		t.Errorf("alike: %v", err)
	}
}

// The server and the schema agree on what a channel, and an event, may be.
func TestNamesOfTheServer(t *testing.T) {
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	for _, name := range []string{"", "a", "$a", "a$", "a\u0000", "a\u0085", "a\u2028", "\xff", strings.Repeat("a", 255), strings.Repeat("ä", 128)} {
		err := rt.Publish(t.Context(), name, 1)
		_, ours := tsgen.Generate(tsgen.Schema{Channels: map[string]tsgen.Channel{name: {Message: 0}}})
		if (err == nil) != (ours == nil) {
			t.Errorf("channel %.20q: the server says %v, the schema %v", name, err, ours)
		}
		err = rt.Emit(t.Context(), realtime.RenEvent{Resource: "own", Type: name})
		_, ours = tsgen.Generate(tsgen.Schema{Events: []tsgen.Event{{Resource: "own", Type: name}}})
		if (err == nil) != (ours == nil) {
			t.Errorf("type %.20q: the server says %v, the schema %v", name, err, ours)
		}
	}
}
