package browsertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// What the tests know of the page on which answers grow. All is of the last answer.
const (
	socketOpen   = `document.getElementById('ws-state').dataset.state === 'open'`
	answerText   = `([...document.querySelectorAll('.answer')].at(-1)?.textContent ?? '')`
	answerLength = `Number([...document.querySelectorAll('.turn')].at(-1)?.dataset.length ?? 0)`
	answerState  = `([...document.querySelectorAll('.turn')].at(-1)?.dataset.state ?? '')`
	saw          = `[...document.querySelectorAll('#seen li span')].map((e) => e.textContent)`
	press1       = `[...document.querySelectorAll('.turn')].at(-1).querySelector('.stop').click()`
)

func openAI(u *User, e *Example) *Page {
	u.t.Helper()
	p := u.blank(true) // it pulls its own plug
	p.Go(e.URL)
	Until(p, socketOpen, true)
	return p
}

// grows waits until all pages show more than so many characters of an answer that goes on.
func grows(more int, pages ...*Page) {
	for _, p := range pages {
		p.t.Helper()
		Until(p, fmt.Sprintf(`%s === 'streaming' && %s > %d && %s !== ''`, answerState, answerLength, more, answerText), true)
	}
}

// noNotes fails if a page complains of anything.
func noNotes(pages ...*Page) {
	for _, p := range pages {
		p.t.Helper()
		if notes := Eval[string](p, `document.getElementById('notes').textContent`); notes != "" {
			p.t.Errorf("the page says %q", notes)
		}
	}
}

// ended waits until all pages show how an answer has ended, and returns its text,
// which has to be the same in all of them.
func ended(state string, pages ...*Page) (text string) {
	for i, p := range pages {
		p.t.Helper()
		Until(p, answerState, state)
		if i == 0 {
			text = Eval[string](p, answerText)
		}
		Until(p, answerText, text)
	}
	return text
}

// Somebody asks in one tab and watches in two, and somebody else does in another
// browser. A page is reloaded in the middle, the other tab stops it; a browser loses its
// network, and the answer goes on. All see the same.
func TestAnswers(t *testing.T) {
	t.Parallel()
	Require(t)
	const slowly = 10 // so that no answer ends before somebody stops it
	ai := StartSlower(t, slowly*min(pace.Factor(), 8), "ai")
	user := NewUser(t)
	ada, second := openAI(user, ai), openAI(user, ai)
	grace := openAI(NewUser(t), ai)
	pages := []*Page{ada, second, grace}
	Until(grace, `document.getElementById('watching').textContent`, "3 tabs watch")

	typeIn(ada, "#text", "Does this survive a reload?\r")
	grows(20, pages...)
	before := Eval[string](ada, answerText)
	ada.Do(chromedp.Reload())
	grows(len([]rune(before)), ada)
	if got := Eval[string](ada, answerText); !strings.HasPrefix(got, before[:len(before)/2]) {
		t.Errorf("after a reload in the middle the answer is %q, and was %q", got, before)
	}
	Eval[any](second, press1)
	if text := ended("cancelled", pages...); !strings.HasPrefix(text, before[:len(before)/2]) {
		t.Errorf("the answer that was stopped is %q, and was %q", text, before)
	}
	has(grace, saw, "The answer is cancelled, by another tab")

	typeIn(grace, "#text", "<b>What</b> of networks?\r")
	grows(20, pages...)
	Eval[any](ada, `document.getElementById('unplug').click()`)
	for _, p := range []*Page{ada, second} { // they share their connection
		has(p, saw, "Connection lost")
	}
	missed := Eval[int](grace, answerLength)
	grows(missed, grace)
	for _, p := range pages {
		Until(p, socketOpen, true)
	}
	grows(missed, pages...)
	Until(ada, saw+`.some((line) => line.endsWith('what was missed'))`, true)
	Eval[any](grace, press1)
	ended("cancelled", pages...)
	if got := Eval[bool](grace, saw+`.includes('Connection lost')`); got {
		t.Error("somebody else lost the connection, too")
	}
	noNotes(pages...)
}

// The picture of an answer under way, below one that was complete for all.
func TestAIScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	ai := Start(t, "ai")
	ada, grace := openAI(NewUser(t), ai), openAI(NewUser(t), ai)
	Eval[any](ada, `[...document.querySelectorAll('#suggestions button')].at(-1).click()`)
	grows(300, ada)
	ada.Do(chromedp.Reload())
	grows(300, ada)
	Eval[any](ada, `document.getElementById('unplug').click()`)
	has(ada, saw, "Connection lost")
	Until(ada, socketOpen, true)
	if text := ended("complete", ada, grace); !strings.Contains(text, "A socket that lived in a train") {
		t.Errorf("the limericks are %q", text)
	}
	typeIn(ada, "#text", "SSE or WebSockets?\r")
	grows(480, ada, grace)
	noNotes(ada, grace)
	pictures(ada, "ai")
}
