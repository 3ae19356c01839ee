package browsertest

import (
	"fmt"
	"strings"
	"testing"
)

// What the tests know of the orders' page.
const (
	items    = `[...document.querySelectorAll('#orders .what')].map((e) => e.textContent)`
	teammate = `[...document.querySelectorAll('#team .hidden')].map((e) => e.textContent).join()`
	seenKeys = `[...document.querySelectorAll('#events code')].map((e) => JSON.parse(e.textContent).k).join()`
	where    = `location.pathname + location.search`
)

// login logs in as a person does.
func login(p *Page, user string) *Page {
	p.t.Helper()
	Until(p, where, "/login")
	typeIn(p, "#user", user)
	typeIn(p, "#password", "demo\r")
	Until(p, where+` === '/' && `+open, true)
	return p
}

// statusOfOrder is what the page says of an order.
func statusOfOrder(item string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#orders li')].find((row) => row.querySelector('.what').textContent === %s)?.dataset.status`, quote(item))
}

func order(p *Page, item string) {
	p.t.Helper()
	typeIn(p, "#item", item+"\r")
	has(p, items, item)
}

// Three people of two teams: each sees what the own team does, as it happens, and
// nothing of the other's.
func TestTeams(t *testing.T) {
	t.Parallel()
	Require(t)
	app := Start(t, "embed")
	ann := login(NewUser(t).Open(app.URL), "ann")
	bob := login(NewUser(t).Open(app.URL), "bob")
	carol := login(NewUser(t).Open(app.URL), "carol")
	Until(ann, teammate, "Ann (you),Carol")
	Until(carol, teammate, "Ann,Carol (you)")
	Until(bob, teammate, "Bob (you)")

	order(bob, "Umbrellas")
	order(ann, "Dynamite")
	has(carol, items, "Dynamite")
	press := fmt.Sprintf(`[...document.querySelectorAll('#orders li')].find((row) => row.textContent.includes(%s)).querySelector('button').click()`, quote("Dynamite"))
	Eval[any](carol, press)
	Until(ann, statusOfOrder("Dynamite"), "packed")
	Eval[any](ann, press)
	Until(carol, statusOfOrder("Dynamite"), "shipped")
	order(bob, "Sunglasses")

	for _, p := range []*Page{ann, carol} {
		Until(p, seenKeys, "acme:7,acme:7,acme:7")
	}
	Until(bob, seenKeys, "globex:6,globex:8")
	for p, foreign := range map[*Page]string{ann: "Umbrellas", carol: "Umbrellas", bob: "Dynamite"} {
		if got := Eval[string](p, `document.body.textContent`); strings.Contains(got, foreign) {
			t.Errorf("%s is shown to another team", foreign)
		}
	}
}

// A visitor without a login gets the form; the streams refuse them.
func TestStranger(t *testing.T) {
	t.Parallel()
	Require(t)
	app := Start(t, "embed")
	stranger := NewUser(t).Open(app.URL)
	stranger.console.expect("/") // of which the test is full
	Until(stranger, where, "/login")
	if got := Eval[int](stranger, `fetch('/api/maravilla/ren').then((answer) => answer.status)`); got != 401 {
		t.Errorf("REN: %d, want 401", got)
	}
	Eval[any](stranger, `{
		window.ended = '';
		import('/api/maravilla/realtime.js').then(({ RenClient }) => new RenClient({ onError: ({ code }) => (ended = code) }));
	}`)
	Until(stranger, `ended`, "unauthorized")
	typeIn(stranger, "#user", "ann")
	typeIn(stranger, "#password", "wrong\r")
	Until(stranger, `document.querySelector('.note')?.textContent`, "That is not right.")
}

// Who logs out is cut off at once, in all tabs and browsers; who is still there
// is told that they left.
func TestLogout(t *testing.T) {
	t.Parallel()
	Require(t)
	app := Start(t, "embed")
	user := NewUser(t)
	ann := login(user.Open(app.URL), "ann")
	second := user.OpenFaulty(app.URL)
	Until(second, open, true)
	elsewhere := login(NewUser(t).OpenFaulty(app.URL), "ann")
	carol := login(NewUser(t).Open(app.URL), "carol")
	Until(carol, teammate, "Ann,Carol (you)")

	Eval[any](ann, `document.getElementById('logout').click()`)
	Until(ann, `location.pathname`, "/login")
	for _, p := range []*Page{second, elsewhere} {
		Until(p, where, "/login?ended")
		Until(p, `document.querySelector('.note')?.textContent`, "Your session has ended.")
	}
	Until(carol, teammate, "Carol (you)")
	order(carol, "Still here")
}

func TestEmbedScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	app := Start(t, "embed")
	visitor := NewUser(t).Open(app.URL)
	picture(visitor, "embed-login.png")
	ann := login(visitor, "ann")
	carol := login(NewUser(t).Open(app.URL), "carol")
	order(carol, "Dehydrated boulders, 3 bags")
	order(ann, "Portable holes, assorted")
	press := `[...document.querySelectorAll('#orders li')].find((row) => row.textContent.includes(%s)).querySelector('button').click()`
	Eval[any](carol, fmt.Sprintf(press, quote("Giant magnet")))
	Until(ann, statusOfOrder("Giant magnet"), "shipped")
	Eval[any](ann, fmt.Sprintf(press, quote("Rocket skates")))
	Until(ann, statusOfOrder("Rocket skates, size 42"), "packed")
	Until(ann, teammate, "Ann (you),Carol")
	pictures(ann, "embed")
}
