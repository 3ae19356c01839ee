package client_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
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
			type answer struct {
				token string
				err   error
			}
			var source atomic.Value
			source.Store(answer{"a\nb", nil})
			loop := follow(h, func(context.Context) (string, error) {
				a := source.Load().(answer)
				return a.token, a.err
			})
			warned := func(times int) {
				t.Helper()
				log := h.logs.Take()
				if strings.Count(log, `level=WARN msg="client: `) != times || strings.Contains(log, `a\nb`) {
					t.Errorf("want %d warnings, and got:\n%s", times, log)
				}
			}
			time.Sleep(time.Minute)
			warned(1)
			source.Store(answer{"ada\n", nil})
			time.Sleep(time.Minute)
			h.publish("room", "a")
			h.emit("a")
			loop.want(t, "a")
			warned(0)
			source.Store(answer{"", errors.New("no session")})
			h.listen.Cut()
			time.Sleep(time.Minute)
			warned(1)
		})
	}
}
