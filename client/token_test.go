package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/client"
)

// A token may end with a line break, as files do. One that cannot be had, or that no
// header can carry, is told once, until there has been a connection.
func TestOddTokens(t *testing.T) {
	for name, follow := range map[string]func(*host, func(context.Context) (string, error)) *tape{
		"REN": func(h *host, token func(context.Context) (string, error)) *tape {
			_, loop := h.ren(&client.RenOptions{Token: token, Subscriptions: []string{"kv"}})
			return loop
		},
		"channels": func(h *host, token func(context.Context) (string, error)) *tape {
			return messages(h.t, h.realtime(&client.RealtimeOptions{Token: token}), "room")
		},
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, byToken(), nil)
			token, err := "a\nb", error(nil)
			loop := follow(h, func(context.Context) (string, error) { return token, err })
			warned := func(what string) {
				t.Helper()
				log := h.logs.Take()
				if strings.Count(log, `level=WARN msg="client: `) != strings.Count(what, "x") || strings.Contains(log, `a\nb`) {
					t.Errorf("want %q, and got:\n%s", what, log)
				}
			}
			time.Sleep(time.Minute)
			warned("x")
			token = "ada\n"
			time.Sleep(time.Minute)
			h.publish("room", "a")
			h.emit("a")
			loop.want(t, "a")
			warned("")
			token, err = "", errors.New("no session")
			h.listen.Cut()
			time.Sleep(time.Minute)
			warned("x")
		})
	}
}
