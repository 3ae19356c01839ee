package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// site is the running app.
type site struct {
	*httptest.Server
	app *app
}

func open(t *testing.T) *site {
	t.Helper()
	a := newApp()
	rt, err := realtime.New(a.policy(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.rt = rt
	s := &site{httptest.NewServer(a.handler()), a}
	t.Cleanup(func() {
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

// browser has the cookies of one user.
type browser struct {
	t    *testing.T
	site *site
	*http.Client
}

// visit returns a browser in which nobody has logged in.
func (s *site) visit(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, s, &http.Client{Jar: jar, CheckRedirect: stay}}
}

// login returns the browser of a user.
func (s *site) login(t *testing.T, name string) *browser {
	t.Helper()
	b := s.visit(t)
	b.form("/login", url.Values{"user": {name}, "password": {password}}, 303, "/")
	return b
}

// ask sends a request and expects a status; it returns the answer's body.
func (b *browser) ask(method, path, body string, status int) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
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

// form posts a form, and expects a status and where the answer sends to.
func (b *browser) form(path string, values url.Values, status int, to string) *http.Response {
	b.t.Helper()
	answer, err := b.PostForm(b.site.URL+path, values)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != status || answer.Header.Get("Location") != to {
		b.t.Fatalf("POST %s: %d to %q; want %d to %q", path, answer.StatusCode, answer.Header.Get("Location"), status, to)
	}
	return answer
}

// stream is an open REN stream.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
}

// ren opens the stream, and waits until it has begun.
func (b *browser) ren() *stream {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.site.URL+"/api/maravilla/ren", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		b.t.Fatalf("REN: %s", answer.Status)
	}
	s := &stream{b.t, bufio.NewScanner(answer.Body)}
	s.expect("event: ren.hello")
	return s
}

// expect reads on to the next line of an event, and compares its beginning.
func (s *stream) expect(want string) {
	s.t.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		if strings.HasPrefix(line, "event: ") || strings.HasPrefix(line, `data: {"t":`) {
			if !strings.HasPrefix(line, want) {
				s.t.Fatalf("%s; want %s", line, want)
			}
			return
		}
	}
	s.t.Fatalf("the stream has ended (%v); want %s", s.lines.Err(), want)
}

// order reads on to the event of an order.
func (s *stream) order(typ, key string) {
	s.t.Helper()
	s.expect(`data: {"t":"db.document.` + typ + `","r":"db","k":"` + key + `"`)
}

// Each user sees what happens to the own team's orders, and that only.
func TestWhoSeesWhat(t *testing.T) {
	s := open(t)
	ann, carol, bob := s.login(t, "ann"), s.login(t, "carol"), s.login(t, " Bob ")
	anns, carols, bobs := ann.ren(), carol.ren(), bob.ren()

	bob.ask("POST", "/api/orders", `{"item":"Umbrellas"}`, 204)
	bobs.order("created", "globex:6")
	ann.ask("POST", "/api/orders", `{"item":"Dynamite"}`, 204)
	for _, of := range []*stream{anns, carols} {
		of.order("created", "acme:7") // first of all: nothing came of globex's
	}
	carol.ask("POST", "/api/orders/7/advance", "", 204)
	for _, of := range []*stream{anns, carols} {
		of.order("updated", "acme:7")
	}
	bob.ask("POST", "/api/orders/6/advance", "", 204)
	bobs.order("updated", "globex:6")

	bob.ask("POST", "/api/orders/7/advance", "", 404) // it is not theirs
	if got := bob.ask("GET", "/api/orders", "", 200); !strings.Contains(got, "Umbrellas") || strings.Contains(got, "Dynamite") {
		t.Errorf("Bob has %s", got)
	}
	if got := carol.ask("GET", "/api/orders", "", 200); strings.Contains(got, "Umbrellas") || !strings.Contains(got, `"Dynamite","status":"packed"`) {
		t.Errorf("Carol has %s", got)
	}
}

// Who has not logged in gets the form, and nothing else.
func TestAnonymous(t *testing.T) {
	s := open(t)
	b := s.visit(t)
	b.ask("GET", "/", "", 303)
	b.ask("GET", "/login", "", 200)
	b.ask("GET", "/api/orders", "", 401)
	b.ask("POST", "/api/orders", `{"item":"x"}`, 401)
	b.ask("GET", "/api/maravilla/ren", "", 401)
	if conn, _, err := b.dial(); err == nil {
		conn.CloseNow()
		t.Error("a WebSocket was opened")
	}
	b.form("/logout", nil, 303, "/login")
	b.form("/login", url.Values{"user": {"ann"}, "password": {"wrong"}}, 401, "")
	b.form("/login", url.Values{"user": {"nobody"}, "password": {password}}, 401, "")
	b.ask("GET", "/api/maravilla/ren", "", 401)
}

func (b *browser) dial() (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(b.t.Context(), b.site.URL+"/api/maravilla/realtime", &websocket.DialOptions{
		HTTPClient: b.Client, Subprotocols: []string{"maravilla.realtime.v1"},
	})
}

// A team's channel is for its members to be present in. The socket passes through
// the app's middleware.
func TestChannels(t *testing.T) {
	s := open(t)
	for name, ops := range map[string][]struct{ op, want string }{
		"ann": {
			{`{"op":"subscribe","channel":"team:acme"}`, "subscribed"},
			{`{"op":"join","channel":"team:acme"}`, "ok"},
			{`{"op":"join","channel":"team:acme","userId":"carol"}`, "user_mismatch"},
			{`{"op":"publish","channel":"team:acme","data":1}`, "forbidden"},
		},
		"bob": {
			{`{"op":"subscribe","channel":"team:acme"}`, "forbidden"},
			{`{"op":"join","channel":"team:acme"}`, "forbidden"},
			{`{"op":"subscribe","channel":"team:globex2"}`, "forbidden"},
			{`{"op":"subscribe","channel":"team:globex"}`, "subscribed"},
		},
	} {
		conn, _, err := s.login(t, name).dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		if got := answer(t, conn, `{"op":"hello","cid":"browser-of-`+name+`-0001"}`); got != "hello" {
			t.Fatalf("hello: %s", got)
		}
		for _, c := range ops {
			if got := answer(t, conn, strings.Replace(c.op, "{", `{"ref":1,`, 1)); got != c.want {
				t.Errorf("%s: %s: %s, want %s", name, c.op, got, c.want)
			}
		}
	}
}

// answer sends a frame, and returns the event of its answer, or the error's code.
func answer(t *testing.T, conn *websocket.Conn, frame string) string {
	t.Helper()
	ctx, cancel := pace.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var got struct {
				Event, Code string
				Ref         int
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatal(err)
			}
			if got.Event == "hello" || got.Ref != 0 {
				return cmp.Or(got.Code, got.Event)
			}
		}
	}
}

// Who logs out is cut off, in all browsers, and nobody else is.
func TestLogout(t *testing.T) {
	s := open(t)
	ann, other, carol := s.login(t, "ann"), s.login(t, "ann"), s.login(t, "carol")
	streams, carols := []*stream{ann.ren(), other.ren()}, carol.ren()
	ann.form("/logout", nil, 303, "/login")
	for _, of := range streams {
		of.expect("event: ren.bye")
		var rest []string
		for of.lines.Scan() {
			rest = append(rest, of.lines.Text())
		}
		if got := strings.Join(rest, "\n"); !strings.Contains(got, `"reason":"revoked"`) {
			t.Errorf("the stream ended with %s", got)
		}
	}
	for _, b := range []*browser{ann, other} {
		b.ask("GET", "/api/orders", "", 401)
		b.ask("GET", "/api/maravilla/ren", "", 401)
	}
	carol.ask("POST", "/api/orders", `{"item":"Dynamite"}`, 204)
	carols.order("created", "acme:6")
}

// What is written is told to others, although its user has left the page.
func TestUserLeavesThePage(t *testing.T) {
	s := open(t)
	after := s.app.rt.Cursor()
	ctx, leave := context.WithCancel(t.Context())
	leave()
	s.app.announce(ctx, realtime.DocumentCreated("orders", "acme:1"))
	s.app.announce(t.Context(), realtime.DocumentCreated("orders", "acme:2"))
	ev, err := s.app.rt.WaitFor(t.Context(), realtime.EventMatch{}, after)
	if err != nil || ev.Key != "acme:1" {
		t.Errorf("the first event is %+v, %v", ev, err)
	}
}

// The rights of a stream end with the session.
func TestSessionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		token, _ := a.sessions.begin(users["ann"])
		r := httptest.NewRequest(http.MethodGet, "/api/maravilla/ren", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: token})
		id, err := a.policy().Authenticate(r)
		if err != nil || id.User != "ann" || !id.Expires.Equal(time.Now().Add(sessionLife)) {
			t.Errorf("%+v, %v", id, err)
		}
		time.Sleep(sessionLife)
		if _, err := a.policy().Authenticate(r); err == nil {
			t.Error("the session outlived its life")
		}
		a.sessions.begin(users["bob"])
		if len(a.sessions.open) != 1 {
			t.Errorf("%d sessions are kept", len(a.sessions.open))
		}
	})
}

// Cookies are no scripts' business, and of no use to pages of other sites.
func TestCookie(t *testing.T) {
	s := open(t)
	answer := s.visit(t).form("/login", url.Values{"user": {"ann"}, "password": {password}}, 303, "/")
	cookies := answer.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" {
		t.Errorf("%v", cookies)
	}
	for _, path := range []string{"/login", "/logout", "/api/orders"} {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.AddCookie(cookies[0])
		w := httptest.NewRecorder()
		if s.app.handler().ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("POST %s from another site: %d, want 403", path, w.Code)
		}
	}
}

func TestOrders(t *testing.T) {
	s := open(t)
	ann := s.login(t, "ann")
	ann.ask("POST", "/api/orders", `{"item":" "}`, 400)
	ann.ask("POST", "/api/orders/3/advance", "", 204)
	ann.ask("POST", "/api/orders/3/advance", "", 404) // it has been shipped
	ann.ask("POST", "/api/orders/none/advance", "", 404)
	for range most - 3 {
		ann.ask("POST", "/api/orders", `{"item":"x"}`, 204)
	}
	ann.ask("POST", "/api/orders", `{"item":"x"}`, 409)
	if got := ann.ask("GET", "/", "", 200); !strings.Contains(got, `data-user="ann" data-name="Ann" data-team="acme"`) {
		t.Error(got)
	}
}
