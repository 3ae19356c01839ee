package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// lineReader reads the objects of one WebSocket message, which newlines separate.
// One that is larger than wire.MaxRead is not kept in memory, and does not keep the
// others from being read.
type lineReader struct{ src *bufio.Reader }

func newLineReader(src io.Reader) lineReader { return lineReader{bufio.NewReader(src)} }

const (
	maxHead    = 4 << 10           // kept of a line that is too long: enough to tell what it is about
	maxSkipped = 16 * wire.MaxRead // and beyond this it may never end
)

// next returns the next line, or the beginning of one that is too long, and
// whether another one follows.
func (r lineReader) next() (line []byte, tooLong, more bool, err error) {
	for size := 0; ; {
		part, err := r.src.ReadSlice('\n')
		if size += len(part); size > maxSkipped {
			return nil, false, false, errUnreadable
		}
		switch {
		case tooLong:
		case len(line)+len(part) > wire.MaxRead:
			line, tooLong = bytes.Clone(line[:min(len(line), maxHead)]), true
		default:
			line = append(line, part...)
		}
		switch err {
		case nil:
			return bytes.TrimSuffix(line, []byte("\n")), tooLong, true, nil
		case io.EOF:
			return line, tooLong, false, nil
		case bufio.ErrBufferFull:
		default:
			return nil, false, false, err
		}
	}
}

// headOf returns the event and the channel of an object of which only the
// beginning is there, "" where they do not stand there.
func headOf(text []byte) (event, channel string) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", ""
	}
	for event == "" || channel == "" {
		name, err := dec.Token()
		if err != nil {
			break
		}
		value, err := dec.Token()
		if err != nil {
			break
		}
		text, ok := value.(string)
		switch {
		case !ok:
			return event, channel // an object or a list: nothing beyond is of use
		case name == "event":
			event = text
		case name == "channel":
			channel = text
		}
	}
	return event, channel
}

// skipped deals with an object that was too large to be read, of which the
// beginning is known. It costs its channel a reset, or the roster; the other
// channels, and the connection, go on.
func (s *session) skipped(head []byte) *disconnect {
	event, channel := headOf(head)
	err := &Error{Code: "too_large", Message: fmt.Sprintf("the server sent more than %d bytes at once", wire.MaxRead)}
	s.set.log.Warn("client: too large to be read", "event", event, "channel", channel)
	if event != "message" && event != "presence.state" {
		l := s.unreadable(err)
		return &l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.rooms[channel]
	switch {
	case m == nil:
	case event == "message" && m.sub != unsubscribed:
		m.reset("too_large")
	case event == "presence.state" && m.sub == withPresence:
		m.stateDue, m.blind = false, true
		m.roster.forget()
		m.roster.end(err, true)
		s.sync(m)
	}
	return nil
}
