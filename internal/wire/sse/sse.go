// Package sse writes and reads event streams: WHATWG HTML, section 9.2,
// "Server-sent events".
package sse

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// AppendEvent appends one event to dst. Neither name nor id may hold CR, LF or
// NUL. An empty name makes a "message" event; an empty id leaves the stream's
// last event id as it is.
func AppendEvent(dst []byte, name, id string, data []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, len("event: \nid: \ndata: \n\n")+len(name)+len(id)+len(data))
	}
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	if id != "" {
		dst = append(append(append(dst, "id: "...), id...), '\n')
	}
	// Each of CR, LF and CRLF ends a line, so data goes out line by line. Most data is JSON
	// of one line, which two fast looks find.
	for lines := bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0; lines; {
		i := bytes.IndexAny(data, "\r\n")
		if i < 0 {
			break
		}
		dst = append(append(append(dst, "data: "...), data[:i]...), '\n')
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
	dst = append(append(append(dst, "data: "...), data...), '\n')
	return append(dst, '\n')
}

// AppendRetry appends the field that tells a client how long to wait before it
// connects again.
func AppendRetry(dst []byte, wait time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, wait.Milliseconds(), 10)
	return append(dst, '\n', '\n')
}

// Event is one event of a stream.
type Event struct {
	Name string // "message" where the stream names none
	ID   string // the last event id, of this or an earlier event
	Data string
}

// Errors of a reader that are not its source's.
var (
	// ErrTooLong is returned for an event that is longer than the reader allows. The
	// event has its name and id if they came before the data. The next event can be
	// read.
	ErrTooLong = errors.New("sse: event too long")
	// ErrEndless is returned for an event that exceeds even the bytes that the reader
	// skips. Nothing can be read after it.
	ErrEndless = errors.New("sse: event without end")
)

// skipFactor bounds, in multiples of the limit, the bytes that are skipped to find
// the end of an event that is too long.
const skipFactor = 16

// Reader reads events from a stream.
type Reader struct {
	Retry time.Duration // the last reconnection time the stream gave, else 0

	src   *bufio.Reader
	limit int
	begun bool
	cr    bool // the last line ended with CR: an LF that follows belongs to it
	id    string
}

// NewReader returns a reader of src. An event of more than limit bytes is an
// error, so that a hostile stream cannot fill the memory.
func NewReader(src io.Reader, limit int) *Reader {
	return &Reader{src: bufio.NewReader(src), limit: limit}
}

// event is an event of which not all lines have been read.
type event struct {
	name    string
	data    strings.Builder
	hasData bool
	size    int
}

// Next returns the next event. If the stream ends in the middle of an event, the
// event is dropped, as the standard says, and the error is that of the source (io.EOF
// at its end).
func (r *Reader) Next() (Event, error) {
	ev := event{name: "message"}
	for {
		line, err := r.line(r.limit - ev.size)
		if errors.Is(err, ErrTooLong) {
			if err := r.skip(); err != nil {
				return Event{}, err
			}
			return Event{Name: ev.name, ID: r.id}, ErrTooLong
		}
		if err != nil {
			return Event{}, err
		}
		ev.size += len(line)
		if line != "" {
			r.field(&ev, line)
			continue
		}
		if ev.hasData {
			return Event{ev.name, r.id, strings.TrimSuffix(ev.data.String(), "\n")}, nil
		}
		ev.name, ev.size = "message", 0
	}
}

// field takes one line of an event.
func (r *Reader) field(ev *event, line string) {
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "data":
		ev.data.WriteString(value)
		ev.data.WriteByte('\n')
		ev.hasData = true
	case "event":
		if ev.name = value; value == "" {
			ev.name = "message"
		}
	case "id":
		if !strings.Contains(value, "\x00") {
			r.id = value
		}
	case "retry":
		r.setRetry(value)
	}
}

// skip reads to the end of an event that has a line that is too long.
func (r *Reader) skip() error {
	empty := false // the line so far
	for range skipFactor * r.limit {
		c, err := r.src.ReadByte()
		if err != nil {
			return err
		}
		afterCR := r.cr
		r.cr = c == '\r'
		switch {
		case c == '\n' && afterCR:
		case c != '\n' && c != '\r':
			empty = false
		case empty:
			return nil
		default:
			empty = true
		}
	}
	return ErrEndless
}

func (r *Reader) setRetry(value string) {
	// Digits only: no sign, unlike strconv. Out of range, n is the largest.
	if n, err := strconv.ParseUint(value, 10, 40); err == nil || errors.Is(err, strconv.ErrRange) {
		r.Retry = time.Duration(n) * time.Millisecond
	}
}

// line reads up to CR, LF or CRLF. After a CR it does not wait for the LF that
// may follow, since an event may end there.
func (r *Reader) line(limit int) (string, error) {
	var line []byte
	for ended := false; !ended; {
		if _, err := r.src.Peek(1); err != nil {
			return "", err
		}
		have, _ := r.src.Peek(r.src.Buffered())
		if r.cr && have[0] == '\n' {
			have = have[:1]
		} else {
			for _, end := range []byte("\n\r") {
				if i := bytes.IndexByte(have, end); i >= 0 {
					have, ended = have[:i+1], true
				}
			}
			part := bytes.TrimRight(have, "\r\n")
			if len(part) > 0 && len(line)+len(part) > limit { // an empty line ends even an event that is full
				return "", ErrTooLong
			}
			line = append(line, part...)
		}
		r.cr = have[len(have)-1] == '\r'
		r.src.Discard(len(have))
	}
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	return decode(line), nil
}
