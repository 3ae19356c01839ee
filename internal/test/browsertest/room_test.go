package browsertest

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// What the tests know of the chat's page.
const (
	texts = `[...document.querySelectorAll('#messages .text')].map((e) => e.textContent)`
	notes = `[...document.querySelectorAll('#messages .note')].map((e) => e.textContent)`
	names = `[...document.querySelectorAll('#roster .name')].map((e) => e.textContent).join()`
	open  = `['ws-state', 'ren-state'].every((id) => document.getElementById(id).dataset.state === 'open')`
	// renTexts are the messages that came as REN events.
	renTexts = `[...document.querySelectorAll('#events [data-type="realtime.message"] code')].map((e) => JSON.parse(e.textContent).data.text)`
	clientID = `import('/api/maravilla/realtime.js').then((sdk) => sdk.getOrCreateClientId())`
)

// join gives the name a new visitor is asked for, and waits until the page is
// connected and the visitor present.
func join(p *Page, name string) *Page {
	p.t.Helper()
	Until(p, `!!document.querySelector('#welcome')?.open`, true)
	Eval[any](p, fmt.Sprintf(`void (document.getElementById('name').value = %s, document.getElementById('enter').click())`, quote(name)))
	ready(p, name)
	return p
}

// ready waits until the page is connected and its user present.
func ready(p *Page, name string) {
	p.t.Helper()
	Until(p, open, true)
	Until(p, fmt.Sprintf(`%s.split(',').includes(%s)`, names, quote(name)), true)
}

// say has a page send a message: via "websocket" or "server".
func say(p *Page, text, via string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		document.querySelector('[name=via][value=%s]').click();
		document.getElementById('text').value = %s;
		document.getElementById('composer').requestSubmit();
	}`, via, quote(text)))
}

// setTopic has a page set the topic of its room.
func setTopic(p *Page, topic string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		document.getElementById('topic').value = %s;
		document.getElementById('topic-form').requestSubmit();
	}`, quote(topic)))
}

// has waits until a list, texts or notes, has an item.
func has(p *Page, list, item string) {
	p.t.Helper()
	Until(p, fmt.Sprintf("%s.includes(%s)", list, quote(item)), true)
}

// quote makes a JavaScript literal.
func quote(s string) string {
	b, _ := json.Marshal(s) // strings encode
	return string(b)
}

// equal compares lists and reports the first difference, as they can be long.
func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: %d items, want %d; from the %d. on: %q, want %q", what, len(got), len(want), i+1, head(got[i:]), head(want[i:]))
}

func head(list []string) []string { return list[:min(len(list), 8)] }
