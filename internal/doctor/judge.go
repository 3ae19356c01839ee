package doctor

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Finding is one thing that is wrong, or could be better.
type Finding struct {
	Code     string
	Problem  string
	Fault    bool
	Remedies map[string]string
}

// exam is all that the probes have brought.
type exam struct {
	url                   *url.URL
	heartbeat             time.Duration // of the server
	plain, packed, socket answer
}

// findings says what is wrong, faults first.
func (e *exam) findings() []Finding {
	var all []Finding
	for _, look := range []func() []Finding{e.reached, e.streams, e.sockets, e.rewritten, e.version} {
		for _, f := range look() {
			if !slices.ContainsFunc(all, func(have Finding) bool { return have.Code == f.Code }) {
				f.Remedies = remedies[f.Code]
				all = append(all, f)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

func rank(f Finding) int {
	if f.Fault {
		return 0
	}
	return 1
}

func fault(code, format string, args ...any) Finding {
	return Finding{Code: code, Problem: fmt.Sprintf(format, args...), Fault: true}
}

// reached finds requests that do not come to a node of the server.
func (e *exam) reached() (all []Finding) {
	if e.plain.status != http.StatusOK || !e.plain.isStream() {
		all = append(all, e.astray("ren", &e.plain))
	}
	// A WebSocket that is refused for its upgrade has come to the server.
	if s := &e.socket; s.seen == nil && s.status != http.StatusSwitchingProtocols && (len(all) == 0 || s.err != nil) {
		if f := e.astray("realtime", s); f.Code == "route" && len(all) == 0 {
			all = append(all, e.notUpgraded()) // by a proxy that knows no WebSockets: streams come through
		} else {
			all = append(all, f)
		}
	}
	return all
}

// astray says where a request has ended up.
func (e *exam) astray(name string, a *answer) Finding {
	at := e.url.JoinPath(name)
	switch {
	case a.err != nil:
		return fault("unreachable", "%s cannot be reached: %s.", at, a.reason())
	case a.status/100 == 3:
		return fault("redirect", "%s redirects to %s. WebSockets do not follow redirects: clients must use the last URL, and the answer must come from there.",
			at, quoted(a.header.Get("Location")))
	case a.ours():
		return fault("stranger", "%s is answered by a server of this library that does not know of this examination (%s): another deployment, "+
			"or a node with an older release.", at, a.reason())
	case a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		return fault("gateway", "A proxy answers for %s, since it does not reach the app (%s).", at, a.reason())
	case a.status == http.StatusOK && name == "ren":
		return fault("route", "%s answers with %s instead of a stream: the path leads elsewhere.", at, quoted(a.header.Get("Content-Type")))
	}
	return fault("route", "%s is answered by something else (%s): the path leads elsewhere, or somebody refuses the request.", at, a.reason())
}

func (e *exam) streams() (all []Finding) {
	p, c := &e.plain, &e.packed
	if p.held {
		all = append(all, fault("buffering", "The stream is held back: what the server sends at once arrives together with what it sends later. "+
			"Clients get events late, or never. Something in between buffers responses, although the server asks it not to (X-Accel-Buffering: no)."))
	}
	if c.held && !p.held {
		all = append(all, fault("compression", "The stream is compressed (%s) and held back until the compressor has enough. Browsers, which accept "+
			"compression, get events late; without compression the stream is not held back.", c.header.Get("Content-Encoding")))
	}
	if cut := max(p.cut, c.cut); cut != 0 {
		all = append(all, fault("idle", "The stream is ended after %.1f s in which nothing was sent. The server says something each %.1f s at the latest, "+
			"so that clients connect again and again. A timeout in between must be longer than that.", cut.Seconds(), e.heartbeat.Seconds()))
	}
	return all
}

func (e *exam) sockets() (all []Finding) {
	s := &e.socket
	switch {
	case s.seen != nil && s.status != http.StatusSwitchingProtocols:
		all = append(all, e.notUpgraded())
	case s.status != http.StatusSwitchingProtocols:
	default:
		if s.held {
			all = append(all, fault("buffering", "The WebSocket is held back: what the server sends at once arrives together with what it sends later."))
		}
		if s.cut != 0 {
			all = append(all, fault("idle", "The WebSocket is ended after %.1f s in which nothing was sent. The server says something each %.1f s at "+
				"the latest, so that clients connect again and again. A timeout in between must be longer than that.", s.cut.Seconds(), e.heartbeat.Seconds()))
		}
	}
	return all
}

func (e *exam) notUpgraded() Finding {
	s := &e.socket
	switch {
	case s.seen == nil:
		return fault("upgrade", "WebSockets are refused (%s) before they come to the server: a proxy does not know them, or is not allowed to pass them on.", s.reason())
	case s.seen.Proto == "HTTP/1.0":
		return fault("upgrade", "WebSockets come to the server as HTTP/1.0, which cannot carry them. Clients of channels cannot connect.")
	}
	return fault("upgrade", "The headers Upgrade and Connection of WebSockets do not come through. Clients of channels cannot connect.")
}

// rewritten compares what was sent with what has come.
func (e *exam) rewritten() (all []Finding) {
	want := origin(e.url)
	for _, a := range []*answer{&e.plain, &e.socket} {
		s := a.seen
		if s == nil {
			continue
		}
		if !sameHost(e.url, s.Host) {
			all = append(all, fault("host", "Requests for the host %q come to the server with the Host %q. Browsers that name their page's origin "+
				"only (on pages without TLS all of them) are refused with 403 origin, and Policy.Hosts does not recognise the app.", e.url.Host, s.Host))
		} else if s.Refusal != "" {
			all = append(all, fault("hosts", "Policy.Hosts does not list the host %q: all requests are refused with 421.", s.Host))
		}
		if s.Origin != want {
			all = append(all, fault("origin", "The Origin %q of requests comes to the server as %q. The server cannot tell the app's own pages from "+
				"those of other sites: it refuses the former, or lets the latter in.", want, s.Origin))
		}
		if !s.Headers {
			all = append(all, fault("headers", "The request headers Last-Event-ID and X-Ren-Client do not both come through. Streams that continue "+
				"miss events without them, or a tab does not recognise its own changes."))
		}
	}
	return all
}

// version advises against HTTP/1.1, where streams work.
func (e *exam) version() []Finding {
	if e.plain.seen == nil || e.plain.major >= 2 {
		return nil
	}
	const six = "Browsers open at most six connections to a host over HTTP/1.1, for all tabs together. Tabs with the SDK share one stream on secure pages; " +
		"other clients stop the page when six are open."
	if e.url.Scheme == "http" {
		return []Finding{{Code: "http1", Problem: "The URL has no TLS, without which browsers use HTTP/1.1. " + six}}
	}
	return []Finding{{Code: "http1", Problem: "The server or proxy at this URL offers HTTP/1.1 only. " + six}}
}

// sameHost reports whether a Host header names the host and port of a URL.
func sameHost(u *url.URL, host string) bool {
	got := &url.URL{Scheme: u.Scheme, Host: host}
	return strings.EqualFold(u.Hostname(), got.Hostname()) && port(u) == port(got)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// proxies lists, in order, the proxies that were recognised.
func (e *exam) proxies() (names []string) {
	for _, a := range []*answer{&e.plain, &e.packed, &e.socket} {
		names = append(names, named(a.header)...)
		if a.seen != nil {
			names = append(names, a.seen.Proxies...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// signs are the headers of requests and responses by which proxies are recognised:
// the name of the proxy, the header, and a part of its value in lower case.
var signs = [][3]string{
	{Nginx, "Server", "nginx"}, {Nginx, "Server", "openresty"}, {Caddy, "Server", "caddy"}, {Caddy, "Via", "caddy"},
	{Cloudflare, "Server", "cloudflare"}, {Cloudflare, "Cf-Ray", ""}, {AWS, "X-Amzn-Trace-Id", ""}, {AWS, "Server", "awselb"},
}

// named returns the proxies that have left their names in headers.
func named(h http.Header) (names []string) {
	for _, s := range signs {
		if value, there := h[http.CanonicalHeaderKey(s[1])]; there && strings.Contains(strings.ToLower(strings.Join(value, " ")), s[2]) {
			names = append(names, s[0])
		}
	}
	return names
}
