package browsertest

import (
	"fmt"
	"path/filepath"
	"testing"
)

// What the tests know of the dashboard's page.
const (
	figures = `['open', 'snoozed', 'urgent', 'done'].map((id) => document.getElementById(id).textContent).join()`
	todos   = `[...document.querySelectorAll('#items .what')].map((e) => e.textContent)`
	reads   = `parseInt(document.getElementById('reads').textContent.match(/\d+/)?.[0] ?? '0')`
	renOpen = `document.getElementById('ren-state').dataset.state`
)

// row is the row of an item, as JavaScript.
func row(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#items li')].find((row) => row.querySelector('.what').textContent === %s)`, quote(text))
}

// press clicks something in the row of an item.
func press(p *Page, text, selector string) {
	p.t.Helper()
	Until(p, row(text)+` !== undefined`, true)
	Eval[any](p, fmt.Sprintf(`%s.querySelector(%s).click()`, row(text), quote(selector)))
}

// add adds an item as a person does.
func add(p *Page, text string) {
	p.t.Helper()
	typeIn(p, "#text", text+"\r")
	has(p, todos, text)
}

func openDashboard(u *User, e *Example) *Page {
	u.t.Helper()
	p := u.Open(e.URL)
	Until(p, renOpen, "open")
	return p
}

// The pattern "live dashboard backed by KV": one writes, the other sees the item
// and the summary that a handler makes of it, and neither has polled.
func TestDashboard(t *testing.T) {
	t.Parallel()
	Require(t)
	dashboard := Start(t, "dashboard")
	ada := openDashboard(NewUser(t), dashboard)
	grace := openDashboard(NewUser(t), dashboard)
	for _, p := range []*Page{ada, grace} {
		Until(p, figures, "3,0,0,2")
	}
	html := `<img src=x onerror="console.error('run')">Bake a cake`
	add(ada, html)
	has(grace, todos, html)
	press(grace, "Press the button", "input")
	for _, p := range []*Page{ada, grace} {
		Until(p, figures, "3,0,0,3")
		Until(p, row("Press the button")+`.classList.contains('done')`, true)
		Until(p, `document.getElementById('percent').textContent`, "50 %")
	}
	press(ada, html, ".delete")
	Until(grace, figures, "2,0,0,3")
	Until(grace, row(html)+` === undefined`, true)

	// Another list is another summary.
	Eval[any](grace, `void (location.hash = 'garden')`)
	Until(grace, figures, "2,0,0,0")
	add(grace, "Plant garlic")
	Until(grace, figures, "3,0,0,0")
	Until(ada, figures, "2,0,0,3")
}

// A tab knows its own writes from others', and reads once for each: one of its own
// is not read again when its event comes back. Another tab of the same browser is
// somebody else.
func TestOwnWrites(t *testing.T) {
	t.Parallel()
	Require(t)
	dashboard := Start(t, "dashboard")
	user := NewUser(t)
	ada, second := openDashboard(user, dashboard), openDashboard(user, dashboard)
	grace := openDashboard(NewUser(t), dashboard)
	const text = "Tell support what is new"
	pages := []*Page{ada, second, grace}
	for _, p := range pages {
		Until(p, reads, 1)
	}
	for n, writer := range pages {
		press(writer, text, "input")
		for _, p := range pages {
			who := "somebody else"
			if p == writer {
				who = "you"
			}
			Until(p, row(text)+`?.querySelector('.by').textContent`, who)
			Until(p, `document.querySelectorAll('#events [data-type="kv.put"] code').length`, 2*(n+1)) // with the summary
			Until(p, reads, n+2)
			own := Eval[[]string](p, `[...document.querySelectorAll('#events [data-own="true"] code')].map((e) => JSON.parse(e.textContent).k)`)
			want := []string{"todolist:launch:item:000004"}
			if first := n < index(pages, p); first {
				want = nil
			}
			equal(t, "own events", own, want)
		}
	}
	// What would be read too much is under way by the time its author has written again.
	for _, p := range pages {
		if n := Eval[int](p, reads); n != 4 {
			t.Errorf("read %d times for 3 writes", n-1)
		}
	}
}

func index(pages []*Page, page *Page) int {
	for i, p := range pages {
		if p == page {
			return i
		}
	}
	return -1
}

// An item sleeps until a key beside it expires, which all see without asking.
func TestSnooze(t *testing.T) {
	t.Parallel()
	Require(t)
	dashboard := Start(t, "dashboard")
	ada := openDashboard(NewUser(t), dashboard)
	grace := openDashboard(NewUser(t), dashboard)
	const text = "Press the button"
	pages := []*Page{ada, grace}
	for _, p := range pages {
		record(p, "main", fmt.Sprintf(`%s + (%s?.querySelector('.warm') ? ' asleep' : '')`, figures, row(text)))
	}
	press(ada, text, ".snooze")
	for _, p := range pages {
		Until(p, `recorded.some((all) => all === '2,1,0,2 asleep')`, true)
		Until(p, `recorded.at(-1)`, "3,0,0,2")
		Until(p, `[...document.querySelectorAll('#events [data-type="kv.expired"] code')].map((e) => JSON.parse(e.textContent).k).join()`,
			"todolist:launch:snooze:000005")
	}
}

// record has a page keep what JavaScript gives, each time that something in an
// element changes, as recorded: what is shown for a moment only can be missed by
// who asks now and then.
func record(p *Page, selector, js string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		window.recorded = [];
		new MutationObserver(() => {
			const now = %s;
			if (now !== undefined && now !== recorded.at(-1)) recorded.push(now);
		}).observe(document.querySelector(%s), { subtree: true, childList: true, attributes: true, characterData: true });
	}`, js, quote(selector)))
}

// An event of the app's own (DefineEvent) is seen by pages and handled by the
// server, which writes what pages then see.
func TestCustomEvent(t *testing.T) {
	t.Parallel()
	Require(t)
	dashboard := Start(t, "dashboard")
	ada := openDashboard(NewUser(t), dashboard)
	grace := openDashboard(NewUser(t), dashboard)
	const text = "Press the button"
	press(ada, text, ".escalate")
	for p, own := range map[*Page]string{ada: "true", grace: "false"} {
		Until(p, figures, "3,0,1,2")
		Until(p, row(text)+`.querySelector('.hot')?.textContent`, "urgent")
		Until(p, todos+`[0]`, text) // it goes to the top
		const custom = `document.querySelector('#events [data-type="priority:high"]')`
		Until(p, custom+`?.dataset.own`, own)
		Until(p, custom+`.querySelector('code').textContent`, `{ "k": "todolist:launch:item:000005", "ns": "jobs" }`)
		// What a handler writes is nobody's own.
		Until(p, `document.querySelectorAll('#events [data-type="kv.put"][data-own="true"]').length`, 0)
	}
}

func TestDashboardScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	dashboard := Start(t, "dashboard")
	ada := openDashboard(NewUser(t), dashboard)
	grace := openDashboard(NewUser(t), dashboard)
	add(grace, "Order cake for the team")
	has(ada, todos, "Order cake for the team")
	press(ada, "Read the migration guide once more", "input")
	press(grace, "Press the button", ".escalate")
	Until(ada, figures, "3,0,1,3")
	press(ada, "Tell support what is new", ".snooze")
	Until(ada, figures, "2,1,1,3")
	pictures(ada, "dashboard")
}

// pictures makes pictures of an example's page: in docs with -update, and as it
// is seen by those who prefer dark colours, and on a phone.
func pictures(p *Page, name string) {
	p.t.Helper()
	Until(p, `document.getAnimations().every((a) => a.playState === 'finished' || a.effect.getTiming().iterations === Infinity)`, true)
	out := picture(p, name+".png")
	if *update {
		write(p.t, filepath.Join("..", "..", "..", "docs", name+".png"), out)
	}
	dark(p)
	picture(p, name+"-dark.png")
	phone(p)
	picture(p, name+"-phone.png")
}
