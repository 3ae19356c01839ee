package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// One session per user: who comes is let in, and who was there is sent away,
// whichever function of the policy sees to it.
func TestOneSessionPerUser(t *testing.T) {
	t.Parallel()
	revoke := func(in *inside) func(context.Context, realtime.Identity) error {
		return func(ctx context.Context, id realtime.Identity) error { return in.rt.Revoke(ctx, id.User) }
	}
	for where, set := range map[string]func(in *inside){
		"Authenticate": func(in *inside) { in.authenticate = revoke(in) },
		"Authenticate, with a context of its own": func(in *inside) {
			in.authenticate = func(ctx context.Context, id realtime.Identity) error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				return in.rt.Revoke(ctx, id.User)
			}
		},
		"Grants": func(in *inside) { in.grants = revoke(in) },
	} {
		for _, kind := range []string{"WebSocket", "WebSocket with a token in its hello", "WebSocket with both", "REN"} {
			if where == "Grants" && kind != "REN" {
				continue
			}
			bubble(t, where+"/"+kind, func(t *testing.T) {
				in := new(inside)
				set(in)
				h := in.start(t)
				other := h.sessions()["REN"]("bob")
				began := time.Now()
				old := h.sessions()[kind]("ada")
				for range 3 {
					comes := h.sessions()[kind]("ada")
					if why := old.ended(); why != "4403 revoked" {
						t.Errorf("the old one ended with %s", why)
					}
					if !comes.alive() {
						t.Error("the new one is dead")
					}
					other.alive()
					old = comes
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %v", took)
				}
				if users, _ := h.Remembered(); users != 2 {
					t.Errorf("%d users", users)
				}
			})
		}
	}
}

// The presence of the old session ends as well, and the user's limit has room.
func TestOneSessionPerUserIsPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		in.authenticate = func(ctx context.Context, id realtime.Identity) error {
			err := in.rt.Revoke(ctx, id.User)
			if members, _ := in.rt.Presence().Members(ctx, "room"); len(members) > 0 {
				t.Errorf("present after Revoke: %v", members)
			}
			return err
		}
		h := start(t, in.policy(), &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		in.rt = h.Realtime
		watch := h.presence()
		for range 3 {
			h.tab("ada", "room")
		}
		if got := story(watch); got != "ada join, ada leave closed, ada join, ada leave closed, ada join" {
			t.Errorf("told %q", got)
		}
	})
}

// A client that somebody revokes while it is being let in is turned away, even if the
// policy itself revokes at the same time.
func TestRevokedElsewhereWhileArriving(t *testing.T) {
	for _, verb := range []string{"Revoke", "Recheck"} {
		for _, path := range []string{"/ren", "/realtime", "/realtime?auth=hello"} {
			bubble(t, verb+" "+path, func(t *testing.T) {
				in := new(inside)
				in.authenticate = func(ctx context.Context, id realtime.Identity) error {
					err := in.rt.Revoke(ctx, id.User)
					time.Sleep(time.Second)
					return err
				}
				h := in.start(t)
				time.AfterFunc(time.Second/2, func() {
					if verb == "Revoke" {
						_ = h.Revoke(context.Background(), "ada")
					} else {
						_ = h.Recheck(context.Background(), "ada")
					}
				})
				if strings.HasSuffix(path, "hello") {
					s := h.dial(get(path))
					s.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
					if code, last := s.closed(); code != 4503 || last[0].Code != "unavailable" {
						t.Errorf("closed with %d, %+v", code, last)
					}
					return
				}
				ask := get(path, "Authorization", asAda)
				if path == "/realtime" {
					ask = get(path, append(upgrade, "Authorization", asAda)...)
				}
				if status, f := h.refused(ask); status != http.StatusServiceUnavailable || !*f.Retry {
					t.Errorf("%d %+v", status, f)
				}
			})
		}
	}
}

// A client that is being let in while the Authenticate of another client revokes its user
// is turned away.
func TestRevokedByAnotherArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		in.authenticate = func(ctx context.Context, id realtime.Identity) error {
			if id.Claims == "slow" {
				time.Sleep(time.Second)
				return nil
			}
			return in.rt.Revoke(ctx, id.User)
		}
		h := in.start(t)
		time.AfterFunc(time.Second/2, func() { h.ren(get("/ren", "Authorization", asAda)) })
		if status, f := h.refused(get("/ren", "Authorization", "Bearer ada,1h,slow")); status != http.StatusServiceUnavailable || !*f.Retry {
			t.Errorf("%d %+v", status, f)
		}
	})
}

// Renewals authenticate, too. The connection that renews is spared, unless it is
// refused after all.
func TestRevokeInARenewal(t *testing.T) {
	for token, want := range map[string]string{
		"ada,1h,":       "",
		"ada,1h,refuse": "4403 revoked",
		"ada,1h,later":  "4503 rotate",
	} {
		bubble(t, token, func(t *testing.T) {
			in := new(inside)
			in.authenticate = func(ctx context.Context, id realtime.Identity) error {
				if id.Expires.IsZero() {
					return nil
				}
				if err := in.rt.Revoke(ctx, "ada"); err != nil {
					t.Error(err)
				}
				switch id.Claims {
				case "refuse":
					return errNotAllowed
				case "later":
					return realtime.ErrTemporary
				}
				return nil
			}
			h := in.start(t)
			old, s := h.sessions()["REN"]("ada"), h.greet("ada")
			s.ok(subscribe("room"))
			s.ask(renew(token))
			if why := old.ended(); why != "4403 revoked" {
				t.Errorf("the other one ended with %s", why)
			}
			if want == "" {
				s.want("ok")
				h.publish("room", 1)
				s.data(1)
				return
			}
			code, last := s.closed()
			if got := fmt.Sprint(code, " ", last[len(last)-1].Reason); got != want {
				t.Errorf("ended with %s, want %s", got, want)
			}
		})
	}
}

// A user who is banned for what a message says: all connections end, that of the
// message included, and Allow does not wait for itself.
func TestRevokeInAllow(t *testing.T) {
	for name, own := range map[string]func(context.Context) context.Context{
		"its context": func(ctx context.Context) context.Context { return ctx },
		"another":     func(context.Context) context.Context { return context.Background() },
	} {
		bubble(t, name, func(t *testing.T) {
			in, returned := new(inside), make(chan error, 10)
			in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
				if a.Verb != realtime.VerbPublish {
					return nil
				}
				returned <- in.rt.Revoke(own(ctx), id.User)
				return errors.New("banned")
			}
			h := in.start(t)
			watch := h.presence()
			s, other := h.socket(get("/realtime", "Authorization", asAda)), h.sessions()["REN"]("ada")
			second := h.tab("ada", "room")
			s.ok(`"op":"join","channel":"room"`)
			s.ask(publish("room", "1"))
			if why := other.ended(); why != "4403 revoked" {
				t.Errorf("the stream ended with %s", why)
			}
			for _, s := range []*socket{s, second} {
				if code, _ := s.closed(); code != 4403 {
					t.Errorf("closed with %d", code)
				}
			}
			if err := <-returned; err != nil {
				t.Error(err)
			}
			if got := story(watch); got != "ada join, ada leave closed" {
				t.Errorf("told %q", got)
			}
		})
	}
	bubble(t, "two at once", func(t *testing.T) {
		in := new(inside)
		in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			time.Sleep(time.Millisecond)
			_ = in.rt.Revoke(ctx, id.User) // one of them ends the context of the other
			return errNotAllowed
		}
		h := in.start(t)
		one, two := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
		began := time.Now()
		one.ask(publish("room", "1"))
		two.ask(publish("room", "1"))
		for _, s := range []*socket{one, two} {
			if code, _ := s.closed(); code != 4403 {
				t.Errorf("closed with %d", code)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// Within a check: a policy that revokes, because the user is gone.
func TestRevokeInRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		var gone atomic.Bool
		revoke := func(ctx context.Context, id realtime.Identity) error {
			if !gone.Load() {
				return nil
			}
			if err := in.rt.Revoke(ctx, id.User); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			return errNotAllowed
		}
		in.grants = revoke
		in.allow = func(ctx context.Context, id realtime.Identity, _ realtime.Action) error { return revoke(ctx, id) }
		h := in.start(t)
		var all []opened
		for _, open := range h.sessions() {
			all = append(all, open("ada"), open("ada"))
		}
		gone.Store(true)
		h.recheck("ada")
		for _, s := range all {
			if why := s.ended(); why != "4403 revoked" && why != "4403 forbidden" {
				t.Errorf("ended with %s", why)
			}
		}
	})
}

// Requests of the host's own, and uploads, ask the same policy.
func TestRevokeInAuthorize(t *testing.T) {
	for _, what := range []string{"Authenticate", "Allow"} {
		for _, path := range []string{"/asked", "/api/storage/download?path=a"} {
			bubble(t, what+" "+path, func(t *testing.T) {
				in := new(inside)
				var on atomic.Bool
				revoke := func(ctx context.Context, id realtime.Identity) error {
					if !on.Load() {
						return nil
					}
					return errors.Join(in.rt.Recheck(ctx, id.User), in.rt.Revoke(ctx, id.User))
				}
				if what == "Authenticate" {
					in.authenticate = revoke
				} else {
					in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
						if a.Verb == realtime.VerbSubscribe {
							return nil
						}
						return revoke(ctx, id)
					}
				}
				h := prepare(t, in.policy(), nil)
				in.rt, h.handler = h.Realtime, wholeApp(t, h.Realtime)
				h.serve()
				s := h.socket(get("/ws", "Authorization", asAda))
				s.ok(subscribe("room"))
				on.Store(true)
				resp := h.do(t.Context(), get(path, "Authorization", asAda))
				resp.Body.Close()
				if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusForbidden {
					t.Errorf("answered %s", resp.Status)
				}
				if code, _ := s.closed(); code != 4403 {
					t.Errorf("closed with %d", code)
				}
			})
		}
	}
}
