package realtime_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A stream of fragments of one resource follows that alone, and knows who asks for it.
func TestFragmentsOfOneResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, items)
		if status, f := h.refused(get("/fragments", "X-Ren-Client", "short")); status != http.StatusBadRequest || f.Code != "bad_request" {
			t.Errorf("a bad client id: %d %+v", status, f)
		}
		page := h.fragments("X-Ren-Client", tab1)
		synctest.Wait()
		if all, _ := page.all(); !strings.Contains(all[0].Data, `"domains":["kv"]`) {
			t.Errorf("hello is %s", all[0].Data)
		}
	})
}

// finished renders items, and notes what it was asked to.
type finished struct {
	mu    sync.Mutex
	asked []string
}

func (f *finished) items(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
	f.mu.Lock()
	f.asked = append(f.asked, ev.Key)
	f.mu.Unlock()
	return items(ctx, to, ev)
}

// When a node closes, what a FragmentFunc is rendering then is not sent, what waits is not
// rendered, and the page goes on there elsewhere.
func TestFragmentsOfAClosingNode(t *testing.T) {
	for name, stalled := range map[string]bool{"while it renders": false, "while the page does not read": true} {
		bubble(t, name, func(t *testing.T) {
			var f finished
			release := make(chan struct{})
			h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
				err := f.items(ctx, to, ev)
				switch {
				case ev.Key == "a" && stalled:
					to.WriteString(strings.Repeat("x", 500_000))
				case ev.Key == "a":
					<-release // whatever becomes of ctx
				}
				return err
			})
			resp := h.do(t.Context(), get("/fragments"))
			defer resp.Body.Close()
			synctest.Wait()
			last := h.Cursor()
			h.emit(realtime.KVPut("n", "a"))
			synctest.Wait()
			if stalled {
				last = h.Cursor() // the page will have a
			}
			h.emit(realtime.KVPut("n", "b"))
			closed := make(chan error)
			go func() { closed <- h.Close(t.Context()) }()
			time.Sleep(time.Second)
			close(release)
			page := readFragments(resp)
			noError(t, <-closed)
			synctest.Wait()
			if words, id := renderedFrom("", page); !strings.HasSuffix(words, " bye end") || id != string(last) {
				t.Errorf("it goes on after %s, want %s: %.200s", id, last, words)
			}
			if !slices.Equal(f.asked, []string{"", "a"}) {
				t.Errorf("rendered: %q", f.asked)
			}
		})
	}
}

// The context of a FragmentFunc ends when that returns. A Revoke with what is left of it
// waits for the stream, as every other does.
func TestFragmentFuncThatHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := make(chan context.Context, 1)
		h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, _ realtime.RenEvent) error {
			kept <- ctx
			to.WriteString(strings.Repeat("x", 500_000))
			return nil
		})
		resp := h.do(t.Context(), get("/fragments", "Authorization", asAda)) // which does not read
		defer resp.Body.Close()
		ctx := <-kept
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
		noError(t, h.Revoke(context.WithoutCancel(ctx), "ada"))
		if open := h.Stats().REN.Open; open != 0 {
			t.Errorf("%d streams are open after Revoke", open)
		}
	})
}

// A Recheck that a FragmentFunc calls gives up a stream that renders, and waits for one that
// is merely busy.
func TestRecheckOfABusyStreamOfFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := open()
		policy.See = func(id realtime.Identity, ev realtime.RenEvent) bool {
			if id.User == "ada" && ev.Key == "busy" {
				time.Sleep(2010 * time.Millisecond) // Recheck looks at other times whether it renders
			}
			return true
		}
		var h *host
		h = withFragments(t, policy, nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
			if ev.Key == "recheck" && ctx.Value(userKey{}) == "bob" {
				if err := h.Recheck(ctx, "ada"); err != nil {
					t.Error(err)
				}
			}
			return items(ctx, to, ev)
		})
		inner := h.server.Handler
		h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
		})
		page := h.fragments("Authorization", asAda)
		h.fragments("Authorization", "Bearer bob")
		synctest.Wait()
		h.emit(realtime.KVPut("n", "busy"))
		h.emit(realtime.KVPut("n", "recheck"))
		time.Sleep(10 * time.Second)
		if got := rendered(page); got != "list=<ul>|</ul> item=<li>busy</li> item=<li>recheck</li>" {
			t.Errorf("%s", got)
		}
	})
}

type userKey struct{}
