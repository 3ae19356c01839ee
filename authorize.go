package realtime

import (
	"context"
	"errors"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Authorize asks the [Policy] whether the sender of a request may do something,
// for routes of the host's own. It refuses, in this order, requests for hosts that
// are not among [Policy.Hosts], then requests other than GET, HEAD and OPTIONS that
// a browser sends for a page of another site, as [http.CrossOriginProtection] does,
// then those that Authenticate does not let in, which has 30 s here, then what
// Allow does not allow, which has 5 s. The identity is
// valid if the error is nil; otherwise that is a [*RefusedError], which
// [WriteError] answers with.
func (rt *Realtime) Authorize(r *http.Request, a Action) (Identity, error) {
	id, f := rt.authorize(r, a)
	if f != nil {
		return Identity{}, &RefusedError{Status: f.status, Code: f.Code, Message: f.Message, Retry: f.Retry}
	}
	return id, nil
}

func (rt *Realtime) authorize(r *http.Request, a Action) (Identity, *refusal) {
	if f := rt.checkHost(r); f != nil {
		return Identity{}, f
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		if f := rt.checkOrigin(r); f != nil {
			return Identity{}, f
		}
	}
	id, f := rt.policy.authenticate(patiently(r), rt.log)
	if f != nil {
		return Identity{}, f
	}
	ctx, cancel := context.WithTimeout(r.Context(), decideTime)
	defer cancel()
	return id, rt.policy.allow(ctx, rt.log, id, a)
}

// RefusedError is an error with all that a client is told of it. A host makes
// its own for [WriteError].
type RefusedError struct {
	Status  int    // of HTTP
	Code    string // for programs: "forbidden", "not_found", …
	Message string // for people; it is shown to the client
	Retry   bool   // whether the same request can succeed later
}

func (e *RefusedError) Error() string { return "realtime: " + e.Message + " (" + e.Code + ")" }

// WriteError answers a request with an error, in the shape that all errors of
// this package have on the wire: {"code","message","retry"}. It tells what a
// [*RefusedError] says, and that [ErrTemporary], [ErrMaybeStored] and [ErrClosed] can
// be tried again (503). Of any other error the client learns only that there was
// one (500 "internal"): whoever has it logs it.
func WriteError(w http.ResponseWriter, err error) {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		f := refusal{refused.Status, &wire.Error{Code: refused.Code, Message: refused.Message, Retry: refused.Retry}}
		f.write(w)
	case errors.Is(err, ErrClosed):
		goingAway().write(w)
	case errors.Is(err, ErrTemporary), errors.Is(err, ErrMaybeStored):
		unavailable().write(w)
	default:
		refuse(http.StatusInternalServerError, "internal", "internal error").write(w)
	}
}
