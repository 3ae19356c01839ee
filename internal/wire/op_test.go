package wire

import (
	"math"
	"strings"
	"testing"
	"time"
)

// What an operation may ask for, and what it is answered otherwise.
func TestOpBounds(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		op   Op
		want int // 0: refused
	}{
		{Op{}, 50},
		{Op{Limit: number(1)}, 1},
		{Op{Limit: number(100)}, 100},
		{Op{Limit: number(0)}, 0},
		{Op{Limit: number(-1)}, 0},
		{Op{Limit: number(101)}, 0},
		{Op{Limit: number(math.MaxInt64)}, 0},
	} {
		if got, err := c.op.PageSize(100); got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("a page of %v: %d, %v", c.op.Limit, got, err)
		}
	}
	if got, err := (&Op{}).PageSize(10); got != 10 || err != nil {
		t.Errorf("where a page is small: %d, %v", got, err)
	}
	const most = math.MaxInt64 / int64(time.Millisecond)
	for _, c := range []struct {
		messages, ms *int64
		want         Back
		ok           bool
	}{
		{nil, nil, Back{}, true},
		{number(1), nil, Back{Messages: 1}, true},
		{number(100), nil, Back{Messages: 100}, true},
		{number(0), nil, Back{}, false},
		{number(101), nil, Back{}, false},
		{nil, number(1), Back{Messages: 100, Age: time.Millisecond}, true},
		{number(7), number(2000), Back{Messages: 7, Age: 2 * time.Second}, true},
		{nil, number(most), Back{Messages: 100, Age: time.Duration(most) * time.Millisecond}, true},
		{nil, number(most + 1), Back{}, false},
		{nil, number(0), Back{}, false},
		{nil, number(-1), Back{}, false},
		{number(0), number(1), Back{}, false},
	} {
		op := Op{Rewind: c.messages, RewindMs: c.ms}
		if got, err := op.Back(100); (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("back by %v, %v: %+v, %v", c.messages, c.ms, got, err)
		}
	}
}

// A live message has no id, and is small; others may be neither.
func TestCheckEphemeral(t *testing.T) {
	data := func(n int) []byte { return []byte(strings.Repeat("1", n)) }
	for _, c := range []struct {
		op   Op
		code string
	}{
		{Op{Data: data(MaxEphemeral + 1), ID: "a"}, ""},
		{Op{Ephemeral: true}, ""},
		{Op{Ephemeral: true, Data: data(MaxEphemeral)}, ""},
		{Op{Ephemeral: true, Data: data(MaxEphemeral + 1)}, "too_large"},
		{Op{Ephemeral: true, ID: "a"}, "bad_request"},
	} {
		code := ""
		if err := c.op.CheckEphemeral(); err != nil {
			code = err.Code
		}
		if code != c.code {
			t.Errorf("ephemeral %v, id %q, %d bytes: %q", c.op.Ephemeral, c.op.ID, len(c.op.Data), code)
		}
	}
}

// The place of a client counts for the run that it is of.
func TestPlace(t *testing.T) {
	seven := int64(7)
	for _, c := range []struct {
		op   Op
		want int
	}{
		{Op{}, 0}, {Op{Run: "a"}, 0}, {Op{Offset: &seven}, 0}, {Op{Run: "b", Offset: &seven}, 0}, {Op{Run: "a", Offset: &seven}, 7},
	} {
		if got := c.op.Place("a"); got != c.want {
			t.Errorf("run %q: from %d", c.op.Run, got)
		}
	}
}

// Depth is what nests, not what stands side by side, and an array is no operation.
func TestDecodeOpDepth(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	for frame, code := range map[string]string{
		`{"op":"publish","data":` + nested(63) + `}`:                     "",
		`{"op":"publish","data":` + nested(64) + `}`:                     "bad_json",
		`{"op":"publish","data":[` + strings.Repeat("[],", 100) + `{}]}`: "",
		`{"op":"publish","data":"` + strings.Repeat("[", 100) + `"}`:     "",
		`{"op":"publish","data":"` + strings.Repeat(`\"[`, 100) + `"}`:   "",
		`["op","ping"]`:       "bad_json",
		`["op","ping"}`:       "bad_json",
		`{"op":"ping"]`:       "bad_json",
		`{"other":{"a":[1]}}`: "",
		`{"other":}`:          "bad_json",
		`{"op":"ping","o`:     "bad_json",
		`{"op":"ping","o":`:   "bad_json",
		`{"op":"ping","o":1`:  "bad_json",
		`{"o":1}{"o":1}`:      "bad_json",
	} {
		got := ""
		if _, err := DecodeOp([]byte(frame)); err != nil {
			got = err.Code
		}
		if got != code {
			t.Errorf("%.60s: %q, want %q", frame, got, code)
		}
	}
}
