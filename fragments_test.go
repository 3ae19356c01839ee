package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// withFragments serves /fragments beside the library's own routes.
func withFragments(t *testing.T, policy realtime.Policy, opts *realtime.Options, m realtime.EventMatch, render realtime.FragmentFunc) *host {
	h := prepare(t, policy, opts)
	library := h.handler
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fragments" {
			h.Fragments(w, r, m, render)
			return
		}
		library.ServeHTTP(w, r)
	})
	h.serve()
	return h
}

// fragments follows a stream of fragments.
func (h *host) fragments(header ...string) *inbox[sse.Event] {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	resp := h.do(ctx, get("/fragments", header...))
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("%s: %s", resp.Status, body)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return readFragments(resp)
}

// readFragments reads a stream of fragments as fast as it comes.
func readFragments(resp *http.Response) *inbox[sse.Event] {
	box := newInbox[sse.Event]()
	go func() {
		defer box.close()
		r := sse.NewReader(resp.Body, 1<<20)
		for {
			ev, err := r.Next()
			if err != nil {
				return
			}
			box.put(ev)
		}
	}()
	return box
}

// rendered returns, in a bubble, the fragments that have come, and what the stream said as
// its last word.
func rendered(box *inbox[sse.Event]) string {
	synctest.Wait()
	words, _ := renderedFrom("", box)
	return words
}

// renderedFrom is rendered of a page with a last event id, and says what that is then.
func renderedFrom(id string, box *inbox[sse.Event]) (_, lastID string) {
	var words []string
	all, more := box.all()
	for _, ev := range all {
		id = ev.ID
		if word, own := strings.CutPrefix(ev.Name, "ren."); !own {
			words = append(words, ev.Name+"="+strings.ReplaceAll(ev.Data, "\n", "|"))
		} else if word != "hello" && word != "ping" {
			words = append(words, word)
		}
	}
	if !more {
		words = append(words, "end")
	}
	return strings.Join(words, " "), id
}

func items(_ context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
	switch {
	case ev.Type == "":
		to.Event = "list"
		fmt.Fprint(to, "<ul>\n</ul>")
	case ev.Key == "skip":
	case ev.Key == "broken":
		return errors.New("no template")
	case ev.Key == "panic":
		panic("no template at all")
	default:
		to.Event = "item"
		fmt.Fprintf(to, "<li>%s%s</li>", ev.Key, ev.Data)
	}
	return nil
}

func TestFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv", Namespace: "todos"}, items)
		page := h.fragments()
		h.emit(realtime.KVPut("todos", "a"))
		h.emit(realtime.KVPut("others", "b"))
		h.emit(realtime.KVPut("todos", "skip"))
		h.emit(realtime.DocumentCreated("todos", "c"))
		h.emit(realtime.KVPut("todos", "d"))
		if got := rendered(page); got != "list=<ul>|</ul> item=<li>a</li> item=<li>d</li>" {
			t.Errorf("%s", got)
		}
		// It comes back with the id of the last fragment.
		cursor := h.Cursor()
		h.emit(realtime.KVPut("todos", "e"))
		if got := rendered(h.fragments("Last-Event-ID", string(cursor))); got != "item=<li>e</li>" {
			t.Errorf("resumed: %s", got)
		}
		if got := rendered(h.fragments("Last-Event-ID", "garbage")); got != "list=<ul>|</ul>" {
			t.Errorf("after a reset: %s", got)
		}
		if got := rendered(page); got != "item=<li>e</li>" {
			t.Errorf("%s", got)
		}
		// A render that fails ends its stream, and no other connection.
		for _, key := range []string{"broken", "panic"} {
			page := h.fragments()
			h.emit(realtime.KVPut("todos", key))
			if got := rendered(page); got != "list=<ul>|</ul> bye end" {
				t.Errorf("%s: %s", key, got)
			}
		}
		log := h.logs.String()
		for _, want := range []string{`msg="realtime: a fragment was not rendered; the stream ends" type=kv.put error="no template"`, "no template at all"} {
			if !strings.Contains(log, want) {
				t.Errorf("%s is not logged:\n%s", want, log)
			}
		}
	})
}

// No cursor that a page has covers what was not rendered.
func TestFragmentsNotRendered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken, slow atomic.Bool
		started := make(chan struct{}, 1)
		h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
			if slow.Load() && ev.Type != "" {
				started <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			if broken.Load() {
				return errors.New("no database")
			}
			return items(ctx, to, ev)
		})
		page := &returningPage{host: h}
		nothing := func() {}

		broken.Store(true)
		if got := page.comes(nothing); got != "bye end" {
			t.Errorf("broken at the start: %s", got)
		}
		broken.Store(false)
		if got := page.comes(func() { broken.Store(true); h.emit(realtime.KVPut("todos", "a")) }); got != "list=<ul>|</ul> bye end" {
			t.Errorf("after that: %s", got)
		}
		// It may never be rendered, so all is.
		broken.Store(false)
		if got := page.comes(nothing); got != "list=<ul>|</ul>" {
			t.Errorf("after an event that was not rendered: %s", got)
		}
		// A stream that ends for another reason goes on where it was.
		slow.Store(true)
		if got := page.comes(func() {
			h.emit(realtime.KVPut("todos", "b"))
			<-started
			h.emit(realtime.KVPut("todos", "c"))
			if err := h.Revoke(t.Context(), ""); err != nil {
				t.Error(err)
			}
		}); got != "bye end" {
			t.Errorf("ended while it rendered: %s", got)
		}
		slow.Store(false)
		if got := page.comes(nothing); got != "item=<li>b</li> item=<li>c</li>" {
			t.Errorf("after that: %s", got)
		}
	})
}

// returningPage is a page that comes back as an EventSource does.
type returningPage struct {
	*host
	lastID string
}

// comes opens the page, and says what it got.
func (p *returningPage) comes(do func()) string {
	var header []string
	if p.lastID != "" {
		header = []string{"Last-Event-ID", p.lastID}
	}
	page := p.fragments(header...)
	synctest.Wait()
	do()
	synctest.Wait()
	var got string
	got, p.lastID = renderedFrom(p.lastID, page)
	if err := p.Revoke(p.t.Context(), ""); err != nil { // it is closed
		p.t.Error(err)
	}
	return got
}

// Streams of fragments have the rights of REN streams, and end as they do.
func TestFragmentsRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var grant atomic.Value
		grant.Store("todos")
		policy := open()
		policy.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			if grant.Load() == "" {
				return nil, nil
			}
			return []realtime.Grant{realtime.GrantAll("kv").In(grant.Load().(string))}, nil
		}
		policy.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return ev.Key != "hidden" }
		h := withFragments(t, policy, nil, realtime.EventMatch{}, items)
		if status, f := h.refused(get("/fragments", "Authorization", "Bearer bad")); status != 401 || f.Code != "unauthorized" {
			t.Errorf("%d %+v", status, f)
		}
		page := h.fragments("Authorization", asAda)
		for _, key := range []string{"a", "hidden"} {
			h.emit(realtime.KVPut("todos", key))
			h.emit(realtime.KVPut("others", key))
		}
		if got := rendered(page); got != "list=<ul>|</ul> item=<li>a</li>" {
			t.Errorf("%s", got)
		}
		grant.Store("others")
		if err := h.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		h.emit(realtime.KVPut("todos", "b"))
		h.emit(realtime.KVPut("others", "c"))
		if got := rendered(page); got != "item=<li>c</li>" {
			t.Errorf("after Recheck: %s", got)
		}
		time.Sleep(2 * time.Minute) // heartbeats
		if err := h.Revoke(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		h.emit(realtime.KVPut("others", "d"))
		if got := rendered(page); got != "bye end" {
			t.Errorf("after Revoke: %s", got)
		}
		page = h.fragments("Authorization", asAda)
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := rendered(page); got != "list=<ul>|</ul> bye end" {
			t.Errorf("after Close: %s", got)
		}
	})
}

// A page that does not read does not hold the server, and a call that cannot serve says so.
func TestFragmentsOfABadCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := withFragments(t, open(), nil, realtime.EventMatch{Resource: "[["}, items)
		if status, f := h.refused(get("/fragments")); status != 500 || f.Code != "internal" {
			t.Errorf("a bad pattern: %d %+v", status, f)
		}
		named := withFragments(t, open(), nil, realtime.EventMatch{}, func(_ context.Context, to *realtime.Fragment, _ realtime.RenEvent) error {
			to.Event = "a\nb"
			to.WriteString("<p>")
			return nil
		})
		if got := rendered(named.fragments()); got != "bye end" {
			t.Errorf("a bad name: %s", got)
		}
	})
}

// A FragmentFunc may end rights, those of its own stream included: nobody waits for
// anybody, and what it has rendered is not sent.
func TestRightsEndInAFragment(t *testing.T) {
	for name, c := range map[string]struct {
		call func(*realtime.Realtime, context.Context) error
		said string // by the stream
	}{
		"Revoke":  {func(rt *realtime.Realtime, ctx context.Context) error { return rt.Revoke(ctx, "ada") }, "list=<ul>|</ul> bye end"},
		"Recheck": {func(rt *realtime.Realtime, ctx context.Context) error { return rt.Recheck(ctx, "ada") }, "list=<ul>|</ul> bye end"},
	} {
		bubble(t, name, func(t *testing.T) {
			var h *host
			returned := make(chan error, 1)
			var once atomic.Bool
			h = withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
				if ev.Key == "leaked" && once.CompareAndSwap(false, true) {
					began := time.Now()
					err := c.call(h.Realtime, ctx)
					if took := time.Since(began); took > time.Second {
						t.Errorf("it took %v", took)
					}
					returned <- err
				}
				return items(ctx, to, ev)
			})
			page, other := h.fragments("Authorization", asAda), h.socket(get("/realtime", "Authorization", asAda))
			synctest.Wait()
			h.emit(realtime.KVPut("", "leaked"))
			h.emit(realtime.KVPut("", "after"))
			noError(t, <-returned)
			if got := rendered(page); got != c.said {
				t.Errorf("the stream said %s", got)
			}
			if name == "Revoke" {
				if code, _ := other.closed(); code != 4403 {
					t.Errorf("the other connection ended with %d", code)
				}
			}
		})
	}
}

// So may several at the same time: of two pages of one user, each of which asks about the
// rights of the other, none waits for the other.
func TestFragmentsEndEachOthersRights(t *testing.T) {
	for name, call := range map[string]func(*realtime.Realtime, context.Context) error{
		"Revoke":  func(rt *realtime.Realtime, ctx context.Context) error { return rt.Revoke(ctx, "ada") },
		"Recheck": func(rt *realtime.Realtime, ctx context.Context) error { return rt.Recheck(ctx, "ada") },
	} {
		bubble(t, name, func(t *testing.T) {
			var h *host
			var rendering sync.WaitGroup
			rendering.Add(2)
			h = withFragments(t, open(), nil, realtime.EventMatch{Resource: "kv"}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
				if ev.Key == "leaked" {
					rendering.Done()
					rendering.Wait()
					began := time.Now()
					err := call(h.Realtime, ctx)
					if took := time.Since(began); took > time.Second {
						t.Errorf("it took %v: %v", took, err)
					}
				}
				return items(ctx, to, ev)
			})
			a, b := h.fragments("Authorization", asAda), h.fragments("Authorization", asAda)
			synctest.Wait()
			h.emit(realtime.KVPut("", "leaked"))
			time.Sleep(time.Minute)
			for _, page := range []string{rendered(a), rendered(b)} {
				if page != "list=<ul>|</ul> bye end" {
					t.Errorf("a stream said %s", page)
				}
			}
		})
	}
}
