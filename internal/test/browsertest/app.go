package browsertest

import (
	"context"
	_ "embed"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/maravilla-realtime/realtime"
)

//go:embed app.html
var appPage []byte

// App is a server with a page that listens on a REN stream and a channel, the
// users of which are whom their cookie names.
type App struct {
	URL string // ends with a slash
	Mux *http.ServeMux

	t  testing.TB
	rt *realtime.Realtime
}

// StartApp starts the server, which ends with the test.
func StartApp(t testing.TB) *App {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			id := realtime.Identity{AnyUser: true}
			if c, err := r.Cookie("user"); err == nil {
				id.User = c.Value
			}
			return id, nil
		},
		Allow:  func(context.Context, realtime.Identity, realtime.Action) error { return nil },
		Grants: realtime.AllowAll().Grants,
	}, &realtime.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	app := &App{Mux: mux, t: t, rt: rt}
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/id", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Ren-Client")) // the browser has gone
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(appPage) // the browser has gone
	})
	server := httptest.NewServer(rt.Attribute(mux))
	app.URL = server.URL + "/"
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return app
}

// Open tells how many streams and WebSockets are open.
func (a *App) Open() (streams, sockets int) {
	s := a.rt.Stats()
	return s.REN.Open, s.WebSocket.Open
}

// Publish publishes to the channel that the pages listen to.
func (a *App) Publish(data any) {
	a.t.Helper()
	if err := a.rt.Publish(context.Background(), "room", data); err != nil {
		a.t.Error(err)
	}
}

// Members lists the users in the channel.
func (a *App) Members() (users []string) {
	a.t.Helper()
	members, err := a.rt.Presence().Members(context.Background(), "room")
	if err != nil {
		a.t.Error(err)
	}
	for _, m := range members {
		users = append(users, m.UserID)
	}
	return users
}
