package realtime

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
	"github.com/maravilla-realtime/realtime/internal/web/site"
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
	// expired; if it wraps [ErrTemporary], or the request's context has ended, to come
	// back. If the client of a WebSocket sends a token in a hello, the request is the one
	// that opened the WebSocket, with that token as its bearer token. Nil: everyone is
	// refused.
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
	VerbSubscribe Verb = policy.Subscribe // to a channel: its messages, and its presence if requested; follow its growing messages
	VerbPublish   Verb = policy.Publish   // to a channel
	VerbHistory   Verb = policy.History   // read past messages of a channel; see Policy.AskHistory
	VerbJoin      Verb = policy.Join      // be present in a channel, and change the metadata
	VerbStop      Verb = policy.Stop      // end a growing message of a channel, which Action.ID names; see [Realtime.Stream]

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
func (p Policy) timely(calls *policycall.Calls) Policy {
	if f := p.Authenticate; f != nil {
		p.Authenticate = func(r *http.Request) (Identity, error) {
			return policycall.Do(r.Context(), calls, policycall.Authenticate, func(ctx context.Context) (Identity, error) { return f(r.WithContext(ctx)) })
		}
	}
	if f := p.Allow; f != nil {
		p.Allow = func(ctx context.Context, id Identity, a Action) error {
			_, err := policycall.Do(ctx, calls, policycall.Allow, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx, id, a) })
			return err
		}
	}
	if f := p.Grants; f != nil {
		p.Grants = func(ctx context.Context, id Identity) ([]Grant, error) {
			return policycall.Do(ctx, calls, policycall.Grants, func(ctx context.Context) ([]Grant, error) { return f(ctx, id) })
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

// asked returns the policy as connections ask it.
func (p *Policy) asked(log *slog.Logger) *policy.Policy {
	to := &policy.Policy{AskHistory: p.AskHistory, Logger: log}
	if f := p.Authenticate; f != nil {
		to.Authenticate = func(r *http.Request) (policy.Identity, error) {
			id, err := f(r)
			return policy.Identity(id), err
		}
	}
	if f := p.Allow; f != nil {
		to.Allow = func(ctx context.Context, id policy.Identity, a policy.Action) error {
			return f(ctx, Identity(id), Action{Verb: Verb(a.Verb), Name: a.Name, ID: a.ID})
		}
	}
	if f := p.Grants; f != nil {
		to.Grants = func(ctx context.Context, id policy.Identity) ([]grant.Grant, error) {
			grants, err := f(ctx, Identity(id))
			var list []grant.Grant
			for _, g := range grants {
				list = append(list, g.of)
			}
			return list, err
		}
	}
	if f := p.See; f != nil {
		to.See = func(id *policy.Identity, ev *backend.Event) bool { return f(Identity(*id), RenEvent(*ev)) }
	}
	return to
}

// Grant lets a REN stream carry events. [GrantAll] makes one for a resource
// domain, and methods narrow it:
//
//	realtime.GrantAll("kv")                                   // every key of every namespace
//	realtime.GrantAll("db").In("orders")                      // one DB collection
//	realtime.GrantAll("kv").In("todos").Under(id.User)        // the keys "ada", "ada:1", …
//	realtime.GrantAll("storage").Under("photos")              // the paths "photos/1.png", …
//	realtime.GrantAll("presence").Under("room:42")            // who comes and goes in a channel
//	realtime.GrantAll("realtime").Under("room:42").WithData() // and what is said there
//
// An empty value never widens a grant. A Grant with an empty value, such as the user id
// of a guest, one that is narrowed by In or Under twice to different values, and the
// zero Grant, grant nothing, which is logged as a warning once for each resource and
// field. To grant all namespaces or keys, do not call In or Under; to grant two, return
// two Grants.
//
// Grants are values: they can be copied, compared with ==, and used concurrently.
type Grant struct{ of grant.Grant }

// everything is the grant of [AllowAll].
var everything = Grant{grant.Grant{Resource: "*", Channels: true, Data: true}}

// GrantAll lets a stream show every event of a resource domain ("kv", "db", "storage",
// "realtime", "presence", or one of the host's own), without data. "*" is every domain
// except realtime and presence: events of channels must be granted by name.
func GrantAll(resource string) Grant { return Grant{grant.Grant{Resource: resource}} }

// In narrows the grant to one namespace: of keys, or a DB collection. Objects,
// messages and presence have none.
func (g Grant) In(namespace string) Grant {
	if g.of.In && g.of.Namespace != namespace {
		g.of.Twice = "namespace"
	}
	g.of.Namespace, g.of.In = namespace, true
	return g
}

// Under narrows the grant to keys (of realtime and presence: channels) that equal
// the prefix or go on after it with another segment: "acme" grants "acme" and
// "acme:1", not "acme2". Segments are separated by ':', those of storage paths by
// '/'. No segment of the prefix may be empty: "user:" grants nothing, since it is
// what "user:"+id is for a guest.
func (g Grant) Under(prefix string) Grant {
	if g.of.Under && g.of.Prefix != prefix {
		g.of.Twice = "prefix"
	}
	g.of.Prefix, g.of.Under = prefix, true
	return g
}

// WithData lets the data of messages, the metadata of members and the data of
// custom events through. Without it a stream says only that something happened.
func (g Grant) WithData() Grant {
	g.of.Data = true
	return g
}

// String describes the grant, as in "kv in todos under ada, with data".
func (g Grant) String() string { return g.of.String() }
