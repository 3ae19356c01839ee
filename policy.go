package realtime

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ask"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/grant"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/site"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Policy decides who may do what from a browser. Everything that it does not allow is
// refused: with the zero Policy the Go API works and every browser is refused. Its
// functions may be called concurrently.
//
// REN streams and WebSockets, live and replayed events, ask the policy in the same
// place, so that they cannot differ.
type Policy struct {
	// Authenticate returns who sends a request. It is called once per connection, and
	// when a client renews the token of an open one. It may block until the request's
	// context ends after 5 s (30 s in [Realtime.Authorize]); then, whether it returns
	// or not, the client is told to come back (503). An error refuses the request with
	// 401. If it wraps [ErrExpired], the client is told that its credentials have
	// expired; if it wraps [ErrTemporary], to come back. If the client of a WebSocket
	// sends a token in a hello, the request is the one that opened the WebSocket, with
	// that token as its bearer token. Nil: everyone is refused.
	Authenticate func(*http.Request) (Identity, error)

	// Allow decides about one action of a client. An error refuses it as forbidden
	// (see ErrTemporary); its text is logged at debug level, not shown. It must decide by
	// the verb as well as by the name: VerbStop ends what somebody else writes, and
	// VerbDelete what somebody else has stored. It may block until its context ends after
	// 5 s; only this client waits. Nil: nothing is allowed.
	Allow func(context.Context, Identity, Action) error

	// AskHistory makes [VerbHistory] a right of its own: then Allow is asked about it
	// for each page of a channel's past, in the place of VerbSubscribe, and for a
	// subscription that rewinds, as well as that. Otherwise clients that may subscribe to
	// a channel may read its past.
	AskHistory bool

	// Grants returns the part of REN that an identity may see. It is called when a
	// stream begins and on [Realtime.Recheck], never per event. It may block until its
	// context ends after 5 s. Nil, or no grants: no stream. See [Grant].
	Grants func(context.Context, Identity) ([]Grant, error)

	// See is called for each event before a client gets it, on streams and channels,
	// and hides the event if it returns false. It must be fast and must not block,
	// since it is called for each event and each receiver. Nil: everything that was
	// granted is shown. A member is listed in a roster if See accepts their
	// presence.join. Their presence.leave is then always delivered, even if See rejects
	// it. See must not call [Realtime.Revoke] or [Realtime.Recheck]: they wait for the
	// connection that it is called for, and fail after 30 s.
	//
	// See is stateless: the server does not remember who was shown what. If it shows an
	// object and later hides an update to it, the client keeps showing the old state.
	// Decide by what does not change (the user, the channel, the key), or call
	// [Realtime.Recheck] after the change, which sends rosters again.
	See func(Identity, RenEvent) bool

	// Origins lists, exactly, the web origins ("https://app.example.com") beside
	// the server's own whose pages may connect with their user's cookies. Pages
	// of all other sites are refused. [New] refuses entries that no browser sends
	// (wildcards, paths, names that are not in ASCII form), and "null", which any page
	// can have as its origin.
	Origins []string

	// Hosts lists the hosts that the app serves: "app.example.com", which includes
	// every port, or "app.example.com:8443". Requests whose Host header names another
	// host are refused with 421, on the library's own routes and those within
	// [Realtime.Attribute], [Realtime.CORS] and [Realtime.Authorize]. This keeps out
	// pages whose own name was made to resolve to the server's address (DNS rebinding):
	// browsers treat them as the server's own. Default: all hosts; with [AllowAll], on
	// connections to a loopback address, only loopback names such as localhost.
	Hosts []string

	allowAll bool
	hosts    site.Hosts
	origins  site.Origins
}

// Identity is the identity of a client.
type Identity struct {
	// User is the user id, as others see it; "" for anonymous.
	User string
	// AnyUser permits presence under any user id. It is for servers and demos.
	AnyUser bool
	// Expires ends the connection at that time, unless the client renews its token
	// before. The identity of the new token, which must have the same User, then
	// replaces this one. Zero: never.
	Expires time.Time
	// Claims is the host's own, for Allow, Grants and See.
	Claims any
}

// Verb is the kind of an [Action].
type Verb string

// The verbs.
const (
	VerbSubscribe Verb = "subscribe" // to a channel: its messages, and its presence if requested; follow its growing messages
	VerbPublish   Verb = "publish"   // to a channel
	VerbHistory   Verb = "history"   // read past messages of a channel; see Policy.AskHistory
	VerbJoin      Verb = "join"      // be present in a channel, and change the metadata
	VerbStop      Verb = "stop"      // end a growing message of a channel, which Action.ID names; see [Realtime.Stream]

	VerbUpload   Verb = "upload"   // an object, new or as a replacement
	VerbDelete   Verb = "delete"   // an object
	VerbDownload Verb = "download" // an object
)

// Action is one thing a client wants to do.
type Action struct {
	Verb Verb
	Name string // of the channel, or path of the object
	ID   string // of a growing message, for VerbStop
}

// AllowAll lets everybody do and see everything, under any user id. It is for demos;
// [New] logs a warning.
func AllowAll() Policy {
	return Policy{
		Authenticate: func(*http.Request) (Identity, error) { return Identity{AnyUser: true}, nil },
		Allow:        func(context.Context, Identity, Action) error { return nil },
		Grants: func(context.Context, Identity) ([]Grant, error) {
			return []Grant{everything}, nil
		},
		allowAll: true,
	}
}

// compile checks the fields, and normalises them for comparison with requests.
func (p *Policy) compile() error {
	hosts, badHosts := site.ParseHosts(p.Hosts)
	if badHosts != nil {
		badHosts = fault.Errorf("realtime: Policy.Hosts: %w", badHosts)
	}
	origins, badOrigins := site.ParseOrigins(p.Origins)
	if badOrigins != nil {
		badOrigins = fault.Errorf("realtime: Policy.Origins: %w", badOrigins)
	}
	p.hosts, p.origins = hosts, origins
	return errors.Join(badHosts, badOrigins)
}

// timely returns the policy with functions that return in time, even if the host's
// functions ignore their context.
func (p Policy) timely(calls *ask.Calls) Policy {
	if p.allowAll {
		return p
	}
	if f := p.Authenticate; f != nil {
		p.Authenticate = func(r *http.Request) (Identity, error) {
			return ask.Do(r.Context(), calls, ask.Authenticate, func(ctx context.Context) (Identity, error) { return f(r.WithContext(ctx)) })
		}
	}
	if f := p.Allow; f != nil {
		p.Allow = func(ctx context.Context, id Identity, a Action) error {
			_, err := ask.Do(ctx, calls, ask.Allow, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx, id, a) })
			return err
		}
	}
	if f := p.Grants; f != nil {
		p.Grants = func(ctx context.Context, id Identity) ([]Grant, error) {
			return ask.Do(ctx, calls, ask.Grants, func(ctx context.Context) ([]Grant, error) { return f(ctx, id) })
		}
	}
	return p
}

// serves reports whether a request is for a host of the app.
func (p *Policy) serves(r *http.Request) bool {
	switch {
	case len(p.hosts) > 0:
		return p.hosts.Match(r.Host)
	case p.allowAll && site.OverLoopback(r):
		// Under AllowAll only the address keeps others out. A policy of the host does
		// so itself, and a proxy on the same machine may pass public names.
		return site.IsLoopback(r.Host)
	}
	return true
}

// authenticate returns who sends r.
func (p *Policy) authenticate(r *http.Request, log *slog.Logger) (Identity, *refusal) {
	if p.Authenticate == nil {
		log.DebugContext(r.Context(), "realtime: not authenticated", "reason", "Policy.Authenticate is nil")
		return Identity{}, refuse(http.StatusUnauthorized, "unauthorized", "no policy lets browsers in")
	}
	id, err := p.Authenticate(r)
	switch {
	case errors.Is(err, ErrTemporary):
		logUndecided(r.Context(), log, "Authenticate", "", err)
		return Identity{}, unavailable().because(err)
	case errors.Is(err, ErrExpired), err == nil && expired(id):
		log.DebugContext(r.Context(), "realtime: not authenticated", "reason", cmp.Or(err, ErrExpired))
		return Identity{}, refuse(http.StatusUnauthorized, "expired", "credentials have expired").because(err)
	case err != nil:
		log.DebugContext(r.Context(), "realtime: not authenticated", "reason", err)
		return Identity{}, refuse(http.StatusUnauthorized, "unauthorized", "not authenticated").because(err)
	case id.User != "" && !wire.ValidName(id.User):
		log.DebugContext(r.Context(), "realtime: the policy returned a bad user id", "user", wire.Quote(id.User))
		return Identity{}, refuse(http.StatusInternalServerError, "internal", "the server's policy returned a bad user id")
	}
	return id, nil
}

func expired(id Identity) bool {
	return !id.Expires.IsZero() && !id.Expires.After(time.Now())
}

// expiresIn is what clients are told of the end of an identity, in milliseconds
// from now, since their clocks may differ from the server's; nil for never.
func expiresIn(id Identity) *int64 {
	if id.Expires.IsZero() {
		return nil
	}
	in := max(time.Until(id.Expires).Milliseconds(), 0)
	return &in
}

// allow decides about one action.
func (p *Policy) allow(ctx context.Context, log *slog.Logger, id Identity, a Action) *refusal {
	if f := p.refusal(ctx, log, id, a); f != nil {
		return f.of(id.User, a)
	}
	return nil
}

func (p *Policy) refusal(ctx context.Context, log *slog.Logger, id Identity, a Action) *refusal {
	if p.Allow == nil {
		log.DebugContext(ctx, "realtime: refused", "user", id.User, "verb", a.Verb, "name", a.Name, "reason", "Policy.Allow is nil")
		return refuse(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name))
	}
	switch err := p.Allow(ctx, id, a); {
	case err == nil:
		return nil
	case errors.Is(err, ErrTemporary), ctx.Err() != nil:
		logUndecided(ctx, log, "Allow", id.User, err)
		return unavailable().because(err)
	default:
		log.DebugContext(ctx, "realtime: refused", "user", id.User, "verb", a.Verb, "name", a.Name, "reason", err)
		return refuse(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name)).because(err)
	}
}

// grants lists what of REN id may see.
func (rt *Realtime) grants(ctx context.Context, id Identity) ([]grant.Grant, *refusal) {
	denied := refuse(http.StatusForbidden, "forbidden", "nothing is granted").of(id.User, Action{})
	none := func(why string) ([]grant.Grant, *refusal) {
		rt.log.DebugContext(ctx, "realtime: nothing is granted; a REN stream is refused", "user", id.User, "reason", why)
		return nil, denied.because(errors.New(why))
	}
	if rt.policy.Grants == nil {
		return none("Policy.Grants is nil")
	}
	grants, err := rt.policy.Grants(ctx, id)
	switch {
	case errors.Is(err, ErrTemporary), ctx.Err() != nil:
		logUndecided(ctx, rt.log, "Grants", id.User, err)
		return nil, unavailable().because(err).of(id.User, Action{})
	case err != nil:
		// A policy that grants nothing returns nothing: this looks like a fault.
		rt.log.WarnContext(ctx, "realtime: Policy.Grants failed; the client is refused", "user", id.User, "error", err)
		return nil, denied.because(err)
	}
	var sound []grant.Grant
	for _, g := range grants {
		field, why := g.of.Flaw()
		if field == "" {
			sound = append(sound, g.of)
		} else if rt.flaws.First(g.of.Resource + " " + field) {
			rt.log.WarnContext(ctx, "realtime: a grant grants nothing; this is logged once for each resource and field",
				"resource", g.of.Resource, "field", field, "reason", why, "user", id.User)
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
func logUndecided(ctx context.Context, log *slog.Logger, function, user string, err error) {
	log.DebugContext(ctx, "realtime: the policy cannot decide now; the client is told to come back", "function", function, "reason", err, "user", user)
}

// view decides which events a connection may see. It is asked for every event before a
// client gets it, live or replayed.
type view struct {
	policy *Policy
	id     *Identity     // which does not change
	grants []grant.Grant // of a REN stream; channels are decided when subscribed
}

// Uniform implements [session.View].
func (v *view) Uniform() bool { return v.policy.See == nil }

// Channel implements [session.View]: whether the policy shows the event. The right to
// subscribe was checked before.
func (v *view) Channel(ev *backend.Event) bool {
	if v.policy.See == nil || v.policy.See(*v.id, RenEvent(*ev)) {
		return true
	}
	if !ev.IsLeave() {
		return false
	}
	// A member whose join is shown would stay in rosters for ever without its leave.
	join := presence.MemberOf(ev).Join(ev.Channel)
	return v.policy.See(*v.id, RenEvent(join))
}

// Stream implements [session.View]: whether a REN stream gets the event, and with its
// data or not.
func (v *view) Stream(ev *backend.Event) (seen, data bool) {
	seen, data = grant.See(v.grants, ev)
	return seen && v.Channel(ev), data
}

// authenticate asks the policy who sends a request, for a new connection.
func (rt *Realtime) authenticate(h *conns.Handshake, r *http.Request) (Identity, *refusal) {
	call := &rights.Call{Handshake: h}
	ctx, end := call.Begin(r.Context())
	defer end()
	id, f := rt.policy.authenticate(r.WithContext(ctx), rt.log)
	return id, f.from(r)
}

// grants asks the policy what the client of a new connection may see.
func (rt *Realtime) grantsOf(ctx context.Context, h *conns.Handshake, id Identity) ([]grant.Grant, *refusal) {
	call := &rights.Call{Handshake: h}
	ctx, end := call.Begin(ctx)
	defer end()
	return rt.grants(ctx, id)
}

// refusalOf returns what a client is told that is not let in, nil where it is.
func (rt *Realtime) refusalOf(err error) *refusal {
	switch err {
	case nil:
		return nil
	case conns.ErrTooMany:
		return refuse(http.StatusTooManyRequests, "too_many", "more than %d connections of one user", rt.opts.Limits.Connections).retry()
	case conns.ErrClosing:
		return refuseClosing()
	default: // its rights have changed: it is authenticated again when it comes back
		return unavailable()
	}
}
