package site_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/web/site"
)

// An origin and a host are the same with the default port of the origin's scheme
// written or not, in whatever case, and whatever scheme the proxy has taken off.
func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://example.com", "example.com:443", true},
		{"https://example.com:443", "example.com", true},
		{"https://example.com:443", "example.com:443", true},
		{"http://example.com", "example.com:80", true},
		{"http://example.com:80", "example.com", true},
		{"HTTPS://Example.COM", "example.com:443", true},
		{"https://example.com", "EXAMPLE.com:443", true},
		{"https://example.com", "example.com.", true},
		{"https://example.com:8443", "example.com:8443", true},
		{"http://example.com:443", "example.com:443", true},
		{"http://[::1]", "[::1]:80", true},
		{"http://[::1]:8080", "[0:0::1]:8080", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"https://example.com", "example.com:80", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com:443", "example.com", false},
		{"https://example.com:80", "example.com", false},
		{"https://example.com", "example.com:8443", false},
		{"https://example.com:8443", "example.com", false},
		{"https://example.com", "www.example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com/x", "example.com", false},
		{"https://user@example.com", "example.com", false},
		{"https://example.com#", "example.com", false},
		{"https:example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"example.com", "example.com", false},
		{"ftp://example.com", "example.com", false},
		{"capacitor://localhost", "localhost", false},
		{"chrome-extension://example", "example", false},
		{"https://", "", false},
		{"https://:443", ":443", false},
		{"https://[::1", "[::1", false},
		{"https://*", "*", false},
		{"", "example.com", true}, // no browser
		{"null", "", false},
		{"https://example.com", "", false},
		{"https://example.com", "example.com:x", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = c.host
		r.Header.Set("Origin", c.origin)
		if got := site.IsOwn(r); got != c.want {
			t.Errorf("a page of %s at %s: %v", c.origin, c.host, got)
		}
	}
}

// What browsers say of the source of a request counts, whatever its host is.
func TestFetchSite(t *testing.T) {
	for said, want := range map[string]bool{"same-origin": true, "none": true, "same-site": false, "cross-site": false, "something-new": false} {
		for _, origin := range []string{"", "http://example.com", "http://renamed.by.proxy"} {
			r := httptest.NewRequest("GET", "http://example.com/", nil)
			r.Header.Set("Sec-Fetch-Site", said)
			r.Header.Set("Origin", origin)
			if got := site.IsOwn(r); got != want {
				t.Errorf("%s, from %q: %v", said, origin, got)
			}
		}
	}
}

func TestBadOrigins(t *testing.T) {
	for _, origin := range []string{
		"", "*", "null", "app.example.com", "//app.example.com", "https://app.example.com/", "https://a b",
		"https://*", "https://*.example.com", "https://app.example.com:*", "https://user@app.example.com", "https://user:pw@app.example.com",
		"https://@app.example.com", "https://app.example.com/x", "https://app.example.com?", "https://app.example.com?x", "https://app.example.com#",
		"https://bücher.example", "https://b\u00fccher.example:8443", "https://app.example.com:", "https://app.example.com:0", "https://app.example.com:x",
		"https://app.example.com:70000", "https://", "https:app.example.com", "file://", "file:///x", "wss://app.example.com", "ws://localhost:3000",
		"https://a..b", "https://[::1", "https://[fe80::1%25en0]", " https://app.example.com", "https://app.example.com ", "https://a.example,https://b.example",
		"https://a.example https://b.example", "about:blank", "data:text/html,x", "http://127.1", "http://2130706433:8080", "http://0x7f.0.0.1", "http://127.0.0.01", "http://app.example.1",
		"http://[::ffff:127.0.0.1]:8080", "https://%61pp.example.com",
	} {
		list, err := site.ParseOrigins([]string{"https://app.example.com", origin})
		if err == nil {
			t.Errorf("%q is taken for the origin %q", origin, list)
		}
		if list != nil {
			t.Errorf("%q: a list of %q is returned with %v", origin, list, err)
		}
	}
}

// The error says what is wrong, since browsers never send such an origin.
func TestBadOriginsAreExplained(t *testing.T) {
	for origin, want := range map[string]string{
		"https://*.example.com":          "no wildcards",
		"app.example.com":                "scheme://host",
		"file:///x":                      "scheme://host",
		"https://%zz":                    "scheme://host",
		"https://ada@app.example.com":    "user name",
		"https://app.example.com/":       "a slash included",
		"https://app.example.com?x":      "leave out what follows",
		"wss://app.example.com":          "http or https",
		"ws://app.example.com":           "http or https",
		"http://[::ffff:127.0.0.1]:8080": "IPv4",
		"https://app.example.com:":       "its port no port",
		"https://a..b":                   "no host",
	} {
		if _, err := site.ParseOrigins([]string{origin}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", origin, err)
		}
	}
}

// Origins are compared as browsers send them, however they are written in the
// policy, whose own list stays as it is.
func TestOriginsAsBrowsersSendThem(t *testing.T) {
	for entry, sent := range map[string]string{
		"https://app.example.com":                "https://app.example.com",
		"https://app.example.com:443":            "https://app.example.com",
		"http://app.example.com:80":              "http://app.example.com",
		"http://app.example.com:443":             "http://app.example.com:443",
		"https://app.example.com:08443":          "https://app.example.com:8443",
		"HTTPS://App.Example.COM":                "https://app.example.com",
		"https://app.example.com.":               "https://app.example.com.",
		"http://[0:0:0:0:0:0:0:1]:3000":          "http://[::1]:3000",
		"http://[::1]":                           "http://[::1]",
		"http://127.0.0.1:8080":                  "http://127.0.0.1:8080",
		"https://1.example.com":                  "https://1.example.com",
		"http://LOCALHOST:5173":                  "http://localhost:5173",
		"https://xn--bcher-kva.example":          "https://xn--bcher-kva.example",
		"capacitor://localhost":                  "capacitor://localhost",
		"chrome-extension://abcdefghijklmnopabc": "chrome-extension://abcdefghijklmnopabc",
	} {
		entries := []string{"https://other.example", entry}
		list, err := site.ParseOrigins(entries)
		if err != nil || !list.Match(sent) || list.Match("") || list.Match("https://more.example") || entry != sent && list.Match(entry) {
			t.Errorf("%s becomes %q, %v; browsers send %s", entry, list, err, sent)
		}
		if !slices.Equal(entries, []string{"https://other.example", entry}) {
			t.Errorf("the policy's list has become %q", entries)
		}
	}
}
