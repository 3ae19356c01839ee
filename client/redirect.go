package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const maxRedirects = 10 // as net/http follows by default

// stripped follows redirects, but removes the client's headers from requests to another
// server. net/http would pass on all headers that it does not know as secrets, and to
// subdomains even those.
func stripped(user func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if !staysAt(req, via) {
			kept := http.Header{}
			for _, name := range []string{"Accept", "Cache-Control"} {
				kept[name] = req.Header[name]
			}
			req.Header = kept
		}
		return follow(user, req, via)
	}
}

// confined refuses redirects to another server, since the hello of a WebSocket has the
// client id and the token.
func confined(user func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if !staysAt(req, via) {
			return fmt.Errorf("client: a redirect to another server, %s", req.URL.Host)
		}
		return follow(user, req, via)
	}
}

// follow applies the program's CheckRedirect, or the rule of net/http.
func follow(user func(*http.Request, []*http.Request) error, req *http.Request, via []*http.Request) error {
	switch {
	case user != nil:
		return user(req, via)
	case len(via) >= maxRedirects:
		return errors.New("client: stopped after 10 redirects")
	}
	return nil
}

// staysAt reports whether a request, and all those that have led to it, are for
// the server of the first. One that has left does not come back.
func staysAt(req *http.Request, via []*http.Request) bool {
	for _, r := range append(via[1:len(via):len(via)], req) {
		if !sameServer(via[0].URL, r.URL) {
			return false
		}
	}
	return true
}

// sameServer reports whether what is meant for one address may go to another: the
// scheme, the host and the port are the same, or an address without a port has
// become one of https. A subdomain is another server.
func sameServer(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	scheme, next := secure(from.Scheme), secure(to.Scheme)
	upgraded := !scheme && next && portOf(from) == "80" && portOf(to) == "443"
	return upgraded || scheme == next && portOf(from) == portOf(to)
}

func secure(scheme string) bool {
	return strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss")
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case secure(u.Scheme):
		return "443"
	}
	return "80"
}

// sameOrigin reports whether two addresses are of one origin (RFC 6454, section 5).
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) &&
		portOf(a) == portOf(b)
}
