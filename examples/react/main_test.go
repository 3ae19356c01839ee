package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// open starts a board, which ends with the test.
func open(t *testing.T) *board {
	t.Helper()
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(rt, nil)
	t.Cleanup(func() {
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		store.Close()
	})
	b := &board{rt: rt, store: store}
	if err := b.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// tab is the client id that requests of ask bring.
const tab = "the-tab-of-the-test"

// ask sends a request and expects a status.
func ask(t *testing.T, b *board, method, path, body string, want int) string {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-Ren-Client", tab)
	w := httptest.NewRecorder()
	if b.handler(page).ServeHTTP(w, r); w.Code != want {
		t.Fatalf("%s %s %s: %d %s; want %d", method, path, body, w.Code, w.Body, want)
	}
	return strings.TrimSpace(w.Body.String())
}

const ada = `"by":{"id":"ada","name":"Ada"}`

func TestCards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		ask(t, b, "POST", "/api/cards", `{"text":" Bake a cake ",`+ada+`}`, 204)
		ask(t, b, "PATCH", "/api/cards/000002", `{"done":true,`+ada+`}`, 204)
		ask(t, b, "DELETE", "/api/cards/000003", "", 204)
		want := `[{"id":"000001","text":"Agree on a date","done":true,"by":{"id":"robot","name":"Robot"}},` +
			`{"id":"000002","text":"Write the announcement","done":true,` + ada + `},` +
			`{"id":"000004","text":"Invite everybody","done":false,"by":{"id":"robot","name":"Robot"}},` +
			`{"id":"000005","text":"Bake a cake","done":false,` + ada + `}]`
		if got := ask(t, b, "GET", "/api/cards", "", 200); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for _, id := range []string{"000001", "000002", "000004", "000005"} {
			ask(t, b, "DELETE", "/api/cards/"+id, "", 204)
		}
		if got := ask(t, b, "GET", "/api/cards", "", 200); got != "[]" {
			t.Errorf("an empty board is %s", got)
		}
	})
}

// A write says what was written and which tab asked for it. What is finished says
// so once more, with the card.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		synctest.Wait()
		var got []string
		after := b.rt.Cursor()
		ask(t, b, "PATCH", "/api/cards/000002", `{"done":true,`+ada+`}`, 204)
		ask(t, b, "PATCH", "/api/cards/000002", `{"done":false,`+ada+`}`, 204)
		ask(t, b, "DELETE", "/api/cards/000002", "", 204)
		for ev, err := range b.rt.EventsAfter(t.Context(), realtime.EventMatch{}, after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(ev.Resource+" "+ev.Type+" "+ev.Key+" "+string(ev.Data)))
			if ev.Source == "" {
				t.Errorf("%s: nobody did it", ev.Type)
			}
			if ev.Type == "kv.delete" {
				break
			}
		}
		want := []string{
			"kv kv.put card:000002",
			`board card.done 000002 {"id":"000002","text":"Write the announcement","done":true,` + ada + `}`,
			"kv kv.put card:000002",
			"kv kv.delete card:000002",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		long := strings.Repeat("ä", 121)
		ask(t, b, "POST", "/api/cards", `{"text":" ",`+ada+`}`, 400)
		ask(t, b, "POST", "/api/cards", `{"text":"`+long+`",`+ada+`}`, 400)
		ask(t, b, "POST", "/api/cards", `{"text":"x"}`, 400)
		ask(t, b, "PATCH", "/api/cards/000001", `{"done":true}`, 400)
		ask(t, b, "PATCH", "/api/cards/999999", `{"done":true,`+ada+`}`, 404)
		ask(t, b, "PATCH", "/api/cards/%07", `{"done":true,`+ada+`}`, 404)
		ask(t, b, "DELETE", "/api/cards/"+strings.Repeat("x", 300), "", 404)
		for range most - 4 {
			ask(t, b, "POST", "/api/cards", `{"text":"x",`+ada+`}`, 204)
		}
		ask(t, b, "POST", "/api/cards", `{"text":"x",`+ada+`}`, 409)

		r := httptest.NewRequest("DELETE", "/api/cards/000001", nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		if b.handler(page).ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("from another site: %d, want 403", w.Code)
		}
	})
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		if got := ask(t, b, "GET", "/api/live", "", 200); got != `{}` {
			t.Errorf("at first: %s", got)
		}
		for _, user := range []string{"grace", "ada"} {
			if err := b.rt.Presence().Join(t.Context(), "team:launch", user, profile{user, free}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.rt.Publish(t.Context(), "talk:launch", cheer{"cheer", person{"ada", "Ada"}, heart}); err != nil {
			t.Fatal(err)
		}
		if got, want := ask(t, b, "GET", "/api/live", "", 200), `{"talk:launch":[],"team:launch":["ada","grace"]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// What is built in is the page with its bundle.
func TestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		if got := ask(t, b, "GET", "/", "", 200); !strings.Contains(got, `src="app.js"`) {
			t.Error(got)
		}
		if got := ask(t, b, "GET", "/app.js", "", 200); !strings.Contains(got, "/api/maravilla/realtime.js") {
			t.Error("app.js is not the bundle")
		}
	})
}
