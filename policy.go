package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Policy decides who may do what from a browser. What it does not allow is
// refused: with the zero Policy the Go API works and every browser is turned
// away. Its functions may be called concurrently.
//
// All ways in and out ask the policy in one place each, so that REN streams and
// WebSockets, live and replayed events, cannot differ.
type Policy struct {
	// Authenticate tells who sends a request; it is called once per connection,
	// and when a client renews the token of an open one. It may block
	// until the request's context ends after 5 s (30 s in [Realtime.Authorize]);
	// then, whether it returns or not, the client is asked to come back (503). An
	// error refuses the request with 401; one that wraps [ErrExpired] says so, and
	// one that wraps [ErrTemporary] asks the client to come back. For a WebSocket
	// whose client sends a token in a hello, the request is the one that opened it,
	// with the token as a bearer token. Nil: everyone is refused.
	Authenticate func(*http.Request) (Identity, error)

	// Allow decides about one action of a client. An error refuses it as forbidden
	// (see ErrTemporary); its text is logged at debug level, not shown. It may
	// block until its context ends after 5 s; only this client waits. Nil: nothing
	// is allowed.
	Allow func(context.Context, Identity, Action) error

	// Grants lists what of REN an identity may see. It is called when a stream
	// begins, never per event, and may block until its context ends after 5 s. Nil,
	// or no grants: no stream. See [Grant].
	Grants func(context.Context, Identity) ([]Grant, error)

	// See has a last look at every single event before a client gets it, on
	// streams and channels alike, and may hide it. A roster shows the members
	// whose presence.join it shows, and so is their presence.leave, even where See
	// hides that. It must be fast and must not block, since it is called for each
	// event and receiver. Nil: all that was granted.
	//
	// A hidden event leaves no trace, and nobody remembers who was shown what. So
	// a rule that hides a change of something it has shown leaves the client with
	// what was before: decide by what stays (the user, the channel, the key), not
	// by what an update changes, or call Recheck after the change, which sends
	// rosters anew.
	See func(Identity, RenEvent) bool

	// Origins lists, exactly, the web origins ("https://app.example.com") beside
	// the server's own whose pages may connect with their user's cookies. Pages
	// of all other sites are refused. [New] refuses what no browser sends: wildcards,
	// paths, names that are not in ASCII form, and "null", which any page can be.
	Origins []string

	// Hosts lists the hosts that the app serves: "app.example.com", and with it
	// every port, or "app.example.com:8443". Requests for other hosts, by their
	// Host header, are refused with 421, on the library's own routes and those
	// within [Realtime.Attribute], [Realtime.CORS] and [Realtime.Authorize]. That
	// keeps out pages whose own name was made to resolve to the server's address
	// (DNS rebinding), which browsers take for the server's own. Default: all
	// hosts; with [AllowAll], on connections to a loopback address, only localhost
	// and its like.
	Hosts []string

	allowAll bool
	hosts    []hostPort // Hosts
}

// Identity is who a client is.
type Identity struct {
	// User is the user id, as others see it; "" for anonymous.
	User string
	// AnyUser permits presence under any user id, as servers and demos need it.
	AnyUser bool
	// Expires ends the connection, unless a client renews its token before: the
	// identity of the new one, which must be the same User's, then replaces this
	// one. Zero: never.
	Expires time.Time
	// Claims is the host's own, for Allow, Grants and See.
	Claims any
}

// Verb is what a client wants to do.
type Verb string

// The verbs.
const (
	VerbSubscribe Verb = "subscribe" // to a channel: its messages, and its presence where asked for
	VerbPublish   Verb = "publish"   // to a channel
	VerbJoin      Verb = "join"      // be present in a channel, and update how

	VerbUpload   Verb = "upload"   // an object, new or in place of another
	VerbDelete   Verb = "delete"   // an object
	VerbDownload Verb = "download" // an object
)

// Action is one thing a client wants to do.
type Action struct {
	Verb Verb
	Name string // of the channel, or path of the object
}

// AllowAll lets everybody do and see everything, under any user id they like.
// It is for demos; [New] warns of it.
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

// compile checks what New is given, and brings it into the form that requests are
// compared with.
func (p *Policy) compile() error {
	return errors.Join(p.compileHosts(), p.compileOrigins())
}

// authenticate tells who sends r.
func (p *Policy) authenticate(r *http.Request, log *slog.Logger) (Identity, *refusal) {
	if p.Authenticate == nil {
		return Identity{}, refuse(http.StatusUnauthorized, "unauthorized", "no policy lets browsers in")
	}
	id, err := p.Authenticate(r)
	switch {
	case errors.Is(err, ErrTemporary):
		return Identity{}, unavailable()
	case errors.Is(err, ErrExpired), err == nil && expired(id):
		return Identity{}, refuse(http.StatusUnauthorized, "expired", "credentials have expired")
	case err != nil:
		log.DebugContext(r.Context(), "realtime: not authenticated", "reason", err)
		return Identity{}, refuse(http.StatusUnauthorized, "unauthorized", "not authenticated")
	case id.User != "" && badName(id.User):
		log.DebugContext(r.Context(), "realtime: the policy returned a bad user id", "user", wire.Quote(id.User))
		return Identity{}, refuse(http.StatusInternalServerError, "internal", "the server's policy returned a bad user id")
	}
	return id, nil
}

func unavailable() *refusal {
	return refuse(http.StatusServiceUnavailable, "unavailable", "try again later").retry()
}

func goingAway() *refusal {
	return refuse(http.StatusServiceUnavailable, "closing", "the server is going away").retry()
}

func expired(id Identity) bool {
	return !id.Expires.IsZero() && !id.Expires.After(time.Now())
}

// allow decides about one action.
func (p *Policy) allow(ctx context.Context, log *slog.Logger, id Identity, a Action) *refusal {
	if p.Allow == nil {
		return refuse(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name))
	}
	switch err := p.Allow(ctx, id, a); {
	case err == nil:
		return nil
	case errors.Is(err, ErrTemporary), ctx.Err() != nil:
		return unavailable()
	default:
		log.DebugContext(ctx, "realtime: refused", "user", id.User, "verb", a.Verb, "name", a.Name, "reason", err)
		return refuse(http.StatusForbidden, "forbidden", "not allowed to %s %s", a.Verb, wire.Quote(a.Name))
	}
}

// view is what a connection may see of an event. It is asked for every event
// that leaves to a client, live or replayed.
type view struct {
	policy *Policy
	id     Identity
	grants []Grant // of a REN stream; channels are decided when subscribed
}

// Uniform implements [session.View].
func (v *view) Uniform() bool { return v.policy.See == nil }

// Channel implements [session.View]: whether the policy shows the event. That is all
// that a subscriber of its channel has to be asked for.
func (v *view) Channel(ev *backend.Event) bool {
	if v.policy.See == nil || v.policy.See(v.id, RenEvent(*ev)) {
		return true
	}
	if !ev.IsLeave() {
		return false
	}
	// Whom it shows coming would stay for ever if it did not show it going.
	return v.member(ev.Channel, memberOf(ev))
}

// memberOf returns the member that a presence event tells of.
func memberOf(ev *backend.Event) Member {
	var data struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	_ = json.Unmarshal(ev.Data, &data) // as package presence writes it
	return Member{UserID: ev.User, Metadata: data.Metadata, LastSeen: time.UnixMilli(ev.UnixMilli)}
}

// member reports whether a subscriber's roster shows a member: if it would have
// shown the join.
func (v *view) member(channel string, m Member) bool {
	if v.policy.See == nil {
		return true
	}
	join := joinOf(channel, m)
	return v.Channel(&join)
}

// joinOf returns the presence.join of a member.
func joinOf(channel string, m Member) backend.Event {
	return presence.NewEvent(backend.PresenceJoin, channel, m.UserID, m.Metadata, "", m.LastSeen)
}

// Stream implements [session.View]: whether a REN stream gets the event, and with its
// data or not.
func (v *view) Stream(ev *backend.Event) (seen, data bool) {
	for i := range v.grants {
		if g := &v.grants[i]; g.covers(ev) {
			seen = true
			if data = g.data; data {
				break
			}
		}
	}
	return seen && v.Channel(ev), data
}
