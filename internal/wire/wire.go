// Package wire encodes and decodes the frames between servers and clients, as
// docs/protocol.md describes them.
package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// Subprotocol is the WebSocket subprotocol.
const Subprotocol = "maravilla.realtime.v1"

// Cursor returns the cursor of a position.
func Cursor(pos backend.Position) string {
	return string(appendCursor(make([]byte, 0, 26), pos))
}

func appendCursor(dst []byte, pos backend.Position) []byte {
	dst = strconv.AppendUint(dst, pos.Epoch, 36)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, pos.Seq, 36)
}

// ParseCursor is the inverse of [Cursor]. It accepts nothing else.
func ParseCursor(s string) (pos backend.Position, ok bool) {
	if len(s) > 27 { // two numbers of 13 digits and the point
		return pos, false
	}
	epoch, seq, _ := strings.Cut(s, ".")
	pos.Epoch, _ = strconv.ParseUint(epoch, 36, 64) // after an error, the cursor is another one
	pos.Seq, _ = strconv.ParseUint(seq, 36, 64)
	if Cursor(pos) != s {
		return backend.Position{}, false
	}
	return pos, true
}

// Since returns the position of the cursor that a client hands back: nil for none,
// and a place that no log has for a string that is not a cursor, so that it is
// answered with a reset.
func Since(cursor string) *backend.Position {
	if cursor == "" {
		return nil
	}
	pos, ok := ParseCursor(cursor)
	if !ok {
		pos = backend.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64}
	}
	return &pos
}

// ClientHeader is the header with the client id of the sender of a request.
const ClientHeader = "X-Ren-Client"

// ValidClientID reports whether s has the form of a client id.
func ValidClientID(s string) bool {
	return len(s) >= 16 && len(s) <= 64 && isWord(s)
}

// ValidDomain reports whether s has the form of a resource domain.
func ValidDomain(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && isWord(s)
}

// MaxName is the largest length of a channel, key, user id or the like, in bytes.
const MaxName = 255

func isWord(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Tag returns the tag of a client id, which other clients may see. It is a one-way
// hash; the tag of "" is "".
func Tag(clientID string) string {
	if clientID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("maravilla.realtime.src:" + clientID))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// REN encodes a record as a frame of the REN stream.
func REN(rec *backend.Logged) []byte { return ren(rec, rec.Event.Data) }

// RENBare is [REN] without the data, for clients whose grant does not include it.
func RENBare(rec *backend.Logged) []byte { return ren(rec, nil) }

func ren(rec *backend.Logged, data json.RawMessage) []byte {
	ev := &rec.Event
	b := objects.Get().(*object)
	defer b.release()
	b.buf = b.buf[:0]
	b.text("t", ev.Type)
	b.text("r", ev.Resource)
	b.optional("k", ev.Key)
	b.optional("v", ev.Version)
	b.number("ts", ev.UnixMilli)
	b.optional("src", ev.Source)
	b.optional("ns", ev.Namespace)
	b.optional("ch", ev.Channel)
	b.raw("data", data)
	b.optional("uid", ev.User)
	return sse.AppendEvent(nil, "", Cursor(rec.Pos), b.end())
}

// AppendControl appends a control event of the REN stream to dst. Its members are
// strings and numbers, and the cursor up to which the stream is complete.
func AppendControl(dst []byte, name string, complete backend.Position, members map[string]any) []byte {
	cursor := Cursor(complete)
	members["cursor"] = cursor
	data, _ := json.Marshal(members)
	return sse.AppendEvent(dst, name, cursor, data)
}

// AppendPing is AppendControl of a ping, which every stream gets all the time. now is in
// milliseconds since the Unix epoch.
func AppendPing(dst []byte, complete backend.Position, now int64) []byte {
	cursor := Cursor(complete)
	b := object{buf: make([]byte, 0, 64)}
	b.text("cursor", cursor)
	b.number("ts", now)
	return sse.AppendEvent(dst, "ren.ping", cursor, b.end())
}

// AppendLast is AppendControl of an event without a cursor. It makes the client forget the
// one it has.
func AppendLast(dst []byte, name string, members map[string]any) []byte {
	data, _ := json.Marshal(members)
	return sse.AppendEvent(append(dst, "id\n"...), name, "", data)
}

// Channel encodes a record, a message or a presence event, as an object of the
// WebSocket.
func Channel(rec *backend.Logged) []byte {
	return AppendChannel(make([]byte, 0, roomFor(&rec.Event)), rec)
}

// AppendChannel appends what [Channel] returns.
func AppendChannel(dst []byte, rec *backend.Logged) []byte {
	ev := &rec.Event
	switch {
	case rec.Ephemeral:
		return appendEphemeral(dst, ev)
	case !ev.IsPresence():
		return appendMessage(dst, ev, Cursor(rec.Pos))
	}
	b := object{buf: append(dst, '{')}
	var data struct {
		Metadata json.RawMessage `json:"metadata"`
		Reason   string          `json:"reason"`
	}
	_ = json.Unmarshal(ev.Data, &data) // as package presence writes it
	b.text("event", ev.Type)
	b.text("channel", ev.Channel)
	b.text("userId", ev.User)
	b.raw("metadata", data.Metadata)
	b.optional("reason", data.Reason)
	b.optional("from", ev.Source)
	b.number("ts", ev.UnixMilli)
	b.text("id", Cursor(rec.Pos))
	return b.end()
}

// object writes the members of a JSON object, in the order they come.
type object struct{ buf []byte }

func (o *object) name(name string) {
	switch n := len(o.buf); {
	case n == 0:
		o.buf = append(o.buf, '{')
	case o.buf[n-1] != '{': // no value ends with one
		o.buf = append(o.buf, ',')
	}
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

func (o *object) text(name, value string) {
	o.name(name)
	o.buf = appendString(o.buf, value)
}

func (o *object) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) number(name string, value int64) {
	o.name(name)
	o.buf = strconv.AppendInt(o.buf, value, 10)
}

func (o *object) optionalNumber(name string, value *int64) {
	if value != nil {
		o.number(name, *value)
	}
}

func (o *object) truth(name string, value bool) {
	o.name(name)
	o.buf = strconv.AppendBool(o.buf, value)
}

func (o *object) raw(name string, value json.RawMessage) {
	if len(value) > 0 {
		o.name(name)
		o.buf = append(o.buf, value...)
	}
}

// end returns the object, in the memory of o.
func (o *object) end() []byte {
	o.buf = append(o.buf, '}')
	return o.buf
}

var objects = sync.Pool{New: func() any { return new(object) }}

// mostKept is the size of an object's memory that is worth keeping.
const mostKept = 64 << 10

// release gives the memory of an object from objects to the next one.
func (o *object) release() {
	if cap(o.buf) <= mostKept {
		objects.Put(o)
	}
}

const hexDigits = "0123456789abcdef"

// appendString appends a string as JSON, on one line. Invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0 // up to here it is in dst
	for i := 0; i < len(s); {
		c, n := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, n = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(append(dst, s[done:i]...), '\\', byte(c))
		case c == '\n':
			dst = append(append(dst, s[done:i]...), `\n`...)
		case c < 0x20:
			dst = append(append(dst, s[done:i]...), '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c == utf8.RuneError && n == 1:
			dst = append(append(dst, s[done:i]...), `\ufffd`...)
		case c == '\u2028' || c == '\u2029': // which are line breaks in old JavaScript
			dst = append(append(dst, s[done:i]...), '\\', 'u', '2', '0', '2', hexDigits[c&15])
		default:
			i += n
			continue
		}
		i += n
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}
