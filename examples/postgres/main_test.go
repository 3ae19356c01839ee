package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/internal/test/localpg"
)

// The nodes are this test's binary once more.
func TestMain(m *testing.M) {
	if child.Name() != "" {
		child.Main(serveNode)
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what has to come.
const patience = 2 * time.Minute

// open starts a database, both processes, and what is in front of them.
func open(t *testing.T) (*store, *httptest.Server) {
	t.Helper()
	db, err := openDatabase(t.Context(), "")
	if errors.Is(err, localpg.ErrMissing) && os.Getenv("REALTIME_REQUIRE_POSTGRES") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.close(); err != nil {
			t.Error(err)
		}
	})
	nodes, err := startNodes(t.Context(), db.url, "a", "b")
	t.Cleanup(func() { stopNodes(nodes) })
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(newFront(nodes, db).handler())
	t.Cleanup(srv.Close)
	return db, srv
}

const order = `{"customer":"Granny","item":"Bird cage","cents":4990}`

var orderRequests = []struct {
	method, path, body string
	want               int
}{
	{"POST", "?by=Ada", order, 204},
	{"POST", "?by=Ada", strings.Replace(order, "4990", "99900", 1), 409},
	{"POST", "?by=Ada", strings.Replace(order, "4990", "0", 1), 400},
	{"POST", "", order, 400},
	{"POST", "?by=Ada", "{", 400},
	{"PATCH", "/6?by=Grace", `{"status":"paid"}`, 204},
	{"PATCH", "/6?by=Grace", `{"status":"lost"}`, 400},
	{"PATCH", "/99?by=Grace", `{"status":"paid"}`, 404},
	{"DELETE", "/none?by=Grace", "", 404},
	{"DELETE", "/6?by=Grace", "", 204},
}

// What is written through one process, or by psql, is told by the other one, in the order
// of the commits; what is refused or rolled back is not told.
func TestBoard(t *testing.T) {
	db, srv := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	told := followBoard(t, ctx, srv.URL+"/b/api/maravilla/ren")
	for _, c := range orderRequests {
		req, err := http.NewRequestWithContext(ctx, c.method, srv.URL+"/a/api/orders"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s %s: %s, want %d", c.method, c.path, c.body, resp.Status, c.want)
		}
	}
	want := []string{"created 6 by Ada", "updated 6 by Grace", "deleted 6 by Grace"}
	if db.psql == "" {
		t.Log("there is no psql")
	} else {
		if got := db.runPsql(ctx, []string{`begin`, `delete from orders`, `rollback`, `delete from orders where status = 'packed'`}); got != "BEGIN\nDELETE 5\nROLLBACK\nDELETE 1" {
			t.Errorf("psql says %q", got)
		}
		want = append(want, "deleted 2 by ")
	}
	for _, want := range want {
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%q is not told", want)
		}
	}
}

// followBoard returns what a stream that is open tells.
func followBoard(t *testing.T, ctx context.Context, url string) <-chan string {
	greeted := make(chan struct{}, 1)
	ren, err := client.NewRen(url, &client.RenOptions{Subscriptions: []string{"db"}, OnState: func(s client.State) {
		if s == client.StateOpen {
			greeted <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 100)
	go func() {
		for ev, err := range ren.Events(ctx) {
			if err != nil {
				told <- err.Error()
				continue
			}
			told <- strings.TrimPrefix(ev.Type, "db.document.") + " " + ev.Key + " by " + ev.User
		}
	}()
	select {
	case <-greeted:
	case <-ctx.Done():
		t.Fatal("the stream does not open")
	}
	return told
}

// Of an order of one's own nothing is run in the database.
func TestPsqlRunsButtonsOnly(t *testing.T) {
	f := newFront(nil, &store{psql: "psql"})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /psql/{name}", f.run)
	for _, name := range []string{"drop table orders", "order", ""} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/psql/"+strings.ReplaceAll(name, " ", "%20"), nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
	}
}

// What the page shows of a database that was there has no password.
func TestCommandHasNoPassword(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://ada:secret@db.test:5433/shop?sslmode=disable":            `psql -h 'db.test' -p 5433 -U 'ada' -d 'shop'`,
		"host=db.test port=5432 user=o'ada password=secret dbname='my shop'": `psql -h 'db.test' -p 5432 -U 'o'\''ada' -d 'my shop'`,
		"postgres:///shop?host=/run/pg&port=5432&user=ada&password=secret":   `psql -h '/run/pg' -p 5432 -U 'ada' -d 'shop'`,
	} {
		if got, err := (&store{url: url}).commandFor(); err != nil || got != want {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
}

// Where nothing can be started, it is said what to do.
func TestNoPostgres(t *testing.T) {
	t.Setenv("REALTIME_POSTGRES", t.TempDir())
	if _, err := openDatabase(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "initdb") {
		t.Errorf("the error is %v", err)
	}
}

// A page whose name was made to resolve to this machine runs no statements.
func TestRebinding(t *testing.T) {
	srv := httptest.NewServer(newFront([]*child.Process{{Name: "a", URL: &url.URL{}}}, &store{psql: "psql"}).handler())
	defer srv.Close()
	for path, method := range map[string]string{
		"/": "GET", "/place": "GET", "/psql/pay": "POST", "/a/api/orders": "GET", "/api/maravilla/realtime.js": "GET",
	} {
		r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "rebind.test"
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s %s: %s", method, path, resp.Status)
		}
	}
}
