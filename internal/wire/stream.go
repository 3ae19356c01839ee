package wire

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
)

// Kind is what a growing message consists of.
type Kind byte

// The kinds. The content of JSON values is their texts, each with a comma after it: so
// what stands between two places becomes an array by brackets alone.
const (
	NoKind Kind = iota // nothing has been written
	Text               // UTF-8
	Items              // JSON values
)

// IsPlace reports whether the content can be divided at a place in it.
func (k Kind) IsPlace(content []byte, place int) bool {
	switch {
	case place == 0 || place == len(content):
		return true
	case k == Text:
		return utf8.RuneStart(content[place])
	}
	return content[place-1] == ',' && json.Valid(items(content[place:]))
}

func items(content []byte) []byte {
	b := make([]byte, 0, len(content)+1)
	return appendItems(b, content)
}

// appendItems appends content, which is not empty, as an array.
func appendItems(dst, content []byte) []byte {
	dst = append(append(dst, '['), content...)
	dst[len(dst)-1] = ']'
	return dst
}

// content writes what stands between two places, if there is something.
func (o *object) content(k Kind, content []byte) {
	switch {
	case len(content) == 0:
	case k == Items:
		o.name("items")
		o.buf = appendItems(o.buf, content)
	default:
		o.text("text", string(content))
	}
}

// StreamFrame is the answer to a stream operation: see "Growing messages" in
// docs/protocol.md.
type StreamFrame struct {
	Ref      *int64
	Channel  string
	ID       string
	Run      string
	State    string
	From     string
	UserID   string
	TS       int64
	Metadata json.RawMessage
	Kind     Kind
	Offset   int
	Content  []byte
	Next     int
	Error    *Error
	Partial  bool
}

// Append appends the frame to dst.
func (f *StreamFrame) Append(dst []byte) []byte {
	dst = append(dst, `{"event":"stream"`...)
	b := object{buf: dst}
	if f.Ref != nil {
		b.number("ref", *f.Ref)
	}
	b.text("channel", f.Channel)
	b.text("id", f.ID)
	b.text("run", f.Run)
	b.text("state", f.State)
	b.optional("from", f.From)
	b.optional("userId", f.UserID)
	b.number("ts", f.TS)
	b.raw("metadata", f.Metadata)
	b.number("offset", int64(f.Offset))
	b.content(f.Kind, f.Content)
	b.number("next", int64(f.Next))
	b.error(f.Error)
	if f.Partial {
		b.raw("partial", json.RawMessage("true"))
	}
	return b.end()
}

// StreamAppend is what has been added to a growing message.
type StreamAppend struct {
	Channel string
	ID      string
	Kind    Kind
	Offset  int
	Content []byte
	Next    int
}

// Frame returns the frame, in memory of its own.
func (f *StreamAppend) Frame() []byte {
	dst := make([]byte, 0, 96+len(f.Channel)+len(f.ID)+len(f.Content)+len(f.Content)/8)
	b := object{buf: append(dst, `{"event":"stream.append"`...)}
	b.text("channel", f.Channel)
	b.text("id", f.ID)
	b.number("offset", int64(f.Offset))
	b.content(f.Kind, f.Content)
	b.number("next", int64(f.Next))
	return b.end()
}

// StreamEnd is the end of a growing message.
type StreamEnd struct {
	Channel string
	ID      string
	State   string
	TS      int64
	Next    int
	Error   *Error
}

// Append appends the frame to dst.
func (f *StreamEnd) Append(dst []byte) []byte {
	b := object{buf: append(dst, `{"event":"stream.end"`...)}
	b.text("channel", f.Channel)
	b.text("id", f.ID)
	b.text("state", f.State)
	b.number("ts", f.TS)
	b.number("next", int64(f.Next))
	b.error(f.Error)
	return b.end()
}

func (o *object) error(err *Error) {
	if err == nil {
		return
	}
	o.name("error")
	e := object{buf: append(o.buf, '{')}
	e.text("code", err.Code)
	e.text("message", err.Message)
	if e.name("retry"); err.Retry {
		o.buf = append(e.buf, "true}"...)
	} else {
		o.buf = append(e.buf, "false}"...)
	}
}

// StreamData is the data of the messages that tell of the beginning and the end of a
// growing message.
type StreamData struct {
	Type     string          `json:"type"` // StreamType
	Stream   string          `json:"stream"`
	Run      string          `json:"run"`
	State    string          `json:"state"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Text     string          `json:"text,omitempty"`
	Items    json.RawMessage `json:"items,omitempty"`
	Bytes    *int            `json:"bytes,omitempty"` // of the content; only at the end
	Limit    int             `json:"limit,omitempty"` // if the content is larger than this, and left out
	Error    *Error          `json:"error,omitempty"`
}

// StreamType is the type of StreamData.
const StreamType = "stream"

// SetContent sets Text or Items, and Bytes.
func (d *StreamData) SetContent(k Kind, content []byte) {
	n := len(content)
	if d.Bytes = &n; n == 0 {
		return
	}
	if k == Items {
		d.Items = items(content)
	} else {
		d.Text = string(content)
	}
}

// Content returns the content, as far as the data has it.
func (d *StreamData) Content() (Kind, []byte) {
	switch {
	case d.Text != "":
		return Text, []byte(d.Text)
	case len(d.Items) > len("[]") && d.Items[0] == '[':
		content := append([]byte(nil), d.Items[1:]...)
		content[len(content)-1] = ','
		return Items, content
	}
	return NoKind, nil
}

// Encode returns the data as compact JSON.
func (d *StreamData) Encode() json.RawMessage {
	b := object{buf: make([]byte, 0, 256+len(d.Metadata)+len(d.Text)+len(d.Text)/8+len(d.Items))}
	b.text("type", StreamType)
	b.text("stream", d.Stream)
	b.text("run", d.Run)
	b.text("state", d.State)
	b.raw("metadata", d.Metadata)
	b.optional("text", d.Text)
	b.raw("items", d.Items)
	if d.Bytes != nil {
		b.number("bytes", int64(*d.Bytes))
	}
	if d.Limit > 0 {
		b.number("limit", int64(d.Limit))
	}
	b.error(d.Error)
	return b.end()
}

// StreamOf returns the id and the state of the growing message whose beginning or end a
// message tells; "" of other messages. Only servers can set them.
func StreamOf(ev *backend.Event) (id, state string) {
	if ev.Type != backend.Message {
		return "", ""
	}
	return ev.Key, ev.Version
}
