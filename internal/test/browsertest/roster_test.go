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

// status has a page's user choose what others see.
func status(p *Page, s string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		const choice = document.getElementById('status');
		choice.value = %s;
		choice.dispatchEvent(new Event('change'));
	}`, quote(s)))
}

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

	status(ada, "out for lunch")
	Until(grace, statusOf("Ada"), "out for lunch")
	Until(grace, statusOf("Grace"), "available")

	second := user.Open(roster.URL)
	ready(second, "Ada")
	second.Go("about:blank")
	second.Close()
	status(ada, "in focus time")
	Until(grace, statusOf("Ada"), "in focus time")
	if got := Eval[string](grace, left+`.join()`); got != "" {
		t.Errorf("the end of one of two tabs is told as %s", got)
	}
	ada.Do(chromedp.Reload()) // word of the old page may come before that of the new one
	ready(ada, "Ada")
	Until(grace, names, "Ada,Grace")
	Until(grace, statusOf("Ada"), "in focus time")

	// To another group and back is two visits.
	Eval[any](ada, `void (location.hash = 'work')`)
	Until(grace, names, "Grace")
	Until(ada, names, "Ada")
	Eval[any](ada, `history.back()`)
	Until(grace, names, "Ada,Grace")
	Until(ada, names, "Ada,Grace")

	ada.Close()
	Until(grace, names, "Grace")
	Until(grace, left+`.at(-1)`, "Ada left")
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
	for _, who := range []struct{ name, status string }{
		{"Ada Lovelace", "available"}, {"Grace Hopper", "available"}, {"Linus Pauling", "out for lunch"},
		{"Mary Jackson", "in focus time"}, {"Kurt Gödel", "available"},
	} {
		p := join(NewUser(t).Open(roster.URL+"#launch%20team"), who.name)
		pages = append(pages, p)
		status(p, who.status)
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
