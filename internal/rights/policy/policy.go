// Package policy asks the policy of the host about clients, and decides what those are told
// that it refuses. Whatever carries events to clients asks here, so that no two of them can
// differ.
package policy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/said"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// ErrExpired: the credentials of a client have expired.
var ErrExpired = errors.New("realtime: credentials expired")

// Policy is what the host decides. Its functions return in time, and may be called
// concurrently. Errors of the first three refuse the client for good unless they wrap
// [bounded.ErrTemporary].
type Policy struct {
	Authenticate func(*http.Request) (Identity, error)                  // nil: nobody is let in
	Allow        func(context.Context, Identity, Action) error          // nil: nothing is allowed
	Grants       func(context.Context, Identity) ([]grant.Grant, error) // nil: nothing is granted
	See          func(*Identity, *backend.Event) bool                   // which neither it nor its caller changes; nil: all is shown
	AskHistory   bool                                                   // whether Allow is asked about the verb History
	Logger       *slog.Logger

	flaws said.Once // of grants, that were logged
}

// Identity is who a client is.
type Identity struct {
	User    string // "" for anonymous
	AnyUser bool   // may be present as any user
	Expires time.Time
	Claims  any // the host's own
}

// IsExpired reports whether the identity is no longer valid.
func (id *Identity) IsExpired() bool {
	return !id.Expires.IsZero() && !id.Expires.After(time.Now())
}

// ExpiresIn is what clients are told of the end of an identity, in milliseconds
// from now, since their clocks may differ from the server's; nil for never.
func (id *Identity) ExpiresIn() *int64 {
	if id.Expires.IsZero() {
		return nil
	}
	in := max(time.Until(id.Expires).Milliseconds(), 0)
	return &in
}

// MayBe reports whether the client may be present as a user.
func (id *Identity) MayBe(user string) bool { return user == id.User || id.AnyUser }

// Action is something that a client wants to do.
type Action struct {
	Verb string
	Name string // of the channel, or path of the object
	ID   string // of a growing message, for Stop
}

// The verbs of channels.
const (
	Subscribe = "subscribe"
	Publish   = "publish"
	History   = "history"
	Join      = "join"
	Stop      = "stop"
)

// Identify returns who sends r.
func (p *Policy) Identify(r *http.Request) (Identity, *refused.Refusal) {
	if p.Authenticate == nil {
		p.Logger.DebugContext(r.Context(), "realtime: not authenticated", "reason", "Policy.Authenticate is nil")
		return Identity{}, refused.With(http.StatusUnauthorized, "unauthorized", "no policy lets browsers in")
	}
	id, err := p.Authenticate(r)
	switch {
	case errors.Is(err, bounded.ErrTemporary):
		p.logUndecided(r.Context(), "Authenticate", "", err)
		return Identity{}, refused.Unavailable().Because(err)
	case errors.Is(err, ErrExpired), err == nil && id.IsExpired():
		p.Logger.DebugContext(r.Context(), "realtime: not authenticated", "reason", cmp.Or(err, ErrExpired))
		return Identity{}, refused.With(http.StatusUnauthorized, "expired", "credentials have expired").Because(err)
	case err != nil && r.Context().Err() != nil: // perhaps only because of that
		p.logUndecided(r.Context(), "Authenticate", "", err)
		return Identity{}, refused.Unavailable().Because(err)
	case err != nil:
		p.Logger.DebugContext(r.Context(), "realtime: not authenticated", "reason", err)
		return Identity{}, refused.With(http.StatusUnauthorized, "unauthorized", "not authenticated").Because(err)
	case id.User != "" && !wire.ValidName(id.User):
		p.Logger.DebugContext(r.Context(), "realtime: the policy returned a bad user id", "user", wire.Quote(id.User))
		return Identity{}, refused.With(http.StatusInternalServerError, "internal", "the server's policy returned a bad user id")
	}
	return id, nil
}

// Permit decides about one action.
func (p *Policy) Permit(ctx context.Context, id Identity, a Action) *refused.Refusal {
	if f := p.permit(ctx, id, a); f != nil {
		return f.Of(id.User, a.Verb, a.Name, a.ID)
	}
	return nil
}

func (p *Policy) permit(ctx context.Context, id Identity, a Action) *refused.Refusal {
	if p.Allow == nil {
		p.Logger.DebugContext(ctx, "realtime: refused", "user", id.User, "verb", a.Verb, "name", a.Name, "reason", "Policy.Allow is nil")
		return refused.With(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name))
	}
	switch err := p.Allow(ctx, id, a); {
	case err == nil:
		return nil
	case errors.Is(err, bounded.ErrTemporary), ctx.Err() != nil:
		p.logUndecided(ctx, "Allow", id.User, err)
		return refused.Unavailable().Because(err)
	default:
		p.Logger.DebugContext(ctx, "realtime: refused", "user", id.User, "verb", a.Verb, "name", a.Name, "reason", err)
		return refused.With(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name)).Because(err)
	}
}

// Granted lists what of REN id may see.
func (p *Policy) Granted(ctx context.Context, id Identity) ([]grant.Grant, *refused.Refusal) {
	denied := refused.With(http.StatusForbidden, "forbidden", "nothing is granted").Of(id.User, "", "", "")
	none := func(why string) ([]grant.Grant, *refused.Refusal) {
		p.Logger.DebugContext(ctx, "realtime: nothing is granted; a REN stream is refused", "user", id.User, "reason", why)
		return nil, denied.Because(errors.New(why))
	}
	if p.Grants == nil {
		return none("Policy.Grants is nil")
	}
	grants, err := p.Grants(ctx, id)
	switch {
	case errors.Is(err, bounded.ErrTemporary), ctx.Err() != nil:
		p.logUndecided(ctx, "Grants", id.User, err)
		return nil, refused.Unavailable().Because(err).Of(id.User, "", "", "")
	case err != nil:
		// A policy that grants nothing returns nothing: this looks like a fault.
		p.Logger.WarnContext(ctx, "realtime: Policy.Grants failed; the client is refused", "user", id.User, "error", err)
		return nil, denied.Because(err)
	}
	var sound []grant.Grant
	for _, g := range grants {
		field, why := g.Flaw()
		if field == "" {
			sound = append(sound, g)
		} else if p.flaws.First(g.Resource + " " + field) {
			p.Logger.WarnContext(ctx, "realtime: a grant grants nothing; this is logged once for each resource and field",
				"resource", g.Resource, "field", field, "reason", why, "user", id.User)
		}
	}
	switch {
	case len(grants) == 0:
		return none("Policy.Grants returned no grants")
	case len(sound) == 0:
		return none("Policy.Grants returned only grants that grant nothing")
	}
	return sound, nil
}

// logUndecided logs why a client is told to come back.
func (p *Policy) logUndecided(ctx context.Context, function, user string, err error) {
	p.Logger.DebugContext(ctx, "realtime: the policy cannot decide now; the client is told to come back", "function", function, "reason", err, "user", user)
}
