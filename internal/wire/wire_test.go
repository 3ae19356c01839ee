package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
)

func TestCursor(t *testing.T) {
	for _, pos := range []backend.Position{
		{}, {Epoch: 1, Seq: 1}, {Epoch: 35, Seq: 36}, {Epoch: math.MaxUint64, Seq: math.MaxUint64}, {Epoch: 1795465200000000},
	} {
		if got, ok := ParseCursor(Cursor(pos)); !ok || got != pos {
			t.Errorf("%v: %q is parsed as %v, %v", pos, Cursor(pos), got, ok)
		}
	}
	for _, bad := range []string{
		"", ".", "1", "1.", ".1", "1.1.1", "01.1", "1.01", "+1.1", "1.-1", "1.A", "1 .1", " 1.1", "1.1\n", "1_0.1", "0x1.1", "1.1\x00",
		"3w5e11264sgsg.0", "1." + strings.Repeat("z", 14), strings.Repeat("1", 100) + ".1", "ü.1",
	} {
		if pos, ok := ParseCursor(bad); ok {
			t.Errorf("%q is parsed as %v", bad, pos)
		}
	}
}

func TestTag(t *testing.T) {
	// echo -n maravilla.realtime.src:Zm9vYmFyYmF6cXV4.dGFi | openssl dgst -sha256 -binary | basenc --base64url | head -c 16
	if got := Tag("Zm9vYmFyYmF6cXV4.dGFi"); len(got) != 16 || strings.ContainsAny(got, "+/=") {
		t.Errorf("tag %q", got)
	}
	if Tag("") != "" {
		t.Error("nobody has a tag")
	}
}

func TestValidNames(t *testing.T) {
	for s, want := range map[string]bool{
		strings.Repeat("a", 15): false, strings.Repeat("a", 16): true, strings.Repeat("Z", 64): true, strings.Repeat("a", 65): false,
		"azAZ09._-azAZ09._-": true, "aaaaaaaaaaaaaaaa\n": false, "aaaaaaaaaaaaaaa ": false, "äaaaaaaaaaaaaaaaa": false, "": false,
	} {
		if got := ValidClientID(s); got != want {
			t.Errorf("client id %q: %v", s, got)
		}
	}
	for s, want := range map[string]bool{"": false, "a": true, "*": false, "$a": false, "a,b": false, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false} {
		if got := ValidDomain(s); got != want {
			t.Errorf("domain %q: %v", s, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{
		"a\"\n":                       `"a\"\n"`,
		strings.Repeat("a", 64):       `"` + strings.Repeat("a", 64) + `"`,
		strings.Repeat("a", 65):       `"` + strings.Repeat("a", 64) + `"…`,
		strings.Repeat("a", 63) + "💬": `"` + strings.Repeat("a", 63) + `"…`,
		strings.Repeat("\xff", 65):    `"` + strings.Repeat(`\xff`, 60) + `"…`, // what is no UTF-8 at all
		"\xff":                        `"\xff"`,
		"ü":                           `"\u00fc"`,
	} {
		if got := Quote(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// An error carries the ref of what it answers, if there is one.
func TestDecodeOpRef(t *testing.T) {
	for frame, want := range map[string]int64{
		`{"op":1,"ref":7}`:           7,
		`{"ref":7,"Op":"ping"}`:      7,
		`{"channel":[],"ref":-7}`:    -7,
		`{"ref":"7","op":"ping"}`:    0,
		`{"ref":7,"ref":8,"op":"x"}`: 0,
		`{"ref":7`:                   0,
	} {
		op, err := DecodeOp([]byte(frame))
		if err == nil || want == 0 && op.Ref != nil || want != 0 && (op.Ref == nil || *op.Ref != want) {
			t.Errorf("%s: ref %v, error %v", frame, op.Ref, err)
		}
	}
}

func TestFramesAreOneLine(t *testing.T) {
	nasty := "a\n\r\u2028\x00\"\\</\xff"
	raw, err := Compact([]byte("{ \"a\" :\n [ \"\u2028\\n\" ] }"))
	if err != nil || bytes.ContainsAny(raw, "\r\n") {
		t.Fatalf("%q %v", raw, err)
	}
	rec := &backend.Logged{Event: backend.Event{
		Type: nasty, Resource: nasty, Key: nasty, Version: nasty, Source: nasty, Namespace: nasty, Channel: nasty, User: nasty, Data: raw,
	}}
	frame := Frame{Event: "error", Channel: nasty, Reason: nasty, UserID: nasty, Message: nasty}
	ren := bytes.TrimSuffix(REN(rec), []byte("\n\n"))
	ren = ren[bytes.Index(ren, []byte("data: "))+len("data: "):]
	for _, b := range [][]byte{ren, Channel(rec), frame.Append(nil)} {
		if bytes.ContainsAny(b, "\r\n") || !utf8.Valid(b) || !json.Valid(b) {
			t.Errorf("%q", b)
		}
	}
}

func FuzzDecodeOp(f *testing.F) {
	for _, seed := range []string{
		`{"op":"hello","cid":"Zm9vYmFyYmF6cXV4.dGFi","token":"x"}`,
		`{"op":"publish","ref":-4,"channel":"room:42","data":{"type":"m","a":[1,null,"\n\u2028"]},"id":"p1"}`,
		`{"op":"subscribe","since":"1.1","presence":true,"channel":"a","rewind":50,"rewindMs":-1}`,
		`{"op":"history","channel":"a","before":"1.1","limit":9223372036854775807}`,
		`{"op":"stream","channel":"a","id":"s1","run":"k3","offset":17}`,
		`{"op":"join","userId":"ada","metadata":{ "n" : 1 }}`,
		`{"op":"ping","op":"ping"}`, `{"Op":"ping"}`, `{"o\u0070":"ping"}`, `{"to` + "\u212a" + `en":"x"}`, "{\"op\":\"\xff\"}", `{"data":"\ud800"}`,
		`[]`, `{`, ``, `{"op":null,"data":null,"ref":null}`, strings.Repeat(`{"a":`, 70), `{"x":1}{"y":2}`, `{"ref":1e3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		sameAsAny(t, frame)
		op, refused := DecodeOp(frame)
		if refused != nil {
			if refused.Code == "" || refused.Message == "" || len(refused.Message) > 512 || !utf8.ValidString(refused.Message) {
				t.Errorf("bad refusal %+v", refused)
			}
			return
		}
		if !json.Valid(frame) {
			t.Fatalf("accepted %q, which is not JSON", frame)
		}
		for _, raw := range []json.RawMessage{op.Data, op.Metadata} {
			if raw == nil {
				continue
			}
			compact, err := Compact(raw)
			if err != nil || !bytes.Equal(compact, raw) || bytes.ContainsAny(raw, "\r\n") || !utf8.Valid(raw) {
				t.Errorf("%q is not compact JSON on one line: %v", raw, err)
			}
		}
		if n, err := op.PageSize(100); err == nil && (n < 1 || n > 100) {
			t.Errorf("a page of %d", n)
		}
		if b, err := op.Back(100); err == nil && (b.Messages < 0 || b.Messages > 100 || b.Age < 0 || b.Age > 0 && b.Messages == 0) {
			t.Errorf("rewound by %+v", b)
		}
		// The names that encoding/json would take for ours stand once, in our spelling.
		names(t, frame)
		again, err := DecodeOp(marshal(t, op))
		if diff := cmp.Diff(op, again); err != nil || diff != "" {
			t.Errorf("marshalled, it is decoded differently: %v\n%s", err, diff)
		}
	})
}

// names fails if an accepted object has a name twice, or one in another case.
func names(t *testing.T, frame []byte) {
	dec := json.NewDecoder(bytes.NewReader(frame))
	seen := map[string]bool{}
	_, _ = dec.Token()
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		name := tok.(string)
		if seen[name] {
			t.Errorf("accepted %q twice", name)
		}
		seen[name] = true
		for _, ours := range []string{"op", "ref", "cid", "token", "channel", "since", "presence", "ephemeral", "id", "userId", "data", "metadata", "rewind", "rewindMs", "before", "limit", "run", "offset"} {
			if name != ours && strings.EqualFold(name, ours) {
				t.Errorf("accepted %q for %q", name, ours)
			}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			t.Fatal(err)
		}
	}
}

func marshal(t *testing.T, op Op) []byte {
	m := map[string]any{"op": op.Op, "cid": op.CID, "token": op.Token, "channel": op.Channel, "since": op.Since,
		"rewind": op.Rewind, "rewindMs": op.RewindMs, "before": op.Before, "limit": op.Limit, "run": op.Run, "offset": op.Offset,
		"presence": op.Presence, "id": op.ID, "userId": op.UserID, "ref": op.Ref}
	if op.Data != nil {
		m["data"] = op.Data
	}
	if op.Metadata != nil {
		m["metadata"] = op.Metadata
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // which would change what is in data
	if err := enc.Encode(m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzParseCursor(f *testing.F) {
	for _, seed := range []string{"0.0", "hog38gu134.2r", "1.", ".", "01.1", "3w5e11264sgsf.3w5e11264sgsf", "3w5e11264sgsg.1", "A.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pos, ok := ParseCursor(s)
		if ok != (Cursor(pos) == s) && ok {
			t.Errorf("%q is parsed as %v, which is %q", s, pos, Cursor(pos))
		}
		if !ok && pos != (backend.Position{}) {
			t.Errorf("%q is refused, as %v", s, pos)
		}
		if back, ok := ParseCursor(Cursor(pos)); !ok || back != pos {
			t.Errorf("%v does not come back: %v %v", pos, back, ok)
		}
	})
}

// Codes are those that docs/protocol.md lists.
func TestCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "Codes: ")
	list, _, _ = strings.Cut(list, "\n\n")
	var want []string
	for i, word := range strings.Split(list, "`") {
		if i%2 == 1 {
			want = append(want, word)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, codes); diff != "" {
		t.Errorf("codes differ from docs/protocol.md (-want +got):\n%s", diff)
	}
}

// Users give ids of their own, so a refusal says what one is.
func TestBadClientID(t *testing.T) {
	err := BadClientID("ada")
	if err.Code != "bad_request" || err.Retry || !strings.Contains(err.Message, `"ada"`) || !strings.Contains(err.Message, "16 to 64 characters of A-Z a-z 0-9 . _ -") {
		t.Errorf("%+v", err)
	}
}

// A string is encoded as encoding/json does it, except what that escapes for HTML.
func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "wörld \u2028\u2029\ufffd", "\xff\xc3", "\x80", "a b", "<b>&", "💬\xf0\x9f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString(nil, s)
		var back, want string
		std, _ := json.Marshal(s)
		if err := json.Unmarshal(std, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &back); err != nil || back != want || !utf8.Valid(got) || bytes.ContainsAny(got, "\r\n\u2028\u2029") {
			t.Errorf("%q becomes %s: %q, %v", s, got, back, err)
		}
	})
}

// The memory in which a frame is encoded is used again: nothing of one is in the next.
func TestRENAgain(t *testing.T) {
	long := &backend.Logged{Event: backend.Event{Type: "kv.put", Resource: "kv", Key: strings.Repeat("k", 300)}}
	short := &backend.Logged{Event: backend.Event{Type: "db.insert", Resource: "db"}}
	want := string(RENBare(short))
	for range 10 {
		first, second := string(REN(long)), string(REN(short))
		if strings.Count(first, "kv.put") != 1 || second != want || strings.Count(want, "{") != 1 {
			t.Fatalf("%s%s, want %s", first, second, want)
		}
	}
}
