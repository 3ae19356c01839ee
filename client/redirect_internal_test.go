package client

import (
	"net/url"
	"testing"
)

func TestSameServer(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"https://app.example/a", "https://app.example/b", true},
		{"https://app.example", "https://APP.example:443", true},
		{"http://app.example", "https://app.example", true},
		{"http://app.example:80", "https://app.example:443", true},
		{"ws://app.example", "https://app.example", true},
		{"wss://app.example", "https://app.example", true},
		{"http://app.example:8080", "https://app.example", false},
		{"http://app.example:8080", "https://app.example:8080", false},
		{"http://app.example", "https://app.example:8443", false},
		{"https://app.example", "http://app.example", false},
		{"https://app.example", "https://app.example:8443", false},
		{"https://app.example", "https://sub.app.example", false},
		{"https://sub.app.example", "https://app.example", false},
		{"https://app.example", "https://app.example.evil.test", false},
		{"https://app.example", "https://app.example@evil.test", false},
		{"http://[::1]:8080", "http://[::1]:8080/x", true},
		{"http://127.0.0.1:8080", "http://localhost:8080", false},
	} {
		from, _ := url.Parse(c.from)
		to, _ := url.Parse(c.to)
		if got := sameServer(from, to); got != c.want {
			t.Errorf("%s to %s: %v", c.from, c.to, got)
		}
	}
}

func TestTransportOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, to string
		want       bool
	}{
		{"https://app.example", "https://app.example/a", true},
		{"https://app.example", "https://APP.example:443/a", true},
		{"https://app.example:443/", "https://app.example/a", true},
		{"http://[::1]:8080", "http://[::1]:8080/a", true},
		{"https://app.example", "http://app.example/a", false},
		{"http://app.example", "https://app.example/a", false},
		{"https://app.example", "https://app.example:8443/a", false},
		{"https://app.example", "https://sub.app.example/a", false},
		{"", "https://app.example/a", false},
		{"", "/a", false},
		{"app.example", "https://app.example/a", false},
	} {
		to, _ := url.Parse(c.to)
		if got := (&Transport{Origin: c.origin}).meant(to); got != c.want {
			t.Errorf("an id for %q goes to %s: %v", c.origin, c.to, got)
		}
	}
}
