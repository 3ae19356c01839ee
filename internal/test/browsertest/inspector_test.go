package browsertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/inspector"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// What the tests know of the inspector's page.
const (
	rowTexts  = `[...document.querySelectorAll('tbody tr')].map((r) => r.textContent)`
	tableText = `document.querySelector('main').textContent`
	heading   = `document.querySelector('main h2')?.textContent`
	dialogue  = `(document.querySelector('dialog[open]')?.textContent ?? '')`
)

var crowd = []string{"Ada Lovelace", "Emmy Noether", "Grace Hopper", "Katherine Johnson", "Mary Jackson", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov"}

// inspected is a server with something to look at.
type inspected struct {
	*httptest.Server
	rt     *realtime.Realtime
	locked atomic.Bool // nobody is an operator
	mended atomic.Bool // handlers do not fail
}

func startInspected(t *testing.T) *inspected {
	t.Helper()
	return startInspectedWith(t, pace.Slow(2*time.Second))
}

func startInspectedWith(t *testing.T, heartbeat time.Duration) *inspected {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	rt, err := realtime.New(realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			user := testkit.Bearer(r)
			if user == "mallory" {
				return realtime.Identity{}, errors.New("the signature of the token is not ours")
			}
			return realtime.Identity{User: user}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if strings.HasPrefix(a.Name, "board") {
				return fmt.Errorf("%s is not a member of the board", id.User)
			}
			return nil
		},
		Grants: func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("kv").In("todos").Under(id.User), realtime.GrantAll("presence")}, nil
		},
	}, &realtime.Options{Logger: quiet, Heartbeat: heartbeat})
	if err != nil {
		t.Fatal(err)
	}
	in := &inspected{rt: rt}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.Handle("/inspector/", inspector.Handler(rt, func(*http.Request) error {
		if in.locked.Load() {
			return errors.New("not an operator")
		}
		return nil
	}))
	in.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = rt.Close(ctx) // pages may not go in time
		in.CloseClientConnections()
		in.Close()
	})
	in.fill(t, quiet)
	return in
}

// fill makes clients, members, refusals and dead letters.
func (in *inspected) fill(t *testing.T, quiet *slog.Logger) {
	t.Helper()
	for i, user := range append(crowd, "mallory") {
		c, err := client.NewRealtime(in.URL+"/api/maravilla/realtime", &client.RealtimeOptions{
			Token: func(context.Context) (string, error) { return user, nil }, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.Connect()
		follow := func(channel string) {
			go func() {
				for range c.Subscribe(t.Context(), channel) { //nolint:revive // until the test ends
				}
			}()
		}
		follow("lobby")
		follow(fmt.Sprint("room:", i%3))
		if i == 3 {
			follow("board:minutes")
		}
		if err := in.rt.Presence().Join(t.Context(), fmt.Sprint("room:", i%3), user, map[string]string{"mood": "curious"}); err != nil && user != "mallory" {
			t.Fatal(err)
		}
	}
	err := in.rt.Group("invoices", &realtime.GroupOptions{DeadLetter: func(context.Context, realtime.DeadLetter) {}}, func(g *realtime.Group) error {
		return g.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
			if ev.Key == "invoice:17" && !in.mended.Load() {
				return fmt.Errorf("%w: the customer has no address", realtime.ErrPermanent)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := in.rt.Emit(t.Context(), realtime.KVPut("billing", fmt.Sprint("invoice:", i))); err != nil {
			t.Fatal(err)
		}
	}
}

// talk publishes until the test ends.
func (in *inspected) talk(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		for range 1 + i%7 {
			_ = in.rt.Publish(ctx, fmt.Sprint("room:", i%3), map[string]any{"text": "Good morning", "n": i}) // ctx has ended
		}
		select {
		case <-time.After(150 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// view opens a view by its link, as a person does with the keyboard.
func view(p *Page, name, title string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`(() => { const a = [...document.querySelectorAll('nav a')].find((a) => a.textContent === %s); a.focus(); a.click() })()`, quote(name)))
	Until(p, heading, title)
}

// An operator sees what is connected, why something was refused, what handlers have
// given up, and follows the events of a channel.
func TestInspector(t *testing.T) {
	t.Parallel()
	Require(t)
	in := startInspected(t)
	p := NewUser(t).Open(in.URL + "/inspector/")
	Until(p, heading, "What is going on")
	Until(p, `document.getElementById('state').textContent`, "Live")
	Until(p, tableText+`.includes('The group invoices has given up events since the start: 1')`, true)

	view(p, "Connections", "Connections")
	Until(p, rowTexts+fmt.Sprintf(`.length >= %d`, len(crowd)), true) // mallory is there until a hello is refused
	typeIn(p, "input[data-key=field-q]", "hopper")
	Until(p, rowTexts+`.length`, 1)
	Until(p, `location.hash`, "#connections?q=hopper")
	Eval[any](p, `document.querySelector('tbody button').click()`)
	Until(p, dialogue+`.includes('lobby') && `+dialogue+`.includes('room:2')`, true)
	p.Do(chromedp.KeyEvent("\x1b"))
	Until(p, dialogue, "")

	view(p, "Channels", "Channels")
	Until(p, rowTexts+`.some((r) => r.startsWith('lobby') && r.endsWith('8'))`, true)
	Eval[any](p, `[...document.querySelectorAll('tbody button')].find((b) => b.textContent === 'room:0').click()`)
	Until(p, dialogue+`.includes('Katherine Johnson') && `+dialogue+`.includes('curious')`, true)
	Eval[any](p, `document.querySelector('dialog a[href^="#events"]').click()`)
	Until(p, heading, "Events")
	ctx, cancel := context.WithCancel(t.Context())
	talking := make(chan struct{})
	go func() { defer close(talking); in.talk(ctx) }()
	defer func() { cancel(); <-talking }()
	Until(p, rowTexts+`.length > 5 && `+rowTexts+`.every((r) => r.includes('room:0'))`, true)

	view(p, "Refusals", "Why was this refused?")
	for _, why := range []string{"Katherine Johnson is not a member of the board", "the signature of the token is not ours"} {
		Until(p, fmt.Sprintf(`%s.some((r) => r.includes(%s))`, rowTexts, quote(why)), true)
	}
	view(p, "Groups", "Groups of handlers")
	Until(p, rowTexts+`.some((r) => r.includes('invoice:17') && r.includes('no address'))`, true)
	retry := func(said string) {
		t.Helper()
		button := `[...document.querySelectorAll('tbody button')].find((b) => b.textContent === 'Retry')`
		Until(p, button+` !== undefined`, true) // until the page has refreshed, it says "Retrying"
		Eval[any](p, button+`.click()`)
		Until(p, fmt.Sprintf(`document.querySelector('main [role=status]').textContent.includes(%s)`, quote(said)), true)
	}
	retry("kv.put billing invoice:17 has failed again")
	in.mended.Store(true)
	retry("kv.put billing invoice:17 was handled")
	Until(p, rowTexts+`.some((r) => r.includes('invoice:17'))`, false)
	view(p, "Proxies", "Proxies")
	Until(p, `document.querySelector('input[type=url]').value`, in.URL+"/api/maravilla/")
	Eval[any](p, `document.querySelector('main form').requestSubmit()`)
	Until(p, tableText+`.includes('The URL has no TLS') && `+tableText+`.includes('HAProxy')`, true)
	view(p, "Overview", "What is going on")
	Until(p, `document.querySelectorAll('svg.spark path')[3].getAttribute('d').split('L').length > 6`, true)
	pictures(p, "inspector")
}

// With the keyboard alone one gets everywhere, and a screen reader finds names.
func TestInspectorAccess(t *testing.T) {
	t.Parallel()
	Require(t)
	in := startInspected(t)
	p := NewUser(t).Open(in.URL + "/inspector/#connections")
	Until(p, rowTexts+`.length > 5`, true)
	var reached []string
	for range 40 {
		p.Do(chromedp.KeyEvent("\t"))
		reached = append(reached, Eval[string](p, `(document.activeElement.textContent || document.activeElement.closest('label')?.textContent || '').trim()`))
	}
	for _, name := range []string{"Skip to the content", "Pause", "Overview", "Proxies", "User", "Lag", "Grace Hopper"} {
		if !slices.Contains(reached, name) {
			t.Errorf("Tab does not reach %q: %q", name, reached)
		}
	}
	// The list is made again every two seconds, and the focus stays.
	Eval[any](p, `[...document.querySelectorAll('tbody button')][3].focus()`)
	focused := Eval[string](p, `document.activeElement.dataset.key`)
	Eval[any](p, `void (window.was = document.activeElement)`)
	Until(p, `window.was.isConnected`, false)
	Until(p, `document.activeElement.dataset.key ?? ''`, focused)
	// It sorts by a header, and says so.
	Eval[any](p, `document.querySelector('[data-sort=user]').click()`)
	Until(p, `document.querySelector('th[aria-sort]')?.ariaSort`, "ascending")
	for _, view := range []string{"overview", "connections", "channels", "events", "refusals", "groups", "proxies"} {
		Eval[any](p, fmt.Sprintf(`void (location.hash = '#%s')`, view))
		Until(p, `document.querySelector('nav a[aria-current]')?.hash`, "#"+view)
		nameless := Eval[string](p, `[...document.querySelectorAll('input, select, button, a, table, svg[role]')].filter((e) =>
			!(e.textContent.trim() || e.closest('label')?.textContent.trim() || e.getAttribute('aria-label') || e.caption)).map((e) => e.outerHTML).join()`)
		if nameless != "" {
			t.Errorf("%s: without a name: %s", view, nameless)
		}
	}
}

// Who is no operator any longer sees nothing more, and is told.
func TestInspectorLocked(t *testing.T) {
	t.Parallel()
	Require(t)
	in := startInspected(t)
	p := NewUser(t).OpenFaulty(in.URL + "/inspector/")
	Until(p, `document.getElementById('state').textContent`, "Live")
	in.locked.Store(true)
	Until(p, `document.getElementById('state').textContent`, "operators only")
}
