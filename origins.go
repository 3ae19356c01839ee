package realtime

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// checkOrigin refuses requests that a browser sends for a page of another site.
// Browsers name the source of a request in Sec-Fetch-Site, even if a proxy changes
// Host; older ones in Origin. Other programs send neither, and have no cookies of a
// user. The rule is that of [http.CrossOriginProtection], but also for reads.
func (rt *Realtime) checkOrigin(r *http.Request) *refusal {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch site {
	case "same-origin", "none":
		return nil
	case "":
		if origin == "" || sameOrigin(origin, r.Host) {
			return nil
		}
	}
	if rt.policy.listed(origin) {
		return nil
	}
	rt.log.DebugContext(r.Context(), "realtime: origin refused; see Policy.Origins",
		"origin", wire.Quote(origin), "site", wire.Quote(site), "host", wire.Quote(r.Host))
	return refuse(http.StatusForbidden, "origin", "cross-origin requests are refused")
}

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
func (host hostPort) withPort(scheme string) hostPort {
	if host.port == "" {
		host.port = defaultPorts[scheme]
	}
	return host
}

// listed reports whether an Origin header names one of Policy.Origins.
func (p *Policy) listed(origin string) bool {
	return origin != "" && slices.Contains(p.Origins, origin)
}

func (p *Policy) compileOrigins() error {
	origins := make([]string, 0, len(p.Origins)) // not in the caller's array
	for _, entry := range p.Origins {
		origin, err := serializeOrigin(entry)
		if err != nil {
			return fmt.Errorf("realtime: Policy.Origins: %s can never match: %w", wire.Quote(entry), err)
		}
		origins = append(origins, origin)
	}
	p.Origins = origins
	return nil
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
	host, ok := parseHost(u.Host)
	if !ok || strings.HasSuffix(u.Host, ":") {
		return "", errors.New("its host is no host in ASCII form (xn--…), or its port no port")
	}
	if strings.HasSuffix(u.Hostname(), ".") {
		host.name += "." // another origin for browsers
	}
	if strings.Contains(host.name, ":") {
		host.name = "[" + host.name + "]"
	}
	if host.port == "" || host.port == defaultPorts[u.Scheme] {
		return u.Scheme + "://" + host.name, nil
	}
	return u.Scheme + "://" + host.name + ":" + host.port, nil
}
