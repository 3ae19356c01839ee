package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// TestBadOptionsAreNamed: a client that cannot work says which option is wrong.
func TestBadOptionsAreNamed(t *testing.T) {
	for _, c := range []struct {
		name string
		id   string
		max  time.Duration
		want error
	}{
		{"ClientID", "ada", 0, realtime.ErrBadClientID},
		{"MaxBackoff", "", -time.Second, realtime.ErrBadOption},
	} {
		rt := client.NewRealtime("http://host.test/realtime", &client.RealtimeOptions{ClientID: c.id, MaxBackoff: c.max})
		err := rt.Publish(t.Context(), "room", 1)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("Realtime, %s: %v", c.name, err)
		}
		rt.Close()
		ren := client.NewRen("http://host.test/ren", &client.RenOptions{ClientID: c.id, MaxBackoff: c.max})
		for _, err := range ren.Events(t.Context()) {
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.name) {
				t.Errorf("Ren, %s: %v", c.name, err)
			}
			break
		}
	}
}
