package backend

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
)

// Payload is what the Data of an [Entry] says.
type Payload struct {
	Event Event
	Depth int // how many handlers in a row led to it; never shown to clients
	Trace Trace
}

// Trace is the place of an event in a distributed trace, as the headers of W3C Trace
// Context: it is never shown to clients.
type Trace struct {
	Parent string // traceparent; "": none
	State  string // tracestate
}

// Sampled reports whether the trace is recorded: the lowest bit of the flags in its
// traceparent (W3C Trace Context, section 3.2.2.5).
func (t *Trace) Sampled() bool {
	const end = len("00-00000000000000000000000000000000-0000000000000000-00")
	return len(t.Parent) >= end && t.Parent[end-3] == '-' && strings.IndexByte("13579bdf", t.Parent[end-1]) >= 0
}

// The form of an encoded Payload: a byte with the version, then fields, each a byte
// with its tag, the length of its value as an unsigned varint, and the value. The
// data comes last. A reader ignores tags that it does not know, so that nodes of two
// releases can share a log: a new field gets a new tag, and only a change that old
// nodes must not ignore gets a new version.
const payloadVersion = 1

const (
	tagType = iota + 1
	tagResource
	tagKey
	tagVersion
	tagUnixMilli // unsigned varint
	tagSource
	tagNamespace
	tagChannel
	tagUser
	tagDepth // unsigned varint
	tagData
	tagTraceParent
	tagTraceState

	tags // how many there are, and 0
)

// errPayload: the bytes are no payload.
var errPayload = errors.New("backend: malformed payload")

// text lists the fields that are strings, by their tags.
func (ev *Event) text() [8]struct {
	tag   byte
	value *string
} {
	return [...]struct {
		tag   byte
		value *string
	}{
		{tagType, &ev.Type}, {tagResource, &ev.Resource}, {tagKey, &ev.Key}, {tagVersion, &ev.Version},
		{tagSource, &ev.Source}, {tagNamespace, &ev.Namespace}, {tagChannel, &ev.Channel}, {tagUser, &ev.User},
	}
}

// Encode returns the payload as bytes.
func (p *Payload) Encode() []byte {
	fields := p.Event.text()
	size := 1 + 2*(2+binary.MaxVarintLen64) + 1 + binary.MaxVarintLen64 + len(p.Event.Data)
	for _, f := range fields {
		size += 3 + len(*f.value)
	}
	if p.Trace.Parent != "" {
		size += 2*(1+binary.MaxVarintLen64) + len(p.Trace.Parent) + len(p.Trace.State)
	}
	b := append(make([]byte, 0, size), payloadVersion)
	for _, f := range fields {
		if *f.value != "" {
			b = appendField(b, f.tag, *f.value)
		}
	}
	b = appendNumber(b, tagUnixMilli, uint64(p.Event.UnixMilli))
	b = appendNumber(b, tagDepth, uint64(p.Depth))
	if p.Trace.Parent != "" {
		b = appendField(b, tagTraceParent, p.Trace.Parent)
		b = appendField(b, tagTraceState, p.Trace.State)
	}
	if p.Event.Data != nil {
		b = appendField(b, tagData, p.Event.Data)
	}
	return b
}

func appendField[T ~string | ~[]byte](b []byte, tag byte, value T) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendNumber(b []byte, tag byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	var v [binary.MaxVarintLen64]byte
	return appendField(b, tag, v[:binary.PutUvarint(v[:], n)])
}

// Decoder decodes one payload after another, and holds once what many of them name, such
// as their channel. The zero Decoder is ready. Its methods must not be called
// concurrently.
type Decoder struct {
	seed  maphash.Seed
	texts *[256]string // some of those that were found last, by their hash
}

// Decode is [DecodePayload]. The strings of the event may be part of others.
func (d *Decoder) Decode(data []byte) (p Payload, err error) {
	if d.texts == nil {
		d.seed, d.texts = maphash.MakeSeed(), new([256]string)
	}
	return decode(data, d)
}

// known returns where a text that was found before is, or may be from now on.
func (d *Decoder) known(text []byte) *string {
	return &d.texts[maphash.Bytes(d.seed, text)%uint64(len(d.texts))]
}

// DecodePayload is the inverse of [Payload.Encode]. The Data of the event is part of
// data, and not a copy.
func DecodePayload(data []byte) (p Payload, err error) { return decode(data, nil) }

// texts makes strings of what a payload names.
type texts struct {
	data    []byte // those that begin with it
	strings string // of data; "" while none was needed
	known   *Decoder
}

// of returns the text between two places.
func (t *texts) of(from, to int) string {
	if from == to {
		return ""
	}
	var found *string
	if t.known != nil {
		if found = t.known.known(t.data[from:to]); *found == string(t.data[from:to]) {
			return *found
		}
	}
	if t.strings == "" {
		t.strings = string(t.data) // one for all
	}
	text := t.strings[from:to]
	if found != nil {
		*found = text
	}
	return text
}

// decode decodes a payload. d may be nil.
func decode(data []byte, d *Decoder) (p Payload, err error) {
	switch {
	case len(data) == 0:
		return p, errPayload
	case data[0] != payloadVersion:
		return p, fmt.Errorf("backend: payload of version %d, this release reads %d", data[0], payloadVersion)
	}
	var at [tags]struct{ from, to int } // of the values
	ends := 1                           // of the last value that is text
	for pos := 1; pos < len(data); {
		tag := data[pos]
		length, n := binary.Uvarint(data[pos+1:])
		from := pos + 1 + n
		if n <= 0 || length > uint64(len(data)-from) {
			return p, errPayload
		}
		pos = from + int(length)
		if int(tag) < len(at) {
			at[tag].from, at[tag].to = from, pos
			if tag != tagData {
				ends = max(ends, pos)
			}
		}
	}
	text := texts{data: data[:ends], known: d}
	for _, f := range p.Event.text() {
		*f.value = text.of(at[f.tag].from, at[f.tag].to)
	}
	p.Trace.Parent = text.of(at[tagTraceParent].from, at[tagTraceParent].to)
	p.Trace.State = text.of(at[tagTraceState].from, at[tagTraceState].to)
	value := func(tag int) []byte {
		if at[tag].to == 0 {
			return nil
		}
		return data[at[tag].from:at[tag].to:at[tag].to]
	}
	var milli, depth uint64
	if milli, err = number(value(tagUnixMilli)); err == nil {
		depth, err = number(value(tagDepth))
	}
	p.Event.UnixMilli, p.Depth, p.Event.Data = int64(milli), int(depth), value(tagData)
	return p, err
}

// number decodes a field that may be missing.
func number(b []byte) (uint64, error) {
	v, n := binary.Uvarint(b) // 0 of none
	if n != len(b) {
		return 0, errPayload
	}
	return v, nil
}
