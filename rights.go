package realtime

import (
	"context"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/doctor"
	"github.com/maravilla-realtime/realtime/internal/handle/deadletters"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/control"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
	"github.com/maravilla-realtime/realtime/internal/web/site"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Authorize asks the [Policy] whether the sender of a request may do a, for routes of
// the host's own. It refuses, in this order:
//
//  1. requests for hosts that are not among [Policy.Hosts];
//  2. requests other than GET, HEAD and OPTIONS that a browser sends for a page of
//     another site, like [http.CrossOriginProtection];
//  3. requests that Authenticate refuses, which has 30 s here;
//  4. actions that Allow refuses, which has 5 s.
//
// It blocks as long as these functions. The identity is valid if the error is nil.
// Otherwise the error is a [*RefusedError], for [WriteError].
func (rt *Realtime) Authorize(r *http.Request, a Action) (Identity, error) {
	rt.missAttribute(r)
	id, f := rt.authorize(r, a)
	if f != nil {
		rt.refusals.Add(f.From(r))
		return Identity{}, &RefusedError{Status: f.Status, Code: f.Code, Message: f.Message, Retry: f.Retry}
	}
	return id, nil
}

// missAttribute logs, once, that a request names a browser tab and has not come through
// Attribute: nothing else tells the host that tabs do not recognise their own events.
func (rt *Realtime) missAttribute(r *http.Request) {
	if wire.ValidClientID(r.Header.Get(clientHeader)) && clientID(r.Context()) == "" && rt.unattributed.CompareAndSwap(false, true) {
		rt.log.Warn("realtime: a request names a browser tab, but its handler is not within Attribute; tabs do not recognise their own events")
	}
}

func (rt *Realtime) authorize(r *http.Request, a Action) (Identity, *refused.Refusal) {
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
	id, f := rt.judge.Identify(policycall.Patiently(r))
	if f != nil {
		return Identity{}, f
	}
	return Identity(id), rt.judge.Permit(r.Context(), id, policy.Action{Verb: string(a.Verb), Name: a.Name, ID: a.ID})
}

// admit refuses requests for hosts that are not the app's, and requests that a
// browser sends for a page of another site.
func (rt *Realtime) admit(r *http.Request) *refused.Refusal {
	if f := rt.checkHost(r); f != nil {
		return f
	}
	return rt.checkOrigin(r).From(r)
}

// checkHost refuses requests for hosts that are not the app's. For a browser, any
// address that a page's host resolves to is the page's own origin. So only the name in
// Host tells a page of another site from the app's.
func (rt *Realtime) checkHost(r *http.Request) *refused.Refusal {
	if rt.policy.serves(r) || rt.probes.Recognises(r) { // a probe is told, not refused
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: host refused; see Policy.Hosts", "host", wire.Quote(r.Host))
	return refused.With(http.StatusMisdirectedRequest, "host", "the host %s is not served here", wire.Quote(r.Host)).From(r)
}

// checkOrigin refuses requests that a browser sends for a page of another site, unless
// its origin is listed.
func (rt *Realtime) checkOrigin(r *http.Request) *refused.Refusal {
	origin := site.Origin(r)
	if site.IsOwn(r) || rt.policy.origins.Match(origin) {
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: origin refused; see Policy.Origins",
		"origin", wire.Quote(origin), "site", wire.Quote(site.FetchSite(r)), "host", wire.Quote(r.Host))
	return refused.With(http.StatusForbidden, "origin", "cross-origin requests are refused").Because(
		fmt.Errorf("origin %s at host %s", wire.Quote(origin), wire.Quote(r.Host)))
}

// Revoke ends the connections of a user, or, with an empty userID, those of all
// anonymous clients. The clients are told not to come back, and the user leaves all
// channels. When Revoke returns nil, nothing more is delivered to these connections, on
// any node. It does not keep the user out: change the rights that the [Policy] reads
// before the call. An error means that ctx ended before all connections had, or names
// the nodes that have not confirmed. Revoke waits as long as ctx allows; if ctx has no
// deadline, 30 s for the connections of this node, and 5 s more for other nodes.
// [Realtime.Recheck] ends only the rights that the
// policy no longer grants.
//
// The policy may call it, with the context that it was given, or that of the
// request. In Authenticate, and in Grants of a new stream, it spares the connection
// that is being authenticated, so that "one session per user" is a Revoke before
// Authenticate returns. In Allow it ends the connection that asks as well, after the
// others, but does not wait for that one.
func (rt *Realtime) Revoke(ctx context.Context, userID string) error {
	return rt.rights.Revoke(ctx, userID)
}

// Recheck asks the [Policy] again about everything that the connections of a user
// have: Grants for each REN stream, Allow for each channel that is subscribed to or
// joined. With an empty userID it does so for all anonymous clients. When it returns
// nil, nothing is delivered that is no longer allowed, on any node, and the user has
// left the channels where they must not be present. What is still allowed continues
// without a gap.
//
// If the policy does not answer within 5 s, the right is taken away until the client
// asks again. A client that cannot be told within half a second, since it reads too
// slowly, is disconnected, and checked when it reconnects.
//
// The [Identity] stays as Authenticate gave it, so the policy must look up rights that
// change. Recheck waits as long as [Realtime.Revoke]. An error means that ctx ended, or
// the Realtime was closed, before all connections were checked, or names the nodes that
// have not confirmed. If ctx ends, the check continues, and no right is lost by that.
//
// The policy may call Recheck, with the context that it was given, or that of the
// request. It then waits at most half a second for an operation of another connection,
// which may itself wait for this one: that connection is checked when its operation is
// done. A connection that is being checked is not asked about again.
func (rt *Realtime) Recheck(ctx context.Context, userID string) error {
	return rt.rights.Recheck(ctx, userID)
}

func (rt *Realtime) newRights() *rights.Rights {
	node := rights.Node{
		Conns: rt.conns, Logger: rt.log,
		Leave: func(ctx context.Context, userID string) {
			rt.presence.members.EndAll(ctx, rt.presence.inner.LeavingOf(userID), presence.Closed, 0)
		},
	}
	if !rt.alone() {
		node.Everywhere = func(ctx context.Context, what, userID string) error { return rt.control.Everywhere(ctx, what, userID) }
	}
	return rights.New(node)
}

func (rt *Realtime) newControl() *control.Control {
	return control.New(control.Node{
		Name:  rt.presence.inner.Name,
		Nodes: rt.presence.inner.Nodes,
		Append: func(ctx context.Context, e backend.Entry) error {
			return bounded.Public(rt.publisher.AppendControl(ctx, e))
		},
		Do: map[string]func(context.Context, string) error{
			control.Revoke: rt.rights.RevokeHere, control.Recheck: rt.rights.RecheckHere, doctor.Announce: rt.probes.Expect,
		},
		Asks:   map[string]control.Ask{deadletters.Ask: rt.retries.Asked()},
		Logger: rt.log, Running: rt.running, Go: rt.background.Go,
	})
}
