package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
)

// What a stranger may answer, to whom somebody has sent a probe. A server's answer has
// some 5 KiB.
const (
	maxHeader   = 64 << 10
	maxAnswer   = 256 << 10
	maxMessages = 64
	maxQuoted   = 200 // bytes of a header in a finding
)

// Guard keeps a transport from what is never the address of a server for clients, and
// bounds the headers of answers. Names that a proxy looks up for the transport it cannot
// judge.
func Guard(t *http.Transport) {
	t.MaxResponseHeaderBytes = maxHeader
	if proxy := t.Proxy; proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if ofOwnLink(net.JoinHostPort(r.URL.Hostname(), "0")) {
				return nil, errOwnLink
			}
			return proxy(r)
		}
	}
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t.DialContext = guarded(dial)
	if t.DialTLSContext != nil {
		t.DialTLSContext = guarded(t.DialTLSContext)
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

var errOwnLink = errors.New("it is an address of the machine's own link, where clouds keep credentials, and not one of a server for clients")

// guarded refuses addresses before it connects, and those of names before anything is sent.
func guarded(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if ofOwnLink(addr) {
			return nil, errOwnLink
		}
		conn, err := dial(ctx, network, addr)
		if err == nil && ofOwnLink(conn.RemoteAddr().String()) {
			conn.Close()
			return nil, errOwnLink
		}
		return conn, err
	}
}

// metadata are addresses of services for machines of clouds that are not of the link by
// their form.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200"),
}

// embedding are the networks of IPv6 whose addresses stand for one of IPv4, which begins
// at a byte of theirs: RFC 6052, RFC 8215, RFC 3056 and RFC 4291, section 2.5.5.1. With
// RFC 8215 it depends on the network where it begins, and the usual place is the last.
var embedding = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"):   12,
	netip.MustParsePrefix("64:ff9b:1::/48"): 12,
	netip.MustParsePrefix("2002::/16"):      2,
	netip.MustParsePrefix("::/96"):          12,
}

// embedded returns the address of IPv4 that ip stands for, or ip.
func embedded(ip netip.Addr) netip.Addr {
	for network, at := range embedding {
		if network.Contains(ip) {
			b := ip.As16()
			return netip.AddrFrom4([4]byte(b[at : at+4]))
		}
	}
	return ip
}

func ofOwnLink(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = embedded(ip.Unmap().WithZone(""))
	if slices.Contains(metadata, ip) {
		return true
	}
	return ip.IsLinkLocalUnicast() || ip.IsMulticast()
}

// limited reads at most as much as an answer may have.
func limited(body io.Reader) io.Reader { return io.LimitReader(body, maxAnswer) }

// quoted quotes a header of an answer, which may be a stranger's.
func quoted(s string) string { return fmt.Sprintf("%.*q", maxQuoted, s) }

// Unlisted is the finding of a URL whose host the server refuses, so that there is
// nothing to be asked.
func Unlisted(u *url.URL) Finding {
	return fault("hosts", "Policy.Hosts does not list the host %q: all requests are refused with 421. Nothing was sent there.", u.Host)
}
