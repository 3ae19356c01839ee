package wire

import (
	"encoding/json"
	"math"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// MaxPage bounds the bytes of messages in one page of history; one message may be
// larger.
const MaxPage = 256 << 10

// Past is the messages of a channel in the answer to an operation: see "History" in
// docs/protocol.md.
type Past struct {
	Messages [][]byte // each by Channel or Message, oldest first
	Before   string   // the cursor of the page before this one
	End      string   // why there is none
}

// append appends the members to an object.
func (p *Past) append(b *object) {
	b.name("messages")
	b.buf = append(b.buf, '[')
	for i, m := range p.Messages {
		if i > 0 {
			b.buf = append(b.buf, ',')
		}
		b.buf = append(b.buf, m...)
	}
	b.buf = append(b.buf, ']')
	b.optional("before", p.Before)
	b.optional("end", p.End)
}

// Message encodes a message as an object of the WebSocket. cursor is the place after it.
func Message(ev *backend.Event, cursor string) []byte {
	return appendMessage(make([]byte, 0, roomFor(ev)), ev, cursor)
}

func appendMessage(dst []byte, ev *backend.Event, cursor string) []byte {
	b := message(dst, ev)
	b.text("id", cursor)
	return b.end()
}

// appendEphemeral encodes a message that is live only.
func appendEphemeral(dst []byte, ev *backend.Event) []byte {
	b := message(dst, ev)
	b.raw("ephemeral", json.RawMessage("true"))
	return b.end()
}

// roomFor returns about how many bytes an event of a channel takes.
func roomFor(ev *backend.Event) int { return 160 + len(ev.Data) + len(ev.Channel) }

func message(dst []byte, ev *backend.Event) object {
	b := object{buf: append(dst, '{')}
	b.text("event", "message")
	b.text("channel", ev.Channel)
	b.raw("data", ev.Data)
	b.optional("from", ev.Source)
	b.optional("userId", ev.User)
	b.number("ts", ev.UnixMilli)
	if id, state := StreamOf(ev); id != "" {
		b.text("stream", id)
		b.text("state", state)
	}
	return b
}

// PageSize returns the number of messages that a history operation asks for, of which
// there may be most.
func (op *Op) PageSize(most int) (int, *Error) {
	if op.Limit == nil {
		return min(defaultPage, most), nil
	}
	return count("limit", *op.Limit, most)
}

// defaultPage is the number of messages in a page without a limit.
const defaultPage = 50

// Back is how much of the past comes with the answer to a subscribe operation. The zero
// Back is nothing.
type Back struct {
	Messages int           // at most so many
	Age      time.Duration // and none that came longer ago; 0: any
}

// Back returns how far a subscribe operation goes back, at most so many messages.
func (op *Op) Back(most int) (b Back, err *Error) {
	if op.Rewind != nil {
		if b.Messages, err = count("rewind", *op.Rewind, most); err != nil {
			return b, err
		}
	}
	if ms := op.RewindMs; ms != nil {
		if *ms < 1 || *ms > math.MaxInt64/int64(time.Millisecond) {
			return b, Errorf("bad_request", `"rewindMs" must be 1 or more milliseconds`)
		}
		b.Age = time.Duration(*ms) * time.Millisecond
		if b.Messages == 0 {
			b.Messages = most
		}
	}
	return b, nil
}

func count(name string, n int64, most int) (int, *Error) {
	if n < 1 || n > int64(most) {
		return 0, Errorf("bad_request", "%q must be 1 to %d", name, most)
	}
	return int(n), nil
}
