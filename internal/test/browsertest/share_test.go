package browsertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// live waits until a page listens on both its connections.
func live(pages ...*Page) {
	for _, p := range pages {
		p.t.Helper()
		Until(p, `window.live && ren.state === 'open' && rt.state === 'open'`, true)
	}
}

// one waits until there is one connection of each kind.
func one(t *testing.T, app *App) {
	t.Helper()
	if !poll(patience, func() bool {
		streams, sockets := app.Open()
		return streams == 1 && sockets == 1
	}) {
		streams, sockets := app.Open()
		t.Fatalf("%d streams and %d WebSockets are open, want one of each", streams, sockets)
	}
}

// count publishes numbers, and calls between after a third of them.
func count(app *App, from, to int, between func()) {
	for n := from; n <= to; n++ {
		app.Publish(n)
		if n == from+(to-from)/3 {
			between()
		}
		pause()
	}
}

// pause lets a few milliseconds pass, so that what is published comes while
// something else is under way.
func pause() { <-time.After(8 * time.Millisecond) }

// complete waits until a page has all numbers up to the last, on both its
// connections, each once and in order.
func complete(p *Page, from, to int) {
	p.t.Helper()
	for _, list := range []string{"fromRen", "fromRt"} {
		Until(p, fmt.Sprintf("%s.at(-1)", list), to)
		got := Eval[[]int](p, list)
		var want []int
		for n := from; n <= to; n++ {
			want = append(want, n)
		}
		if !slices.Equal(got, want) {
			p.t.Errorf("%s: %d numbers, want %d to %d: %v", list, len(got), from, to, got)
		}
	}
	if n := Eval[int](p, "resets"); n != 0 {
		p.t.Errorf("%d resets", n)
	}
}

// crash kills the process of a tab.
func crash(p *Page) {
	p.crashed.Store(true)
	ctx, cancel := pace.WithTimeout(p.ctx, time.Second)
	defer cancel()
	// It never answers.
	_, _ = chromedp.Run(ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.Crash, cdp.Empty{})
		return err
	}))
}

// Ten tabs of a browser, which may open six connections to a server, are all
// live with one of each kind.
func TestShareTenTabs(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	user := NewUser(t)
	var tabs []*Page
	for range 10 {
		tabs = append(tabs, user.Open(app.URL))
	}
	live(tabs...)
	one(t, app)
	count(app, 1, 50, func() {})
	for _, p := range tabs {
		complete(p, 1, 50)
	}
	ids := make(map[string]bool)
	for _, p := range tabs {
		ids[Eval[string](p, "id")] = true
	}
	if len(ids) != len(tabs) {
		t.Errorf("%d client ids for %d tabs", len(ids), len(tabs))
	}
}

// The tab that has the connections ends in the middle of things. The others
// miss nothing, and get nothing twice.
func TestShareHandOver(t *testing.T) {
	t.Parallel()
	Require(t)
	for name, end := range map[string]func(*Page){
		"closed":  (*Page).Close,
		"crashed": crash,
		"reloaded": func(p *Page) {
			Eval[any](p, `void setTimeout(() => location.reload())`)
		},
		"navigated": func(p *Page) {
			Eval[any](p, `void setTimeout(() => (location.href = 'about:blank'))`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := StartApp(t)
			user := NewUser(t)
			leader := user.OpenFaulty(app.URL)
			live(leader)
			others := []*Page{user.Open(app.URL), user.Open(app.URL)}
			live(others...)
			one(t, app)
			var ending sync.WaitGroup
			count(app, 1, 150, func() { ending.Go(func() { end(leader) }) })
			ending.Wait()
			for _, p := range others {
				complete(p, 1, 150)
				t.Logf("the longest silence: %.0f ms", Eval[float64](p, "gap"))
			}
			one(t, app)
		})
	}
}

// A tab that goes into the back/forward cache lets go of everything, and has
// missed nothing when it is back, whether it had the connections or not.
func TestShareBackForward(t *testing.T) {
	t.Parallel()
	Require(t)
	for i, name := range []string{"leader", "follower"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := StartApp(t)
			user := NewUser(t)
			tabs := []*Page{user.Open(app.URL), nil}
			live(tabs[0])
			tabs[1] = user.Open(app.URL)
			live(tabs[1])
			p, other := tabs[i], tabs[1-i]
			Eval[any](p, `void (window.kept = true, setTimeout(() => (location.href = '/other')))`)
			Until(p, `location.pathname`, "/other")
			Until(p, `window.live`, true)
			count(app, 1, 30, func() {})
			complete(other, 1, 30)
			Eval[any](p, `void setTimeout(() => history.back())`)
			Until(p, `location.pathname`, "/")
			count(app, 31, 60, func() {})
			if !Eval[bool](p, `!!window.kept`) {
				t.Fatal("the browser has not kept the page")
			}
			complete(p, 1, 60)
			complete(other, 1, 60)
			one(t, app)
		})
	}
}

// The network goes and comes back.
func TestShareOffline(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	proxy := faultproxy.New(t, app.URL[len("http://"):len(app.URL)-1])
	user := NewUser(t)
	tabs := []*Page{user.OpenFaulty(proxy.URL), user.OpenFaulty(proxy.URL), user.OpenFaulty(proxy.URL)}
	live(tabs...)
	for name, answer := range map[string]string{
		"":     "",
		"503":  "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"204":  "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTML": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
	} {
		t.Log("outage", name)
		begin(proxy, answer)
		for _, p := range tabs {
			Until(p, `ren.state + rt.state`, "connectingconnecting")
			Eval[any](p, `fromRen.length = fromRt.length = 0`)
		}
		count(app, 1, 20, func() {})
		end(proxy, answer)
		Eval[any](tabs[2], `void dispatchEvent(new Event('online'))`)
		count(app, 21, 40, func() {})
		for _, p := range tabs {
			complete(p, 1, 40)
		}
		one(t, app)
	}
}

// Presence is each tab's own: a tab that closes leaves, although the connection
// stays; one that reloads does not; a duplicated tab is another one.
func TestSharePresence(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	user := NewUser(t)
	first, second := user.Open(app.URL), user.Open(app.URL)
	live(first, second)
	Eval[any](first, `rt.presence('room').join('first')`)
	Eval[any](second, `rt.presence('room').join('second')`)
	is := func(want ...string) {
		t.Helper()
		if !poll(patience, func() bool { return slices.Equal(app.Members(), want) }) {
			t.Fatalf("present are %v, want %v", app.Members(), want)
		}
	}
	is("first", "second")

	Eval[any](second, `void (window.copy = open(location.href))`)
	Until(second, `copy.live`, true)
	if Eval[bool](second, `copy.id === id`) {
		t.Error("the duplicated tab has the id of the first")
	}
	Eval[any](second, `copy.rt.presence('room').join('copy')`)
	is("copy", "first", "second")
	one(t, app)
	Eval[any](second, `void copy.close()`)
	is("first", "second")

	first.Do(chromedp.Reload()) // it has the connections
	live(first)
	Eval[any](first, `rt.presence('room').join('first')`)
	is("first", "second")
	second.Close()
	is("first")
	one(t, app)
}

// The tabs of two users of one browser have a connection each.
func TestShareUsers(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	user := NewUser(t)
	ada := user.Open(app.URL)
	live(ada)
	Eval[any](ada, `void (document.cookie = 'user=eve')`)
	eve := user.Open(app.URL)
	live(eve)
	if streams, sockets := app.Open(); streams != 2 || sockets != 2 {
		t.Errorf("%d streams and %d WebSockets are open, want two of each", streams, sockets)
	}
	app.Publish(1)
	complete(ada, 1, 1)
	complete(eve, 1, 1)
}

// What sharing costs: how long a message takes from a tab to the server and
// back, where the tab has its own connection, where it has it for others, and
// where another has it:
//
//	go test -run - -bench Share -benchtime 100x .
func BenchmarkShare(b *testing.B) {
	Require(b)
	app := StartApp(b)
	user := NewUser(b)
	alone, leader := user.Open(app.URL+"?alone"), user.Open(app.URL)
	live(alone, leader)
	follower := user.Open(app.URL)
	live(follower)
	for _, c := range []struct {
		name string
		page *Page
	}{{"alone", alone}, {"leader", leader}, {"follower", follower}} {
		b.Run(c.name, func(b *testing.B) {
			all := Eval[[]float64](c.page, fmt.Sprintf("roundTrips(%d)", b.N))
			b.ReportMetric(all[len(all)/2], "ms/median")
			b.ReportMetric(all[len(all)*95/100], "ms/95th")
			b.ReportMetric(0, "ns/op") // the pauses between them
		})
	}
}
