package main

import (
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

//go:embed templates
var templates embed.FS

var pages = template.Must(template.ParseFS(templates, "templates/*.html"))

// app is the app as it was, and rt.
type app struct {
	sessions sessions
	orders   orders
	rt       *realtime.Realtime // Added
}

func newApp() *app {
	a := &app{}
	a.orders.add("acme", "Anvils, 12 pieces")
	a.orders.add("acme", "Rocket skates, size 42")
	a.orders.advance("acme", a.orders.add("acme", "Giant magnet"))
	a.orders.add("globex", "Weather machine, spare parts")
	a.orders.add("globex", "Hammocks, 40 pieces")
	return a
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.signedIn(a.home))
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.signedIn(a.logout))
	mux.HandleFunc("GET /api/orders", a.signedIn(a.listOrders))
	mux.HandleFunc("POST /api/orders", a.signedIn(a.addOrder))
	mux.HandleFunc("POST /api/orders/{id}/advance", a.signedIn(a.advanceOrder))
	mux.Handle("/", web.Files(page))

	// Added: streams, WebSockets and the browser SDK, which ask the policy.
	mux.Handle("/api/maravilla/", a.rt.Handler())

	var h http.Handler = mux
	h = a.rt.Attribute(h) // Added: tabs recognise what their own requests caused
	h = web.Secure(h)
	h = http.NewCrossOriginProtection().Handler(h) // pages of other sites cannot post with a user's cookie
	return logged(h)
}

// home shows the orders; the page fetches them.
func (a *app) home(w http.ResponseWriter, _ *http.Request, u user) {
	show(w, http.StatusOK, "orders.html", map[string]string{"ID": u.id, "Name": u.name, "Team": u.team})
}

func show(w http.ResponseWriter, status int, name string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := pages.ExecuteTemplate(w, name, data); err != nil {
		slog.Error("page", "name", name, "error", err)
	}
}

// logged is the app's middleware: it logs each request when it has ended.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		slog.Info("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "took", time.Since(began))
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Added: Unwrap lets streams flush and WebSockets take the connection over. Any
// middleware that wraps the ResponseWriter needs it.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
