package httpwriter

import (
	"errors"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/host/guard"
)

// Deadline limits the time for reading from a client, or for writing to it, through the
// middlewares around the server's writer.
type Deadline struct {
	timers []http.ResponseWriter // which are told of it
	of     setter
}

// setter returns the method of a writer that sets a deadline, or nil.
type setter func(http.ResponseWriter) func(time.Time) error

func reads(w http.ResponseWriter) func(time.Time) error {
	if d, ok := w.(interface{ SetReadDeadline(time.Time) error }); ok {
		return d.SetReadDeadline
	}
	return nil
}

func writes(w http.ResponseWriter) func(time.Time) error {
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline
	}
	return nil
}

// ReadDeadline returns the deadline of reads of a request's body, which is set to first;
// the zero Time means none.
func ReadDeadline(w http.ResponseWriter, first time.Time) (*Deadline, *Unsupported) {
	return newDeadline(unwrap(w), "SetReadDeadline", reads, first)
}

// WriteDeadline is ReadDeadline of writes.
func WriteDeadline(w http.ResponseWriter, first time.Time) (*Deadline, *Unsupported) {
	return newDeadline(unwrap(w), "SetWriteDeadline", writes, first)
}

func newDeadline(chain []http.ResponseWriter, method string, of setter, first time.Time) (*Deadline, *Unsupported) {
	able := func(w http.ResponseWriter) bool { return of(w) != nil }
	if inner := chain[len(chain)-1]; !able(inner) {
		return nil, &Unsupported{Method: method, Writer: inner}
	}
	d := &Deadline{callees(chain, able), of}
	for _, w := range d.timers {
		if err := d.set(w, first); errors.Is(err, http.ErrNotSupported) || errors.Is(err, guard.ErrPanic) {
			return nil, &Unsupported{method, w, err}
		}
	}
	return d, nil
}

// Set sets the deadline, also of a call that is under way. The zero Time means none.
func (d *Deadline) Set(at time.Time) (failed error) {
	for _, w := range d.timers {
		failed = d.set(w, at)
	}
	return failed // as the innermost says
}

func (d *Deadline) set(w http.ResponseWriter, at time.Time) error {
	return guard.Call(func() error { return d.of(w)(at) })
}
