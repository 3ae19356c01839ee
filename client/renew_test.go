package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// issuer gives tokens that last for a minute each, of which the server takes those
// it has given itself.
type issuer struct {
	mu     sync.Mutex
	issued int
	takes  time.Duration // to issue one
	fails  func() error
	user   string
}

func (i *issuer) token(ctx context.Context) (string, error) {
	i.mu.Lock()
	takes, fails := i.takes, i.fails
	i.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if fails != nil {
		if err := fails(); err != nil {
			return "", err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued++
	return fmt.Sprintf("%s.%d", i.user, time.Now().Add(time.Minute).UnixMilli()), nil
}

func (i *issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func issued() (*issuer, realtime.Policy) {
	p := realtime.AllowAll()
	p.Authenticate = func(r *http.Request) (id realtime.Identity, err error) {
		var expires int64
		token := strings.Replace(testkit.Bearer(r), ".", " ", 1)
		if _, err := fmt.Sscan(token, &id.User, &expires); err != nil {
			return id, err
		}
		id.Expires = time.UnixMilli(expires)
		return id, nil
	}
	return &issuer{user: "ada"}, p
}

// present has a client follow the room, and be present in it.
func present(t *testing.T, i *issuer, p realtime.Policy) (h *host, loop, seen *tape) {
	t.Helper()
	h = start(t, p, nil)
	seen = record(t, func(ctx context.Context) eventSeq {
		return h.Events(ctx, realtime.EventMatch{Resource: "presence"})
	}, func(ev realtime.RenEvent) string { return ev.Type + ":" + ev.User })
	rt := h.realtime(&client.RealtimeOptions{Token: i.token})
	loop = messages(t, rt, "room")
	must(t, rt.Presence("room").Join(t.Context(), "", nil))
	seen.want(t, "presence.join:ada")
	return h, loop, seen
}

func TestRenewal(t *testing.T) {
	bubble(t, "over the connection that is open, ahead of time", func(t *testing.T) {
		i, p := issued()
		h, loop, seen := present(t, i, p)
		i.set(func() { i.takes = 3 * time.Second })
		var want []string
		for n := range 600 {
			time.Sleep(time.Second)
			h.publish("room", fmt.Sprint(n))
			want = append(want, fmt.Sprint(n))
		}
		loop.want(t, strings.Join(want, " "))
		seen.want(t, "")
		if n := len(h.asked()); n != 1 || i.issued != 12 {
			t.Errorf("%d connections, %d tokens", n, i.issued)
		}
	})

}

func TestLateRenewal(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": time.Second, "late": 20 * time.Second, "as late as may be": 29500 * time.Millisecond} {
		bubble(t, "a token that is there "+name+" is no end, and no leave", func(t *testing.T) {
			i, p := issued()
			h, loop, seen := present(t, i, p)
			began := time.Now()
			i.set(func() {
				i.fails = func() error {
					if time.Since(began) < time.Minute+late {
						return errors.New("nobody is there to sign it")
					}
					return nil
				}
			})
			time.Sleep(time.Minute + late + 32*time.Second)
			h.publish("room", "a")
			loop.want(t, "a")
			seen.want(t, "")
		})
	}

	bubble(t, "the token of another counts when the old one has expired", func(t *testing.T) {
		i, p := issued()
		h, loop, seen := present(t, i, p)
		i.set(func() { i.user = "bob" })
		time.Sleep(59 * time.Second)
		seen.want(t, "")
		h.publish("room", "a")
		loop.want(t, "a")
		time.Sleep(10 * time.Second)
		seen.want(t, "presence.join:bob")
		if n := len(h.asked()); n != 2 {
			t.Errorf("%d connections", n)
		}
	})

}

func TestRenRenewal(t *testing.T) {
	bubble(t, "a REN stream gives way to another one", func(t *testing.T) {
		i, p := issued()
		h := start(t, p, &realtime.Options{StreamLife: time.Hour})
		var s states
		_, loop := h.ren(&client.RenOptions{Token: i.token, OnState: s.on})
		synctest.Wait()
		i.set(func() { i.takes = 3 * time.Second })
		var want []string
		for n := range 1200 {
			time.Sleep(500 * time.Millisecond)
			h.emit(fmt.Sprint(n))
			want = append(want, fmt.Sprint(n))
			if n%100 == 0 {
				loop.want(t, strings.Join(want, " "))
				want = nil
			}
		}
		loop.want(t, strings.Join(want, " "))
		if n := len(h.asked()); n != 12 || i.issued != 12 || s.take() != "connecting open" {
			t.Errorf("%d streams, %d tokens", n, i.issued)
		}
	})

	bubble(t, "a REN stream with the same token each time lasts until it expires", func(t *testing.T) {
		i, p := issued()
		h := start(t, p, &realtime.Options{StreamLife: time.Hour})
		token, _ := i.token(t.Context())
		h.ren(&client.RenOptions{Token: func(context.Context) (string, error) { return token, nil }})
		time.Sleep(59 * time.Second)
		if n := len(h.asked()); n != 1 {
			t.Errorf("%d streams", n)
		}
	})
}
