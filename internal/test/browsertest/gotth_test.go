package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
)

// What the tests know of the stage's page.
const (
	asked    = `[...document.querySelectorAll('#questions .text')].map((e) => e.textContent)`
	audience = `document.querySelector('#people b')?.textContent`
)

// question is the part of a page that shows a question.
func question(text, js string) string {
	return fmt.Sprintf(`(() => { const q = [...document.querySelectorAll('#questions li')].find((q) => q.textContent.includes(%s)); return %s; })()`, quote(text), js)
}

// A page without a script of its own shows what others do, as its own reader must see
// it. What its reader is typing stays.
func TestStage(t *testing.T) {
	t.Parallel()
	Require(t)
	stage := StartSlower(t, patient, "gotth")
	ada := NewUser(t).Open(stage.URL)
	Until(ada, audience, "1")
	grace := NewUser(t).Open(stage.URL)
	Until(grace, audience, "2")
	Until(ada, audience, "2")

	const text = `Is <b onclick="console.error('run')">this</b> safe?`
	typeIn(ada, "#text", text+"\r")
	has(grace, asked, text)
	has(ada, asked, text)
	Until(ada, `document.getElementById('text').value`, "")
	if got := Eval[string](grace, asked+`.at(0)`); got == text {
		t.Error("a question with one vote comes first")
	}
	votes := question(text, `q.querySelector('.vote').textContent.trim() + q.querySelector('.vote').ariaPressed`)
	Until(ada, votes, "1true")
	Until(grace, votes, "1false")
	Eval[any](grace, question(text, `void q.querySelector('.vote').click()`))
	Until(grace, votes, "2true")
	Until(ada, votes, "2true")

	const first = `document.querySelector('#choice-0 .choice')`
	typeIn(grace, "#text", "half a quest")
	Eval[any](ada, first+`.click()`)
	Until(ada, first+`.ariaPressed`, "true")
	const voted = `document.querySelector('#poll p b').textContent`
	Until(grace, voted, "12")
	if got := Eval[string](grace, `document.getElementById('text').value`); got != "half a quest" {
		t.Errorf("what Grace writes is now %q", got)
	}

	Eval[any](ada, question(text, `void q.querySelector('.plain').click()`))
	Until(grace, asked+`.at(-1)`, text)
	ada.Close()
	Until(grace, audience, "1")
}

// An ask without a text is answered in the form, and refused requests change nothing.
func TestStageForm(t *testing.T) {
	t.Parallel()
	Require(t)
	stage := Start(t, "gotth")
	ada := NewUser(t).blank(false)
	ada.RunFirst(`window.setInterval = () => 0`) // a page is counted when it opens, and not only by its timer
	ada.Go(stage.URL)
	Until(ada, audience, "1")
	typeIn(ada, "#text", " \r")
	Until(ada, `document.querySelector('#ask [role=alert]')?.textContent`, "Ask something, in at most 140 characters.")
	typeIn(ada, "#text", "Better?\r")
	has(ada, asked, "Better?")
	Until(ada, `!!document.querySelector('#ask [role=alert]')`, false)
}

// A page follows its stream also when the script for streams comes after the others, over
// a slow link.
func TestStageOfLateScript(t *testing.T) {
	t.Parallel()
	Require(t)
	stage := StartSlower(t, patient, "gotth")
	late := make(chan struct{})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/hx-sse.min.js") {
			<-late
		}
		to := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", stage.Addr
			p.Out.Host = p.In.Host // what the browser names is what its Origin names
		}}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	ada := NewUser(t).Open("about:blank")
	release := sync.OnceFunc(func() { close(late) })
	t.Cleanup(release)
	Eval[any](ada, "void (location.href = "+quote(proxy.URL)+")")
	Until(ada, `typeof window.htmx`, "object")
	Eval[any](ada, `new Promise((done) => setTimeout(done))`) // after what htmx put off when it began
	release()
	Until(ada, audience, "1")
}

func TestStageScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	stage := StartSlower(t, patient, "gotth")
	var pages []*Page
	for range 5 {
		pages = append(pages, NewUser(t).Open(stage.URL))
	}
	Until(pages[0], audience, "5")
	for i, text := range []string{
		"Can I keep html/template, and send only what has changed?", "How many people can watch before it hurts?",
	} {
		typeIn(pages[i+1], "#text", text+"\r")
		has(pages[0], asked, text)
	}
	for _, p := range pages[:4] {
		Eval[any](p, question("Can two people", `void q.querySelector('.vote').click()`))
	}
	Eval[any](pages[0], question("How many", `void q.querySelector('.vote').click()`))
	Eval[any](pages[0], `document.querySelector('#choice-0 .choice').click()`)
	Until(pages[0], asked+`.indexOf('Can two people see different HTML of the same event?')`, 0)
	Until(pages[0], `document.querySelector('#poll p b').textContent`, "12")
	Until(pages[0], question("How many", `q.querySelector('.vote').textContent.trim()`), "2")
	pictures(pages[0], "gotth")
	if got := Eval[string](pages[0], `document.cookie`); strings.Contains(got, "visitor") {
		t.Errorf("scripts can read %s", got)
	}
}
