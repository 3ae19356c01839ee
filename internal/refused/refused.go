// Package refused has the errors that say what a client has done wrong. Hosts test them
// with errors.Is like any other, and realtime.WriteError answers a request with them.
package refused

import "net/http"

// Error is one of these errors. It is immutable.
type Error struct {
	text    string
	Status  int    // of HTTP
	Code    string // one of docs/protocol.md
	Message string // for the client
}

// New returns an error with a text for the host, and the answer for a client.
func New(text string, status int, code, message string) *Error {
	return &Error{text, status, code, message}
}

func (e *Error) Error() string { return e.text }

// The errors of data that the host, or a client, gives.
var (
	// ErrBadEvent: something makes no event.
	ErrBadEvent error = New("realtime: bad event", http.StatusBadRequest, "bad_request", "this makes no event")
	// ErrTooLarge: data or metadata exceeds its limit.
	ErrTooLarge error = New("realtime: too large", http.StatusRequestEntityTooLarge, "too_large", "this is too large")
)
