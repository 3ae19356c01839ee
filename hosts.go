package realtime

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// admit refuses requests for hosts that are not the app's, and requests that a
// browser sends for a page of another site.
func (rt *Realtime) admit(r *http.Request) *refusal {
	if f := rt.checkHost(r); f != nil {
		return f
	}
	return rt.checkOrigin(r)
}

// checkHost refuses requests for hosts that are not the app's. For a browser, any
// address that a page's host resolves to is the page's own origin. So only the name in
// Host tells a page of another site from the app's.
func (rt *Realtime) checkHost(r *http.Request) *refusal {
	if rt.policy.serves(r) {
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: host refused; see Policy.Hosts", "host", wire.Quote(r.Host))
	return refuse(http.StatusMisdirectedRequest, "host", "the host %s is not served here", wire.Quote(r.Host))
}

func (p *Policy) serves(r *http.Request) bool {
	switch {
	case len(p.hosts) > 0:
		host, ok := parseHost(r.Host)
		for _, listed := range p.hosts {
			if ok && listed.matches(host) {
				return true
			}
		}
		return false
	case p.allowAll && overLoopback(r):
		// Under AllowAll only the address keeps others out. A policy of the host does
		// so itself, and a proxy on the same machine may pass public names.
		host, ok := parseHost(r.Host)
		return ok && host.isLoopback()
	}
	return true
}

// overLoopback reports whether r came over a connection to a loopback address.
func overLoopback(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	addr, err := netip.ParseAddrPort(local.String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func (p *Policy) compileHosts() error {
	p.hosts = nil
	for _, entry := range p.Hosts {
		host, ok := parseHost(entry)
		if !ok || strings.HasSuffix(entry, ":") {
			return fmt.Errorf("realtime: Policy.Hosts: %s is neither a host nor host:port (no scheme, path or wildcard; "+
				"ASCII, as browsers send it; IPv6 in brackets)", wire.Quote(entry))
		}
		p.hosts = append(p.hosts, host)
	}
	return nil
}

// hostPort is a host, in the one form it has here, and a port, "" for the default.
type hostPort struct{ name, port string }

// matches reports whether an entry of Policy.Hosts covers the host of a request. A proxy
// may hide the scheme, so the default port may be that of either.
func (entry hostPort) matches(host hostPort) bool {
	if entry.name != host.name {
		return false
	}
	return entry.port == "" || entry.port == host.port || host.port == "" && (entry.port == "80" || entry.port == "443")
}

func (host hostPort) isLoopback() bool {
	if addr, err := netip.ParseAddr(host.name); err == nil {
		return addr.IsLoopback()
	}
	return host.name == "localhost" || strings.HasSuffix(host.name, ".localhost") // RFC 6761, section 6.3
}

// parseHost parses a Host header: RFC 9110, section 7.2. Names are in lower case
// and without the dot of the root, addresses as package netip writes them.
func parseHost(s string) (host hostPort, ok bool) {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		if name, port = s[:i], s[i+1:]; port != "" {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return host, false
			}
			port = strconv.FormatUint(n, 10)
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return host, false
		}
		return hostPort{addr.Unmap().String(), port}, true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return hostPort{name, port}, validHost(name)
}

// validHost reports whether a name has the form of a host's: labels of ASCII
// letters, digits, '-' and '_'.
func validHost(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.ContainsFunc(label, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) {
			return false
		}
	}
	return true
}
