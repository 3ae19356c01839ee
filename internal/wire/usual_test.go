package wire

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usual are frames as clients write them.
var usual = []string{
	`{"op":"hello","cid":"Zm9vYmFyYmF6cXV4.dGFi"}`,
	`{"op":"hello","cid":"Zm9vYmFyYmF6cXV4.dGFi","token":"a.b-c_d"}`,
	`{"op":"subscribe","ref":1,"channel":"room:42","since":"1.2","presence":true,"rewind":50,"rewindMs":60000}`,
	`{ "op" : "publish" , "ref" : -7 ,"channel":"räume","data": { "a" : [1, 2.5e3, null, "x\\\"}"], "b":{} } ,"id":"p1","ephemeral":false}`,
	`{"op":"join","ref":0,"channel":"a","userId":"ada","metadata":{"n":1}}`,
	`{"op":"publish","channel":"a","data":null}`, `{"op":"publish","channel":"a","data":"text"}`, `{"op":"publish","channel":"a","data":17}`,
	`{"op":"history","channel":"a","before":"1.1","limit":100}`,
	`{"op":"stream","channel":"a","id":"s1","run":"k3","offset":17}`,
	`{"op":"publish","ref":90129,"channel":"my room","data":[9]}`,
	`{"op":"ping"}`, `{"op":"unsubscribe","channel":""}`, "\n{\t\"op\":\"leave\"\r}\n",
}

// sameAsAny fails if a frame that is decoded as usual is decoded differently by decodeAny.
func sameAsAny(t *testing.T, frame []byte) {
	t.Helper()
	op, ok := decodeUsual(frame)
	if !ok {
		return
	}
	any, refused := decodeAny(frame)
	if diff := cmp.Diff(any, op); refused != nil || diff != "" {
		t.Fatalf("%q is refused: %v, and decoded as usual:\n%s", frame, refused, diff)
	}
}

// What clients send is decoded as usual, with the same outcome as everything else is.
func TestDecodeUsual(t *testing.T) {
	for _, frame := range usual {
		if _, ok := decodeUsual([]byte(frame)); !ok {
			t.Errorf("%s is not usual", frame)
		}
		sameAsAny(t, []byte(frame))
	}
}

// What is not usual is left to decodeAny.
func TestDecodeUnusual(t *testing.T) {
	for _, frame := range []string{
		``, `{`, `{}`, `[]`, `"op"`, `{"op":"ping"} x`, `{"op":"ping"}{"op":"ping"}`, `{"op":"ping",}`, `{,"op":"ping"}`, `{"op" "ping"}`, `{"op":"ping" "ref":1}`,
		`{"op":"ping","op":"ping"}`, `{"Op":"ping"}`, `{"o\u0070":"ping"}`, `{"op":"p\u0069ng"}`, `{"op":"a\"b"}`, "{\"op\":\"a\nb\"}", "{\"op\":\"\xff\"}",
		`{"op":null}`, `{"op":1}`, `{"op":"ping","ref":"1"}`, `{"ref":01}`, `{"ref":-}`, `{"ref":1.0}`, `{"ref":1e3}`, `{"ref":9223372036854775807}`,
		`{"ref":null}`, `{"presence":1}`, `{"presence":tru}`, `{"presence":truefalse}`, `{"data":}`, `{"data":1 2}`, `{"data":[}`, `{"data":{"a"}}`,
		`{"data":"\x"}`, "{\"data\":\"\xff\"}", `{"data":1,"data":1}`, `{"other":1}`, `{"x":,"ref":1}`, `{"op":}`, `{"cid":}`, `{"presence":}`, `{"op":,"ref":1}`, `{"op":"ping`, `{"op":"ping"`,
	} {
		if op, ok := decodeUsual([]byte(frame)); ok {
			t.Errorf("%s is decoded as %+v", frame, op)
		}
	}
}

// Nothing that is like a usual frame is decoded differently.
func TestDecodeNearlyUsual(t *testing.T) {
	const bytes = "{}[]\",:\\ tfn0159-.eu\n\x00\xc3\xa4"
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		frame := []byte(usual[r.IntN(len(usual))])
		for range 1 + r.IntN(3) {
			i, j := r.IntN(len(frame)), r.IntN(len(frame))
			switch r.IntN(4) {
			case 0:
				frame[i] = bytes[r.IntN(len(bytes))]
			case 1:
				frame = slices.Insert(frame, i, bytes[r.IntN(len(bytes))])
			case 2:
				frame = slices.Delete(frame, i, i+1)
			default:
				frame = slices.Insert(frame, i, frame[min(i, j):max(i, j)]...)
			}
			if len(frame) == 0 {
				break
			}
		}
		sameAsAny(t, frame)
	}
}

// The operations that come often cost no memory.
func TestDecodeUsualAllocations(t *testing.T) {
	for _, frame := range []string{`{"op":"hello"}`, `{"op":"subscribe","presence":true}`, `{"op":"publish"}`, `{"op":"ping"}`} {
		data := []byte(frame)
		if n := testing.AllocsPerRun(10, func() { _, _ = DecodeOp(data) }); n > 0 {
			t.Errorf("%s: %g allocations", frame, n)
		}
	}
}
