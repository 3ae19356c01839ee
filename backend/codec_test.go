package backend

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func full() Payload {
	return Payload{Depth: 3, Trace: Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=1"}, Event: Event{
		Type: "kv.put", Resource: "kv", Key: "todo:1", Version: "7", UnixMilli: 1795465200123, Source: "polBsgvE5iyw58vB",
		Namespace: "demo", Channel: "room:42", Data: json.RawMessage(`{"a":1}`), User: "ada",
	}}
}

func TestPayload(t *testing.T) {
	only := full()
	for _, p := range []Payload{{}, full(), {Event: Event{Data: json.RawMessage{}}}, {Event: Event{UnixMilli: -1}}, {Event: Event{Key: "\x00\xff"}}, {Trace: Trace{Parent: "p"}}} {
		got, err := DecodePayload(p.Encode())
		if err != nil || !cmp.Equal(got, p) {
			t.Errorf("%v: %s", err, cmp.Diff(p, got))
		}
	}
	// A field that a later release adds is ignored, wherever it stands.
	for tag := tags; tag < 256; tag++ {
		data := appendField(only.Encode(), byte(tag), "new")
		if got, err := DecodePayload(data); err != nil || !cmp.Equal(got, only) {
			t.Errorf("with the unknown field %d: %v: %s", tag, err, cmp.Diff(only, got))
		}
	}
}

// Logs outlive releases: the bytes stay as they are.
func TestPayloadBytes(t *testing.T) {
	for want, p := range map[string]Payload{
		"\x01": {},
		"\x01" + "\x01\x01t" + "\x02\x01r" + "\x05\x02\xac\x02" + "\x0a\x01\x01" + "\x0b\x011": {
			Depth: 1, Event: Event{Type: "t", Resource: "r", UnixMilli: 300, Data: json.RawMessage(`1`)},
		},
	} {
		if got := string(p.Encode()); got != want {
			t.Errorf("encoded as %q, want %q", got, want)
		}
	}
}

// To encode an event costs one allocation, whatever it has.
func TestPayloadAllocations(t *testing.T) {
	long := strings.Repeat("x", 300) // more than what is rounded up
	traced := full()
	traced.Trace = Trace{Parent: long, State: long}
	plain := full()
	plain.Trace, plain.Event.Data = Trace{}, json.RawMessage(long)
	named := Payload{Event: Event{Type: long, Key: long, Channel: long, User: long}}
	for i, p := range []Payload{traced, plain, named} {
		if n := testing.AllocsPerRun(10, func() { _ = p.Encode() }); n > 1 {
			t.Errorf("payload %d: %g allocations", i, n)
		}
	}
}

// W3C Trace Context, section 3.2.2: a trace is recorded if the lowest bit of its flags is
// set, also where a later version adds fields.
func TestTraceSampled(t *testing.T) {
	const ids = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for parent, want := range map[string]bool{
		ids + "-01": true, ids + "-00": false, ids + "-03": true, ids + "-09": true, ids + "-08": false, ids + "-f0": false,
		ids + "-0a": false, ids + "-0b": true, ids + "-0f": true, ids + "-0e": false, ids + "-01-more": true, ids + "-00-1": false,
		"": false, ids: false, ids + "-1": false, ids + "01": false, ids + "x01": false, ids + "-0g": false, ids + "-0h": false, ids + "-0A": false, ids + "-0/": false, ids + "-0:": false, ids + "-0`": false,
	} {
		if got := (&Trace{Parent: parent}).Sampled(); got != want {
			t.Errorf("%q: %v", parent, got)
		}
	}
}

func TestPayloadMalformed(t *testing.T) {
	whole := full()
	data := whole.Encode()
	for n := range data {
		if p, err := DecodePayload(data[:n]); err == nil && cmp.Equal(p, whole) {
			t.Errorf("the first %d of %d bytes decode as all of them", n, len(data))
		}
	}
	for _, bad := range []string{"", "\x02", "\x01\x01", "\x01\x01\xff", "\x01\x01\x05abc", "\x01\x05\x02\xff\xff", "\x01\x0a\x02\x01\x01"} {
		if p, err := DecodePayload([]byte(bad)); err == nil {
			t.Errorf("%q decodes as %+v", bad, p)
		}
	}
	if _, err := DecodePayload([]byte("\x02")); errors.Is(err, errPayload) {
		t.Error("another version is called malformed")
	}
}

func FuzzPayload(f *testing.F) {
	p := full()
	f.Add(p.Encode())
	f.Add([]byte("\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodePayload(data)
		if err != nil {
			return
		}
		again, err := DecodePayload(p.Encode())
		if err != nil || !cmp.Equal(again, p) {
			t.Errorf("%v: %s", err, cmp.Diff(p, again))
		}
		var d Decoder
		for range 2 {
			if again, err := d.Decode(data); err != nil || !cmp.Equal(again, p) {
				t.Errorf("a decoder: %v: %s", err, cmp.Diff(p, again))
			}
		}
	})
}

// A decoder yields what DecodePayload does, whatever it has decoded before, and makes no
// strings of what it knows.
func TestDecoder(t *testing.T) {
	var d Decoder
	for i := range 5000 {
		p := full()
		p.Event.Key, p.Event.Channel = strconv.Itoa(i), strconv.Itoa(i%700)
		if got, err := d.Decode(p.Encode()); err != nil || !cmp.Equal(got, p) {
			t.Fatalf("%v: %s", err, cmp.Diff(p, got))
		}
	}
	p := full()
	p.Event.Key, p.Event.Version, p.Trace = "", "", Trace{}
	data := p.Encode()
	if _, err := d.Decode(data); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(data) }); n > 0 && !collides(&d, data) {
		t.Errorf("%g allocations", n)
	}
}

// collides reports whether two texts of a payload have one place in a decoder, so that
// neither is known when it is decoded again.
func collides(d *Decoder, data []byte) bool {
	p, _ := DecodePayload(data)
	places := make(map[*string]bool)
	for _, f := range p.Event.text() {
		if *f.value == "" {
			continue
		}
		place := d.known([]byte(*f.value))
		if places[place] {
			return true
		}
		places[place] = true
	}
	return false
}

func BenchmarkPayload(b *testing.B) {
	p := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodePayload(p.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}
