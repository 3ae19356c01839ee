// Package site tells the app's own hosts and web origins from those of others.
package site

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// OverLoopback reports whether r came over a connection to a loopback address.
func OverLoopback(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	addr, _ := netip.ParseAddrPort(local.String()) // after an error it is no address
	return addr.Addr().Unmap().IsLoopback()
}

// Hosts lists hosts that an app serves.
type Hosts []host

// ParseHosts returns a list of entries host or host:port.
func ParseHosts(entries []string) (list Hosts, err error) {
	for _, entry := range entries {
		h, ok := parseHost(entry)
		if !ok || strings.HasSuffix(entry, ":") {
			return nil, fmt.Errorf("%s is neither a host nor host:port (no scheme, path or wildcard; "+
				"ASCII, as browsers send it; IPv4 as 127.0.0.1; IPv6 in brackets)", wire.Quote(entry))
		}
		list = append(list, h)
	}
	return list, nil
}

// Match reports whether the list has the host of a Host header.
func (list Hosts) Match(header string) bool {
	h, ok := parseHost(header)
	return ok && slices.ContainsFunc(list, func(entry host) bool { return entry.matches(h) })
}

// IsLoopback reports whether a Host header names this machine.
func IsLoopback(header string) bool {
	h, ok := parseHost(header)
	return ok && h.isLoopback()
}

// host is a host, in the one form it has here, and its port, "" for the default.
type host struct{ name, port string }

// matches reports whether an entry of Hosts covers the host of a request. A proxy
// may hide the scheme, so the default port may be that of either.
func (entry host) matches(h host) bool {
	if entry.name != h.name {
		return false
	}
	return entry.port == "" || entry.port == h.port || h.port == "" && (entry.port == "80" || entry.port == "443")
}

func (h host) isLoopback() bool {
	if addr, err := netip.ParseAddr(h.name); err == nil {
		return addr.IsLoopback()
	}
	return h.name == "localhost" || strings.HasSuffix(h.name, ".localhost") // RFC 6761, section 6.3
}

// parseHost parses a Host header: RFC 9110, section 7.2. Names are in lower case
// and without the dot of the root, addresses as package netip writes them.
func parseHost(s string) (h host, ok bool) {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		if name, port = s[:i], s[i+1:]; port != "" {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return h, false
			}
			port = strconv.FormatUint(n, 10)
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, _ := netip.ParseAddr(inner) // after an error it is none of IPv6
		if !ok || !addr.Is6() || addr.Zone() != "" {
			return h, false
		}
		return host{addr.Unmap().String(), port}, true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return host{name, port}, validHost(name) && !isShortAddress(name)
}

// isShortAddress reports whether a name is an IPv4 address in a form that browsers do not
// send: they write 127.0.0.1 for 127.1, 0x7f.1 and 2130706433. Any name whose last label
// is a number is an address: WHATWG URL, section 3.5.
func isShortAddress(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	hex, isHex := strings.CutPrefix(last, "0x")
	switch {
	case isHex && strings.Trim(hex, "0123456789abcdef") == "":
	case strings.Trim(last, "0123456789") == "":
	default:
		return false
	}
	_, err := netip.ParseAddr(name)
	return err != nil
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
