package realtime

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/handle/deadletters"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Errors that functions of this package return, all possibly wrapped.
var (
	// ErrClosed: the Realtime was closed.
	ErrClosed = bounded.ErrClosed
	// ErrMaybeStored: the backend did not say in time whether it stored the event. The
	// event may have been stored, and delivered. Publishing again is safe with the
	// same [WithID].
	ErrMaybeStored = bounded.ErrMaybeStored
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
	ErrHandlerFailed = deadletters.ErrFailed
	// ErrGone: the event is no longer in the log.
	ErrGone = deadletters.ErrGone
	// ErrTemporary is for a [Policy] to wrap, if it cannot decide now. The client is
	// told to come back (503) instead of being refused for good. Functions of this
	// package return it if the backend did not answer in time, and nothing has
	// happened.
	ErrTemporary = bounded.ErrTemporary
	// ErrExpired is for [Policy.Authenticate] to wrap, if the credentials have expired.
	// The client is told to get new ones.
	ErrExpired = policy.ErrExpired
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
		f := refused.Refusal{Status: status, Error: &wire.Error{Code: theirs.Code, Message: theirs.Message, Retry: theirs.Retry}}
		f.Write(w)
	case errors.Is(err, ErrClosed):
		refused.Closing().Write(w)
	case errors.Is(err, ErrTemporary), errors.Is(err, ErrMaybeStored):
		refused.Unavailable().Write(w)
	case errors.As(err, &known):
		refused.With(known.Status, known.Code, "%s", known.Message).Write(w)
	default:
		refused.With(http.StatusInternalServerError, "internal", "internal error").Write(w)
	}
}

// badChannelError says why name is no name of a channel.
func badChannelError(name string) error { return nameError(ErrBadChannel, name) }

// nameError is err, and says what is wrong with name.
func nameError(err error, name string) error {
	return fmt.Errorf("%w %s: %s", err, wire.Quote(name), wire.NameFault(name))
}
