package site

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Origins lists web origins, as browsers send them.
type Origins []string

// ParseOrigins returns a list of origins scheme://host or scheme://host:port.
func ParseOrigins(entries []string) (Origins, error) {
	list := make(Origins, 0, len(entries)) // not in the caller's array
	for _, entry := range entries {
		origin, err := serializeOrigin(entry)
		if err != nil {
			return nil, fmt.Errorf("%s can never match: %w", wire.Quote(entry), err)
		}
		list = append(list, origin)
	}
	return list, nil
}

// Match reports whether the list has the origin of an Origin header.
func (list Origins) Match(header string) bool { return slices.Contains(list, header) }

// IsOwn reports whether a request does not come from a page of another site. Browsers
// name the source of a request in Sec-Fetch-Site, even if a proxy changes Host; older
// ones in Origin. Other programs send neither, and have no cookies of a user. The rule is
// that of [http.CrossOriginProtection], but also for reads.
func IsOwn(r *http.Request) bool {
	switch FetchSite(r) {
	case "same-origin", "none":
		return true
	case "":
		origin := Origin(r)
		return origin == "" || sameOrigin(origin, r.Host)
	}
	return false
}

// Origin returns the Origin header of a request, "" if it has none. Of several, which no
// browser sends, it returns all, and so what is nobody's origin: they must not be judged by
// one of them.
func Origin(r *http.Request) string { return whole(r, "Origin") }

// FetchSite returns the Sec-Fetch-Site header of a request, as [Origin] does.
func FetchSite(r *http.Request) string { return whole(r, "Sec-Fetch-Site") }

func whole(r *http.Request, name string) string { return strings.Join(r.Header.Values(name), ", ") }

// sameOrigin reports whether an Origin header names the host of a Host header. A proxy
// may hide the scheme, so either scheme matches, and its default port may be
// missing on either side.
func sameOrigin(origin, host string) bool {
	scheme, authority, _ := strings.Cut(origin, "://")
	scheme = strings.ToLower(scheme)
	if scheme != "http" && scheme != "https" {
		return false
	}
	page, ok1 := parseHost(authority)
	server, ok2 := parseHost(host)
	return ok1 && ok2 && page.withPort(scheme) == server.withPort(scheme)
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// withPort returns the host with the default port of a scheme where it has none.
func (h host) withPort(scheme string) host {
	if h.port == "" {
		h.port = defaultPorts[scheme]
	}
	return h
}

// serializeOrigin returns an origin as browsers send it (WHATWG HTML, section
// 7.1.1): scheme and host in lower case, and no port that is the scheme's default.
func serializeOrigin(entry string) (string, error) {
	u, err := url.Parse(entry)
	switch {
	case strings.Contains(entry, "*"):
		return "", errors.New("there are no wildcards; list each origin")
	case err != nil, u.Scheme == "", u.Host == "":
		return "", errors.New("an origin is scheme://host or scheme://host:port")
	case u.User != nil:
		return "", errors.New("an origin has no user name")
	case strings.Count(entry, "/") > 2, strings.ContainsAny(entry, "?#"):
		return "", errors.New("an origin ends with its host or port; leave out what follows, a slash included")
	case u.Scheme == "ws" || u.Scheme == "wss":
		return "", errors.New("the origin is that of the page, http or https")
	}
	h, ok := parseHost(u.Host)
	if addr, _ := netip.ParseAddr(u.Hostname()); addr.Is4In6() {
		return "", errors.New("it is an IPv4 address, which is another origin than its form in IPv6")
	}
	if !ok || strings.HasSuffix(u.Host, ":") {
		return "", errors.New("its host is no host in the form of browsers (xn--…, 127.0.0.1), or its port no port")
	}
	if strings.HasSuffix(u.Hostname(), ".") {
		h.name += "." // another origin for browsers
	}
	if strings.Contains(h.name, ":") {
		h.name = "[" + h.name + "]"
	}
	if h.port == "" || h.port == defaultPorts[u.Scheme] {
		return u.Scheme + "://" + h.name, nil
	}
	return u.Scheme + "://" + h.name + ":" + h.port, nil
}
