package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// site is the running app, on a network in memory.
type site struct {
	*realtimetest.Server
	*app
}

func open(t *testing.T) *site {
	s := &site{}
	s.Server = realtimetest.New(t, policy(), &realtimetest.Options{Handler: func(rt *realtime.Realtime) http.Handler {
		s.app = newApp(rt)
		return s.handler()
	}})
	return s
}

// browser has the cookie of one visitor.
type browser struct {
	t    *testing.T
	site *site
	*http.Client
}

// visit returns a browser that has loaded the page, and the page.
func (s *site) visit(t *testing.T) (*browser, string) {
	t.Helper()
	b := &browser{t, s, s.HTTPClient()}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Jar = jar
	return b, b.ask("GET", "/", nil, 200)
}

// ask sends a form and expects a status; it returns the answer's body.
func (b *browser) ask(method, path string, form url.Values, status int) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if answer.StatusCode != status {
		b.t.Fatalf("%s %s: %d %s; want %d", method, path, answer.StatusCode, got, status)
	}
	return string(got)
}

// stream is the HTML that comes to a page.
type stream struct {
	t      *testing.T
	body   io.ReadCloser
	reader *sse.Reader
	lastID string
}

// live follows the stream, from after the event with an id if there is one.
func (b *browser) live(lastID string) *stream {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.site.URL+"/live", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		b.t.Fatalf("the stream: %s", answer.Status)
	}
	s := &stream{b.t, answer.Body, sse.NewReader(answer.Body, 1<<20), lastID}
	b.t.Cleanup(s.close)
	return s
}

func (s *stream) close() { s.body.Close() }

// next returns the next fragment, and the targets of its parts.
func (s *stream) next() (html, targets string) {
	s.t.Helper()
	for {
		ev, err := s.reader.Next()
		if err != nil {
			s.t.Fatalf("the stream has ended: %v", err)
		}
		s.lastID = ev.ID
		if ev.Name != "message" {
			continue
		}
		for _, rest := range strings.Split(ev.Data, `<hx-partial hx-target="#`)[1:] {
			target, _, _ := strings.Cut(rest, `"`)
			targets += target + " "
		}
		return ev.Data, strings.TrimSpace(targets)
	}
}

// expect reads the next fragment, which must be of some targets.
func (s *stream) expect(targets string) string {
	s.t.Helper()
	html, got := s.next()
	if got != targets {
		s.t.Fatalf("a fragment for %q, want %q: %s", got, targets, html)
	}
	return html
}

const everything = "people questions poll"

// pressed is whether a visitor's HTML marks something as their own vote.
func pressed(html, path string) string {
	_, rest, _ := strings.Cut(html, `hx-post="`+path+`"`)
	_, rest, _ = strings.Cut(rest, `aria-pressed="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// Each page gets what has changed and nothing else, as its own reader must see it.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ada, page := s.visit(t)
		grace, _ := s.visit(t)
		adas, graces := ada.live(""), grace.live("")
		both := []*stream{adas, graces}
		for _, of := range both {
			if html := of.expect(everything); !strings.Contains(html, "asleep for an hour") {
				t.Errorf("it begins with %s", html)
			}
		}
		if !strings.Contains(page, "asleep for an hour") || !strings.Contains(page, "Still a designer&#39;s PDF") {
			t.Errorf("without scripts the page is %s", page)
		}

		ada.ask("POST", "/questions/2/vote", nil, 204)
		for i, of := range both {
			want := fmt.Sprint(i == 0)
			if got := pressed(of.expect("questions"), "/questions/2/vote"); got != want {
				t.Errorf("browser %d: pressed is %q, want %s", i, got, want)
			}
		}
		grace.ask("POST", "/poll/2", nil, 204)
		grace.ask("POST", "/poll/0", nil, 204) // instead
		for i, of := range both {
			of.expect("poll")
			html := of.expect("poll")
			if got, want := pressed(html, "/poll/0")+pressed(html, "/poll/2"), fmt.Sprint(i == 1, false); got != strings.ReplaceAll(want, " ", "") {
				t.Errorf("browser %d: pressed is %q", i, got)
			}
		}
		if form := ada.ask("POST", "/questions", url.Values{"text": {" <b>?</b> "}}, 200); strings.Contains(form, "role=") {
			t.Error(form)
		}
		for _, of := range both {
			if html := of.expect("questions"); !strings.Contains(html, "&lt;b&gt;?&lt;/b&gt;") {
				t.Error(html)
			}
		}
		ada.ask("POST", "/questions/2/answer", nil, 204)
		if html := graces.expect("questions"); strings.Index(html, "asleep") < strings.Index(html, "&lt;b&gt;") {
			t.Errorf("what is answered is not last: %s", html)
		}
	})
}

// A page that was away gets what it has missed, and no more.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ada, _ := s.visit(t)
		page := ada.live("")
		page.expect(everything)
		page.close()
		ada.ask("POST", "/poll/1", nil, 204)
		page = ada.live(page.lastID)
		page.expect("poll")
		ada.ask("POST", "/questions/1/vote", nil, 204)
		page.expect("questions")
	})
}

// Two tabs are one visitor, who leaves with the last one.
func TestPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ada, _ := s.visit(t)
		grace, _ := s.visit(t)
		page := grace.live("")
		page.expect(everything)
		first, second := url.Values{"visit": {strings.Repeat("a", 26)}}, url.Values{"visit": {strings.Repeat("b", 26)}}
		ada.ask("POST", "/here", first, 204)
		if html := page.expect("people"); !strings.Contains(html, "<b>1</b> here") {
			t.Error(html)
		}
		ada.ask("POST", "/here", second, 204)
		ada.ask("POST", "/away", first, 204)
		grace.ask("POST", "/here", first, 204)
		if html := page.expect("people"); !strings.Contains(html, "<b>2</b> here") || strings.Count(html, `you"`) != 1 {
			t.Error(html)
		}
		ada.ask("POST", "/away", second, 204)
		page.expect("people")
		if html := page.expect("people"); !strings.Contains(html, "<b>0</b> here") { // after 90 s
			t.Error(html)
		}
	})
}

// What is wrong is refused, and changes nothing.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ada, _ := s.visit(t)
		ada.ask("GET", "/", nil, 200)
		stranger := &browser{t, s, s.HTTPClient()}
		for _, path := range []string{"/questions", "/questions/1/vote", "/questions/1/answer", "/poll/0", "/here", "/away"} {
			stranger.ask("POST", path, nil, 401)
		}
		stranger.ask("GET", "/live", nil, 401)
		before := ada.site.stage.questions("")
		for path, status := range map[string]int{
			"/questions/0/vote": 404, "/questions/5/vote": 404, "/questions/x/answer": 404, "/poll/4": 404, "/poll/x": 404, "/here": 400, "/away": 400,
		} {
			ada.ask("POST", path, nil, status)
		}
		for _, text := range []string{"", "  ", strings.Repeat("?", 141)} {
			if form := ada.ask("POST", "/questions", url.Values{"text": {text}}, 200); !strings.Contains(form, "at most 140") {
				t.Error(form)
			}
		}
		ada.ask("POST", "/questions", url.Values{"text": {strings.Repeat("?", 5<<10)}}, 400)
		ada.ask("POST", "/here", url.Values{"visit": {"short"}}, 400)
		if got := s.stage.questions(""); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("%v, was %v", got, before)
		}
		r := httptest.NewRequest(http.MethodPost, "/poll/0", nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		if s.handler().ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("a page of another site: %d", w.Code)
		}
		r = httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = "rebind.test" // which was made to resolve to this machine
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv6loopback, Port: 80})))
		w = httptest.NewRecorder()
		if s.handler().ServeHTTP(w, r); w.Code != http.StatusMisdirectedRequest {
			t.Errorf("a page of another name: %d", w.Code)
		}
	})
}

// A stage has bounds.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ada, _ := s.visit(t)
		for i := range mostVotes {
			if err := s.stage.vote(fmt.Sprint(i), 1); err != nil {
				break
			}
			_ = s.stage.choose(fmt.Sprint(i), 1)
		}
		ada.ask("POST", "/questions/1/vote", nil, 409)
		ada.ask("POST", "/poll/0", nil, 409)
		for range mostQuestions - len(s.stage.asked) {
			ada.ask("POST", "/questions", url.Values{"text": {"?"}}, 200)
		}
		if form := ada.ask("POST", "/questions", url.Values{"text": {"one more"}}, 200); !strings.Contains(form, "enough") {
			t.Error(form)
		}
		if n := len(s.stage.asked); n != mostQuestions {
			t.Errorf("%d questions", n)
		}
	})
}
