package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// renFetch follows a redirect within the page's origin, and gives the client id to no
// other, though that would take it.
func TestRedirects(t *testing.T) {
	t.Parallel()
	Require(t)
	var asked, learned atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "X-Ren-Client, Authorization")
		asked.Add(1)
		if r.Header.Get("X-Ren-Client") != "" {
			learned.Add(1)
		}
	}))
	t.Cleanup(other.Close)
	app := StartApp(t)
	tab := NewUser(t).OpenFaulty(app.URL)
	live(tab)
	// The page's way to a path that redirects to an address: the client id that has
	// come there, or the name of the error.
	ask := func(way, to string) string {
		t.Helper()
		return Eval[string](tab, fmt.Sprintf(`import('/api/maravilla/realtime.js').then(({ renFetch }) =>
			%s('/redirect?to=' + encodeURIComponent(%q))).then((answer) => answer.text(), (error) => error.name)`, way, to))
	}
	if id, want := ask("renFetch", "/id"), Eval[string](tab, `id`); id != want {
		t.Errorf("after a redirect within the origin the server was given %q, want the page's id %q", id, want)
	}
	if name := ask("renFetch", other.URL); name != "TypeError" || asked.Load() > 0 {
		t.Errorf("a redirect to another origin was asked for %d times, id included %d times, and gave %q; want a TypeError", asked.Load(), learned.Load(), name)
	}
	if ask("fetch", other.URL); asked.Load() != 1 {
		t.Errorf("the other origin was asked %d times by fetch, want once", asked.Load())
	}
}
