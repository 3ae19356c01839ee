package browsertest

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// What the tests know of the roster's page, beside what it has in common with the
// chat's.
const (
	inCall  = `document.getElementById('flag').textContent`
	callers = `[...document.querySelectorAll('#callers .name')].map((e) => e.textContent).join()`
	inRoom  = `[...document.querySelectorAll('#events [data-domain="presence"] code')].map((e) => JSON.parse(e.textContent))
		.filter(({ ch }) => ch === 'room:family')`
	left = inRoom + `.filter(({ data }) => data?.reason).map(({ data }) => data.metadata.name + ' ' + data.reason)`
)

// statusOf is what a page says of a member.
func statusOf(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#roster li')].find((row) => row.querySelector('.name').textContent === %s)?.dataset.status`, quote(name))
}

// A list of who is here, which the server keeps for the pages: several tabs are
// one member, a page that goes says so, and one that reloads comes back.
func TestServerRoster(t *testing.T) {
	t.Parallel()
	Require(t)
	roster := Start(t, "roster")
	user := NewUser(t)
	ada := join(user.Open(roster.URL), "Ada")
	grace := join(NewUser(t).Open(roster.URL), "Grace")
	Until(ada, names, "Ada,Grace")
	Until(grace, names, "Ada,Grace")

	Eval[any](ada, `{ const s = document.getElementById('status'); s.value = 'out for lunch'; s.dispatchEvent(new Event('change')); }`)
	Until(grace, statusOf("Ada"), "out for lunch")
	Until(grace, statusOf("Grace"), "available")
	Eval[any](ada, `{ const s = document.getElementById('status'); s.value = 'available'; s.dispatchEvent(new Event('change')); }`)
	Until(grace, statusOf("Ada"), "available")

	second := user.Open(roster.URL)
	ready(second, "Ada")
	second.Go("about:blank")
	second.Close()
	ada.Do(chromedp.Reload())
	ready(ada, "Ada")
	Until(grace, left+`.join()`, "Ada left") // of the reload, not of the second tab
	Until(grace, names, "Ada,Grace")

	// To another group and back is two visits.
	Eval[any](ada, `void (location.hash = 'work')`)
	Until(grace, names, "Grace")
	Until(ada, names, "Ada")
	Eval[any](ada, `history.back()`)
	Until(grace, names, "Ada,Grace")
	Until(ada, names, "Ada,Grace")

	ada.Close()
	Until(grace, names, "Grace")
	Until(grace, left+`.join()`, "Ada left,Ada left,Ada left")
	late := join(NewUser(t).Open(roster.URL), "Linus")
	Until(late, names, "Grace,Linus")
}

// The pattern "reflectHuddleCall": the server derives a flag from who is in a call,
// and those see it who are not in it. It goes when the last one has left, by
// button or by closing the tab.
func TestHuddle(t *testing.T) {
	t.Parallel()
	Require(t)
	roster := Start(t, "roster")
	ada := join(NewUser(t).Open(roster.URL), "Ada")
	grace := join(NewUser(t).Open(roster.URL), "Grace")
	elsewhere := join(NewUser(t).Open(roster.URL+"#work"), "Linus")
	const call = `document.getElementById('call').click()`
	Until(grace, inCall, "No call")

	Eval[any](ada, call)
	for _, p := range []*Page{ada, grace} {
		Until(p, inCall, "Call in progress")
		Until(p, callers, "Ada")
	}
	Eval[any](grace, call)
	for _, p := range []*Page{ada, grace} {
		Until(p, callers, "Ada,Grace")
	}
	ada.Close()
	Until(grace, callers, "Grace")
	Until(grace, inCall, "Call in progress")
	Eval[any](grace, call)
	Until(grace, inCall, "No call")
	Until(grace, callers, "")
	const flags = `[...document.querySelectorAll('#events [data-domain="kv"]')].map((e) => e.dataset.type + ' ' + JSON.parse(e.querySelector('code').textContent).k)`
	Until(grace, flags+`.at(0)`, "kv.put huddle-active:family")
	Until(grace, flags+`.at(-1)`, "kv.delete huddle-active:family")
	if got := Eval[string](elsewhere, inCall); got != "No call" {
		t.Errorf("another group is told %q", got)
	}
}

func TestRosterScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	roster := Start(t, "roster")
	var pages []*Page
	for i, name := range []string{"Ada Lovelace", "Grace Hopper", "Linus Pauling", "Mary Jackson", "Kurt Gödel"} {
		p := join(NewUser(t).Open(roster.URL+"#launch%20team"), name)
		pages = append(pages, p)
		Eval[any](p, fmt.Sprintf(`{ const s = document.getElementById('status'); s.selectedIndex = %d; s.dispatchEvent(new Event('change')); }`, []int{0, 0, 2, 1, 0}[i]))
	}
	ada := pages[0]
	for _, p := range pages[:2] {
		Eval[any](p, `document.getElementById('call').click()`)
	}
	Until(ada, inCall, "Call in progress")
	Until(ada, callers, "Ada Lovelace,Grace Hopper")
	Until(ada, names, "Ada Lovelace,Grace Hopper,Kurt Gödel,Linus Pauling,Mary Jackson")
	Until(ada, statusOf("Mary Jackson"), "in focus time")
	pictures(ada, "roster")
}
