package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// TestBadOptionsAreNamed: who makes a client that could never work is told so at
// once, with everything that is wrong.
func TestBadOptionsAreNamed(t *testing.T) {
	const good, short = "http://host.test/x", "ada"
	for _, c := range []struct {
		name string // in the error
		url  string
		id   string
		max  time.Duration
		want error
	}{
		{"ClientID", good, short, 0, realtime.ErrBadClientID},
		{"MaxBackoff is -1s", good, "", -time.Second, realtime.ErrBadOption},
		{`"/ren" is not an absolute URL`, "/ren", "", 0, realtime.ErrBadOption},
		{`"host.test/ren" is not an absolute URL`, "host.test/ren", "", 0, realtime.ErrBadOption},
		{`"http://:80/ren" is not an absolute URL`, "http://:80/ren", "", 0, realtime.ErrBadOption},
		{`"" is not an absolute URL`, "", "", 0, realtime.ErrBadOption},
		{"with the scheme http, https", "ftp://host.test/ren", "", 0, realtime.ErrBadOption},
		{"URL", "http://[", "", 0, realtime.ErrBadOption},
		{"ClientID", "http://[", short, -time.Second, realtime.ErrBadOption},
		{"MaxBackoff", "http://[", short, -time.Second, realtime.ErrBadClientID},
	} {
		rt, err := client.NewRealtime(c.url, &client.RealtimeOptions{ClientID: c.id, MaxBackoff: c.max})
		if rt != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("Realtime, %s: %v", c.name, err)
		}
		ren, err := client.NewRen(c.url, &client.RenOptions{ClientID: c.id, MaxBackoff: c.max})
		if ren != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("Ren, %s: %v", c.name, err)
		}
	}
	if ren, err := client.NewRen("ws://host.test/ren", nil); ren != nil || !errors.Is(err, realtime.ErrBadOption) {
		t.Errorf("a REN stream over a WebSocket: %v", err)
	}
	for _, scheme := range []string{"http", "https", "ws", "wss"} {
		rt, err := client.NewRealtime(scheme+"://host.test/realtime", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	}
}
