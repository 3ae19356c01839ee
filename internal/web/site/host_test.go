package site_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/web/site"
)

// Which hosts of requests a list has.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		hosts []string
		host  string
		want  bool
	}{
		{[]string{"app.example.com"}, "app.example.com", true},
		{[]string{"app.example.com"}, "APP.Example.com", true},
		{[]string{"App.EXAMPLE.com"}, "app.example.com", true},
		{[]string{"app.example.com"}, "app.example.com.", true},
		{[]string{"app.example.com."}, "app.example.com", true},
		{[]string{"app.example.com."}, "app.example.com.:8443", true},
		{[]string{"app.example.com"}, "app.example.com:443", true},
		{[]string{"app.example.com"}, "app.example.com:8443", true},
		{[]string{"app.example.com"}, "app.example.com:", true}, // RFC 9110, section 4.2.3
		{[]string{"app.example.com"}, "app.example.com..", false},
		{[]string{"app.example.com"}, "app.example.com:x", false},
		{[]string{"app.example.com"}, "app.example.com:0", false},
		{[]string{"app.example.com"}, "app.example.com:65536", false},
		{[]string{"app.example.com"}, "x.app.example.com", false},
		{[]string{"app.example.com"}, "app.example.com.evil.test", false},
		{[]string{"app.example.com"}, "evil.test", false},
		{[]string{"app.example.com"}, "evil.test#app.example.com", false},
		{[]string{"app.example.com"}, "user@app.example.com", false},
		{[]string{"app.example.com"}, "", false},
		{[]string{"app.example.com"}, ".", false},
		{[]string{"app.example.com"}, ":80", false},
		{[]string{"app.example.com"}, "localhost", false},
		{[]string{"app.example.com"}, "127.0.0.1", false},
		{[]string{"app.example.com:443"}, "app.example.com", true},
		{[]string{"app.example.com:80"}, "app.example.com", true},
		{[]string{"app.example.com:443"}, "app.example.com:443", true},
		{[]string{"app.example.com:443"}, "app.example.com:8443", false},
		{[]string{"app.example.com:8443"}, "app.example.com:8443", true},
		{[]string{"app.example.com:8443"}, "app.example.com:08443", true},
		{[]string{"app.example.com:8443"}, "app.example.com", false},
		{[]string{"[::1]"}, "[::1]:8080", true},
		{[]string{"[0:0:0:0:0:0:0:1]:8080"}, "[::1]:8080", true},
		{[]string{"[2001:DB8::1]"}, "[2001:db8::1]", true},
		{[]string{"[::1]:8080"}, "[::1]:8081", false},
		{[]string{"[::1]"}, "::1", false},
		{[]string{"[::1]"}, "[::1", false},
		{[]string{"[::1]"}, "[::1]x", false},
		{[]string{"[::1]"}, "[::2]", false},
		{[]string{"192.0.2.1"}, "192.0.2.1:8080", true},
		{[]string{"192.0.2.1"}, "[::ffff:192.0.2.1]", true},
		{[]string{"other.example", "app.example.com"}, "app.example.com", true},
		{[]string{"xn--bcher-kva.example"}, "xn--bcher-kva.example", true},
		{[]string{"my_host"}, "my_host:8080", true},
		{[]string{strings.Repeat("a", 253)}, strings.Repeat("A", 253), true},
		{[]string{"1a.example"}, "1a.example", true},
		{[]string{"example.0xyz"}, "example.0xyz", true},
		{nil, "app.example.com", false},
	} {
		list, err := site.ParseHosts(c.hosts)
		if err != nil {
			t.Errorf("%q: %v", c.hosts, err)
		}
		if got := list.Match(c.host); got != c.want {
			t.Errorf("%q for %q: %v", c.hosts, c.host, got)
		}
	}
}

func TestBadHosts(t *testing.T) {
	for _, entry := range []string{
		"", " ", "*", "*.example.com", "https://app.example.com", "app.example.com/", "app.example.com/x", "user@app.example.com",
		"app.example.com:", "app.example.com:x", "app.example.com:0", "app.example.com:70000", "a b", "bücher.example", "app..example", ".",
		"::1", "[::1", "[::1]:", "[fe80::1%eth0]", "[127.0.0.1]", "a,b", strings.Repeat("a", 254), "app.example.com?x", "app.example.com#x",
		"127.1", "2130706433", "0x7f.1:8080", "127.0.0.01", "app.example.1", "0x",
		"app.example.0xf", "-\u00e4", "a{", "a`", "a/", "[::1:80", "[::1]x:80", "::ffff:127.0.0.1",
	} {
		if list, err := site.ParseHosts([]string{"app.example.com", entry}); err == nil || list != nil {
			t.Errorf("%q is taken for a host: %v", entry, list)
		} else if len(err.Error()) > 400 {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

// What names this machine, and which connections come from it.
func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST.": true, "app.localhost": true, "a.b.localhost.:8080": true,
		"127.0.0.1:8080": true, "127.8.9.10": true, "[::1]:8080": true, "[::ffff:127.0.0.1]": true,
		"rebind.test": false, "rebind.test:8080": false, "localhost.rebind.test": false, "notlocalhost": false, "127.0.0.1.rebind.test": false,
		"128.0.0.1": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.168.1.2": false, "": false, "localhost:x": false, "127.1": false,
		"evil test.localhost": false, "evil.test#.localhost": false, "x@.localhost": false, "rebind.test\\.localhost": false,
	} {
		if got := site.IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8080} }
	for _, c := range []struct {
		local net.Addr
		want  bool
	}{
		{tcp("127.0.0.1"), true}, {tcp("127.9.9.9"), true}, {tcp("::1"), true}, {tcp("::ffff:127.0.0.1"), true},
		{tcp("192.168.1.2"), false}, {tcp("0.0.0.0"), false}, {&net.UnixAddr{Name: "/run/app.sock", Net: "unix"}, false}, {nil, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		if got := site.OverLoopback(r); got != c.want {
			t.Errorf("a connection to %v: %v", c.local, got)
		}
	}
}
