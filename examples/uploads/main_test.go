package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/storage"
)

const most = 1 << 10

// open starts a gallery, which ends with the test.
func open(t *testing.T) (server *httptest.Server, dir string) {
	t.Helper()
	dir = t.TempDir()
	objects, err := storage.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := realtime.New(policy, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &gallery{rt: rt, store: storage.New(rt, objects, nil), most: most}
	server = httptest.NewServer(g.handler())
	t.Cleanup(func() {
		server.Close()
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		objects.Close()
	})
	return server, dir
}

// ask sends a request and expects a status and, unless it is "", something in
// the answer.
func ask(t *testing.T, server *httptest.Server, method, path string, body []byte, status int, want string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != status || !strings.Contains(got.String(), want) {
		t.Errorf("%s %s: %d %s; want %d %s", method, path, answer.StatusCode, &got, status, want)
	}
}

func at(verb, name string) string { return "/api/storage/" + verb + "?path=" + url.QueryEscape(name) }

func TestGallery(t *testing.T) {
	server, _ := open(t)
	ask(t, server, "GET", "/", nil, 200, "Maravilla gallery")
	ask(t, server, "GET", "/api/photos", nil, 200, "[]\n")
	ask(t, server, "POST", at("upload", "photos/a b.png"), []byte("picture"), 201, `"type":"image/png"`)
	ask(t, server, "GET", "/api/photos", nil, 200, `"path":"photos/a b.png","size":7`)
	ask(t, server, "POST", at("upload", "photos/a b.png"), []byte("another"), 200, "")
	ask(t, server, "GET", at("download", "photos/a b.png")+"&v=1", nil, 200, "another")
	ask(t, server, "DELETE", at("delete", "photos/a b.png"), nil, 204, "")
	ask(t, server, "GET", "/api/photos", nil, 200, "[]\n")
}

func TestRefused(t *testing.T) {
	server, dir := open(t)
	ask(t, server, "POST", at("upload", "photos/large.png"), make([]byte, most+1), 413, "too_large")
	ask(t, server, "POST", at("upload", "photos/../secret.png"), nil, 400, "bad_name")
	ask(t, server, "POST", at("upload", "photos/.hidden"), nil, 400, "bad_name")
	ask(t, server, "POST", at("upload", "elsewhere/a.png"), nil, 403, "forbidden")
	ask(t, server, "GET", at("download", "elsewhere/a.png"), nil, 403, "forbidden")
	ask(t, server, "DELETE", at("delete", "photos/none.png"), nil, 404, "not_found")
	ask(t, server, "POST", at("upload", "photos/just right.png"), make([]byte, most), 201, "")
	found, err := os.ReadDir(dir + "/photos")
	if err != nil || len(found) != 1 {
		t.Errorf("%v, %v; want the one that was right", found, err)
	}
}

// Everybody sees pictures, and can say how far they are, but nothing else.
func TestPolicy(t *testing.T) {
	for _, a := range []realtime.Action{
		{Verb: realtime.VerbUpload, Name: "private/a.png"},
		{Verb: realtime.VerbSubscribe, Name: "room:1"},
		{Verb: realtime.VerbJoin, Name: "uploads"},
		{Verb: realtime.VerbPublish, Name: folder},
	} {
		if policy.Allow(t.Context(), realtime.Identity{}, a) == nil {
			t.Errorf("%+v is allowed", a)
		}
	}
	for _, a := range []realtime.Action{
		{Verb: realtime.VerbSubscribe, Name: "uploads"},
		{Verb: realtime.VerbPublish, Name: "uploads"},
		{Verb: realtime.VerbDelete, Name: folder + "a.png"},
	} {
		if err := policy.Allow(t.Context(), realtime.Identity{}, a); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// A temporary gallery leaves nothing, a given directory keeps what it has.
func TestRun(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	if err := run(t.Context(), "localhost:-1", "", most); err == nil {
		t.Error("it served at port -1")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	given := t.TempDir()
	if err := run(t.Context(), "localhost:-1", given, most); err == nil {
		t.Error("it served at port -1")
	}
	if _, err := os.Stat(given); err != nil {
		t.Error(err)
	}
}

// A page of another site whose name was made to resolve to this machine gets
// nothing, neither from the library nor from the app.
func TestRebinding(t *testing.T) {
	server, _ := open(t)
	for _, route := range []struct{ method, path string }{
		{"GET", "/"}, {"GET", "/api/photos"}, {"GET", "/api/maravilla/ren"}, {"GET", "/api/maravilla/realtime"},
		{"GET", "/api/storage/download?path=photos/1.png"}, {"POST", "/api/storage/upload?path=photos/1.png"},
		{"DELETE", "/api/storage/delete?path=photos/1.png"},
	} {
		for host, refused := range map[string]bool{"rebind.test": true, "localhost:8080": false, "": false} {
			r, err := http.NewRequestWithContext(t.Context(), route.method, server.URL+route.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode == http.StatusMisdirectedRequest; got != refused {
				t.Errorf("%s %s for %q: %s", route.method, route.path, host, resp.Status)
			}
		}
	}
}
