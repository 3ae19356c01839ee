package realtime

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/site"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// compileSite compiles Hosts and Origins.
func (p *Policy) compileSite() error {
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

// admit refuses requests for hosts that are not the app's, and requests that a
// browser sends for a page of another site.
func (rt *Realtime) admit(r *http.Request) *refusal {
	if f := rt.checkHost(r); f != nil {
		return f
	}
	return rt.checkOrigin(r).from(r)
}

// checkHost refuses requests for hosts that are not the app's. For a browser, any
// address that a page's host resolves to is the page's own origin. So only the name in
// Host tells a page of another site from the app's.
func (rt *Realtime) checkHost(r *http.Request) *refusal {
	if rt.policy.serves(r) || rt.probes.recognises(r) { // a probe is told, not refused
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: host refused; see Policy.Hosts", "host", wire.Quote(r.Host))
	return refuse(http.StatusMisdirectedRequest, "host", "the host %s is not served here", wire.Quote(r.Host)).from(r)
}

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

// checkOrigin refuses requests that a browser sends for a page of another site, unless
// its origin is listed.
func (rt *Realtime) checkOrigin(r *http.Request) *refusal {
	origin := r.Header.Get("Origin")
	if site.IsOwn(r) || rt.policy.origins.Match(origin) {
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: origin refused; see Policy.Origins",
		"origin", wire.Quote(origin), "site", wire.Quote(r.Header.Get("Sec-Fetch-Site")), "host", wire.Quote(r.Host))
	return refuse(http.StatusForbidden, "origin", "cross-origin requests are refused").because(
		fmt.Errorf("origin %s at host %s", wire.Quote(origin), wire.Quote(r.Host)))
}
