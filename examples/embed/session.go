package main

import (
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// user is who can log in.
type user struct {
	id, name, team string
}

// users are the app's. A real one keeps a slow hash of each password, and slows
// down who guesses.
var users = map[string]user{
	"ann":   {"ann", "Ann", "acme"},
	"carol": {"carol", "Carol", "acme"},
	"bob":   {"bob", "Bob", "globex"},
}

const password = "demo"

const sessionLife = 12 * time.Hour

type session struct {
	user    user
	expires time.Time
}

// sessions are those that are open, by the token in their cookie.
type sessions struct {
	mu   sync.Mutex
	open map[string]session
}

// begin opens a session, and forgets those that are over.
func (ss *sessions) begin(u user) (token string, s session) {
	token, s = rand.Text(), session{u, time.Now().Add(sessionLife)}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open == nil {
		ss.open = make(map[string]session)
	}
	for t, old := range ss.open {
		if !old.expires.After(time.Now()) {
			delete(ss.open, t)
		}
	}
	ss.open[token] = s
	return token, s
}

// of returns the session that a request is of.
func (ss *sessions) of(r *http.Request) (session, bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return session{}, false
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.open[cookie.Value]
	return s, ok && s.expires.After(time.Now())
}

// end ends all sessions of a user.
func (ss *sessions) end(u user) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for t, s := range ss.open {
		if s.user == u {
			delete(ss.open, t)
		}
	}
}

func setCookie(w http.ResponseWriter, r *http.Request, token string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: "session", Value: token, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
}

// signedIn lets those in who have logged in.
func (a *app) signedIn(next func(http.ResponseWriter, *http.Request, user)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := a.sessions.of(r)
		switch {
		case ok:
			next(w, r, s.user)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			http.Error(w, "log in", http.StatusUnauthorized)
		default:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}
	}
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) {
	var note string
	if r.URL.Query().Has("ended") {
		note = "Your session has ended."
	}
	show(w, http.StatusOK, "login.html", map[string]string{"Note": note})
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	name := strings.ToLower(strings.TrimSpace(r.PostFormValue("user")))
	u, ok := users[name]
	if subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) != 1 || !ok {
		show(w, http.StatusUnauthorized, "login.html", map[string]string{"User": name, "Note": "That is not right."})
		return
	}
	token, s := a.sessions.begin(u)
	setCookie(w, r, token, s.expires)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logout ends the user's sessions, in all browsers.
func (a *app) logout(w http.ResponseWriter, r *http.Request, u user) {
	a.sessions.end(u)
	setCookie(w, r, "", time.Unix(1, 0))

	// Added, and after the sessions have ended, so that nobody gets in again: what is
	// open is cut off. When it returns, nothing more is delivered to the user.
	if err := a.rt.Revoke(r.Context(), u.id); err != nil {
		slog.Error("logout", "user", u.id, "error", err)
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
