package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/dead"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Errors that functions of this package return, all possibly wrapped.
var (
	// ErrClosed: the Realtime was closed.
	ErrClosed = errors.New("realtime: closed")
	// ErrMaybeStored: the backend did not say in time whether it stored the event. The
	// event may have been stored, and delivered. Publishing again is safe with the
	// same [WithID].
	ErrMaybeStored = errors.New("realtime: the event may have been stored")
	// ErrBadChannel: a channel is empty, longer than 255 bytes, not UTF-8, has
	// control characters, or begins with '$', which is reserved.
	ErrBadChannel error = refused.New("realtime: bad channel", http.StatusBadRequest, "bad_channel", "the name of a channel "+wire.ChannelRule)
	// ErrBadEvent: an event has no or a reserved type or resource, a field that is
	// too long or not UTF-8, or data that is not JSON.
	ErrBadEvent = refused.ErrBadEvent
	// ErrBadUser: a user id is empty, longer than 255 bytes, not UTF-8 or has
	// control characters.
	ErrBadUser error = refused.New("realtime: bad user id", http.StatusBadRequest, "bad_request", "a user id "+wire.NameRule)
	// ErrBadClientID: a client id is not 16 to 64 characters of [A-Za-z0-9._-].
	ErrBadClientID error = refused.New("realtime: bad client id", http.StatusBadRequest, "bad_request", "a client id is 16 to 64 characters of A-Z a-z 0-9 . _ -")
	// ErrBadPattern: a pattern cannot be compiled or may take too long to match.
	ErrBadPattern = match.ErrBadPattern
	// ErrBadGroup: the name of a group of handlers is missing, taken, empty,
	// longer than 255 bytes, not UTF-8, has control characters, or begins with '$'.
	ErrBadGroup = handle.ErrBadGroup
	// ErrLoop: a handler's event would be the end of a chain of more than 8 handlers,
	// each of which reacted to an event of the one before it.
	ErrLoop = errors.New("realtime: handlers cause each other")
	// ErrBadOption: an option, which the error names, is out of its range, or means
	// nothing to the method it was given to.
	ErrBadOption = errors.New("realtime: bad option")
	// ErrTooLarge: data or metadata exceeds its limit.
	ErrTooLarge = refused.ErrTooLarge

	// ErrStreamOpen: a growing message with this id is open in the channel.
	ErrStreamOpen error = refused.New("realtime: a growing message with this id is open", http.StatusConflict, "bad_request", "a growing message with this id is open")
	// ErrNoStream: no growing message with this id is open, and none is in the history.
	ErrNoStream error = refused.New("realtime: no such growing message", http.StatusNotFound, "not_found", "there is no such growing message")
	// ErrTooMany: more growing messages are open than [StreamOptions] permit.
	ErrTooMany error = refused.New("realtime: too many growing messages are open", http.StatusTooManyRequests, "too_many", "too many messages are growing")
	// ErrStopped: a client has stopped the growing message.
	ErrStopped = growing.ErrStopped
	// ErrStreamEnded: the growing message has ended already, by Close or Fail, because
	// nothing was written for too long, or because the other nodes took this one for
	// dead.
	ErrStreamEnded = growing.ErrEnded

	// ErrPermanent is for an [EventHandler] to wrap, if another attempt would not help.
	// The event goes to [GroupOptions].DeadLetter at once.
	ErrPermanent = errors.New("realtime: permanent failure")
	// ErrHandlerFailed: the handler of a dead letter has failed again.
	ErrHandlerFailed = dead.ErrFailed
	// ErrGone: the event is no longer in the log.
	ErrGone = dead.ErrGone
	// ErrTemporary is for a [Policy] to wrap, if it cannot decide now. The client is
	// told to come back (503) instead of being refused for good. Functions of this
	// package return it if the backend did not answer in time, and nothing has
	// happened.
	ErrTemporary = engine.ErrTemporary
	// ErrExpired is for [Policy.Authenticate] to wrap, if the credentials have expired.
	// The client is told to get new ones.
	ErrExpired = errors.New("realtime: credentials expired")
)

// ResetError says that events were missed: the reader was too slow, its cursor was too
// old, or the backend lost them. The reader must read the data that it shows again.
type ResetError struct {
	// Reason is "evicted", "epoch", "unknown" or "backend", as in docs/protocol.md; of
	// package client also "too_large".
	Reason string
}

func (e *ResetError) Error() string { return "realtime: events were missed: " + e.Reason }

// RefusedError is an error with everything that a client is told of it. A host may make
// its own for [WriteError].
type RefusedError struct {
	Status  int    // of HTTP, 400 to 599; 500 is sent for any other
	Code    string // for programs: "forbidden", "not_found", …
	Message string // for people; it is shown to the client
	Retry   bool   // whether the same request may succeed later
}

func (e *RefusedError) Error() string { return "realtime: " + e.Message + " (" + e.Code + ")" }

// WriteError answers a request with an error, in the shape of all errors of
// this package on the wire: {"code","message","retry"}. A [*RefusedError] is sent as it
// is. [ErrTemporary], [ErrMaybeStored] and [ErrClosed] become 503 with retry.
// [ErrTooLarge] becomes 413, and what names or events cannot be, such as
// [ErrBadChannel], 400; likewise the errors of packages kv and storage, such as 404 for
// their ErrNotFound. Any other error becomes 500 "internal". No answer has the text of
// err. The caller should log errors whose cause is not the client.
func WriteError(w http.ResponseWriter, err error) {
	var theirs *RefusedError
	var known *refused.Error
	switch {
	case errors.As(err, &theirs):
		status := theirs.Status
		if status < 400 || status > 599 {
			status = http.StatusInternalServerError // net/http panics with some of them
		}
		f := refusal{status: status, Error: &wire.Error{Code: theirs.Code, Message: theirs.Message, Retry: theirs.Retry}}
		f.write(w)
	case errors.Is(err, ErrClosed):
		refuseClosing().write(w)
	case errors.Is(err, ErrTemporary), errors.Is(err, ErrMaybeStored):
		unavailable().write(w)
	case errors.As(err, &known):
		refuse(known.Status, known.Code, "%s", known.Message).write(w)
	default:
		refuse(http.StatusInternalServerError, "internal", "internal error").write(w)
	}
}

// refusal is an error for a client, with its HTTP status for the case that the stream
// has not begun.
type refusal struct {
	status int
	*wire.Error
	about Refusal // what only the host is told
}

// because notes why the host's policy refuses.
func (f *refusal) because(err error) *refusal {
	if err != nil {
		f.about.Reason = err.Error()
	}
	return f
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, Error: wire.Errorf(code, format, args...)}
}

func unavailable() *refusal {
	return refuse(http.StatusServiceUnavailable, "unavailable", "try again later").retry()
}

func refuseClosing() *refusal {
	return refuse(http.StatusServiceUnavailable, "closing", "the server is going away").retry()
}

func (f *refusal) retry() *refusal {
	f.Retry = true
	return f
}

func (f *refusal) write(w http.ResponseWriter) {
	body, _ := json.Marshal(f.Error) // strings and a bool
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.Retry {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(append(body, '\n')) // the client is gone, or has it
}

// badChannelError says why name is no name of a channel.
func badChannelError(name string) error { return nameError(ErrBadChannel, name) }

// nameError is err, and says what is wrong with name.
func nameError(err error, name string) error {
	return fmt.Errorf("%w %s: %s", err, wire.Quote(name), wire.NameFault(name))
}

// publicError translates the backend's errors into those of this package.
func publicError(err error) error {
	switch {
	case errors.Is(err, backend.ErrClosed):
		return ErrClosed
	case errors.Is(err, backend.ErrMaybeStored):
		return fault.Errorf("%w: %w", ErrMaybeStored, err)
	case errors.Is(err, backend.ErrTooLarge):
		return fault.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}
