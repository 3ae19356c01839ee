package storage_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/storage"
)

func TestWritesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		created := s.do("POST", "upload?path=photos/1.png", strings.NewReader("one"), "Content-Type", "image/png")
		updated := s.do("POST", "upload?path=photos/1.png", strings.NewReader("two"), "Content-Type", "image/png")
		got := s.do("GET", "download?path=photos/1.png", nil)
		deleted := s.do("DELETE", "delete?path=photos/1.png", nil)
		s.refused("deleted twice", s.do("DELETE", "delete?path=photos/1.png", nil), 404, "not_found")
		s.refused("deleted", s.do("GET", "download?path=photos/1.png", nil), 404, "not_found")

		var first, second storage.Info
		if json.Unmarshal([]byte(created.body), &first) != nil || json.Unmarshal([]byte(updated.body), &second) != nil {
			t.Fatalf("no JSON: %s %s", created.body, updated.body)
		}
		if created.StatusCode != 201 || updated.StatusCode != 200 || deleted.StatusCode != 204 || got.StatusCode != 200 {
			t.Errorf("%s, %s, %s, %s", created.Status, updated.Status, got.Status, deleted.Status)
		}
		want := storage.Info{Path: "photos/1.png", Size: 3, Type: "image/png", Version: first.Version}
		if first != want || first.Version == "" || first.Version == second.Version {
			t.Errorf("infos %+v and %+v", first, second)
		}
		if got.body != "two" || got.Header.Get("ETag") != `"`+second.Version+`"` {
			t.Errorf("downloaded %q, ETag %s, want version %s", got.body, got.Header.Get("ETag"), second.Version)
		}
		events := s.events()
		src := events[0].Source
		if src == "" {
			t.Error("not attributed")
		}
		for i := range events {
			events[i].UnixMilli = 0
		}
		ev := func(typ, version string) realtime.RenEvent {
			return realtime.RenEvent{Type: typ, Resource: "storage", Key: "photos/1.png", Version: version, Source: src}
		}
		if diff := cmp.Diff([]realtime.RenEvent{
			ev("storage.object.created", first.Version), ev("storage.object.updated", second.Version), ev("storage.object.deleted", ""),
		}, events); diff != "" {
			t.Error(diff)
		}
		s.nothing("after deleting")
	})
}

// Promises, bad input: no name reaches what is not an object, and nothing is
// stored, deleted or told.
func TestBadNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p := open()
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { asked++; return nil }
		s := serve(t, p, nil)
		write(t, filepath.Join(s.dir, "folder", "file.txt"), "x")
		write(t, filepath.Join(s.dir, ".tmp", "half"), "x")
		write(t, filepath.Join(s.dir, "..", "outside"), "secret")
		for link, to := range map[string]string{"in": "folder/file.txt", "infolder": "folder", "out": "../outside", "outfolder": "..", "dangling": "nowhere"} {
			if err := os.Symlink(to, filepath.Join(s.dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		before := files(t, filepath.Dir(s.dir))
		syntactic := []string{
			"", ".", "..", "../x", "../outside", "a/../../x", "a/../b", "./a", "a/.", "a/..", "/x", "/etc/passwd", "//x", "a//b", "a/",
			`..\x`, `a\b`, `\x`, "C:x", `C:\x`, "C:/x", "x:stream", "a\x00b", "a\nb", "a\rb", "a\x7fb", "\u0085", "\xff", "a/\xc3",
			".tmp", ".tmp/half", ".TMP/x", ".hidden", "a/.git/config", "...", "a.", "a ", "a./b", "a /b", "a...",
			"CON", "con", "nul", "NUL.txt", "a/aux/b", "com1", "COM9.tar.gz", "lpt³", "Lpt0", "CONIN$", "nul .txt", "prn.",
			"a*", "a?", `"`, "<a>", "a|b",
			strings.Repeat("a", storage.MaxPath+1), strings.Repeat("a/", 200) + "a", strings.Repeat("é", 128),
		}
		physical := []string{"folder", "in", "infolder/file.txt", "infolder/new", "out", "outfolder/outside", "outfolder/new", "dangling", "folder/file.txt/x"}
		for i, name := range append(syntactic, physical...) {
			query := "?path=" + url.QueryEscape(name)
			s.refused("upload "+name, s.do("POST", "upload"+query, strings.NewReader("x")), 400, "bad_name")
			s.refused("delete "+name, s.do("DELETE", "delete"+query, nil), 400, "bad_name")
			s.refused("download "+name, s.do("GET", "download"+query, nil), 400, "bad_name")
			if i < len(syntactic) && asked > 0 {
				t.Errorf("the policy was asked about %q", name)
			}
		}
		for _, raw := range []string{"upload", "upload?", "upload?path=a&path=b", "upload?path=%zz", "upload?path=a;path=b"} {
			s.refused(raw, s.do("POST", raw, strings.NewReader("x")), 400, "bad_request")
		}
		s.refused("twice escaped", s.do("POST", "upload?path=%252e%252e%252fx%00", nil), 400, "bad_name")
		if after := files(t, filepath.Dir(s.dir)); after != before {
			t.Errorf("on disk before\n%s\nand after\n%s", before, after)
		}
		if said := s.said(); said != "" {
			t.Errorf("announced %s", said)
		}
	})
}

func TestGoodNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		for _, name := range []string{
			"a", "A/b/C.png", "ünïcode/Ω/日本.txt", "a b/c+d&e=f%2f#.txt", "x..y", "console", "com10", "com", "com12", "comx", "lptä", "nullable.txt", "$x", "~", "-rf", "a.tmp",
			strings.Repeat("a", storage.MaxPath), strings.Repeat("a/", 127) + "a", "e\u0301", "a'b", "👩‍👧",
		} {
			s.upload(url.QueryEscape(name), "content")
			r := s.do("GET", "download?path="+url.QueryEscape(name), nil)
			if r.StatusCode != 200 || r.body != "content" {
				t.Errorf("%q: %s %q", name, r.Status, r.body)
			}
			if said := s.said(); said != "created "+name {
				t.Errorf("%q: announced %s", name, said)
			}
			if r := s.do("DELETE", "delete?path="+url.QueryEscape(name), nil); r.StatusCode != 204 {
				t.Errorf("%q: %s", name, r.Status)
			}
			s.said()
			s.nothing(name)
		}
	})
}

func TestBadRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		form := []string{"Content-Type", "multipart/form-data; boundary=x"}
		s.refused("form", s.do("POST", "upload?path=a", strings.NewReader("--x--"), form...), 415, "unsupported_type")
		s.refused("gzip", s.do("POST", "upload?path=a", strings.NewReader("x"), "Content-Encoding", "gzip"), 415, "unsupported_type")
		for _, c := range [][2]string{{"GET", "upload"}, {"PUT", "upload"}, {"POST", "delete"}, {"GET", "delete"}, {"POST", "download"}, {"OPTIONS", "download"}} {
			r := s.do(c[0], c[1]+"?path=a", nil)
			s.refused(c[0]+" "+c[1], r, 405, "method")
			if r.Header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", c[0], c[1])
			}
		}
		s.refused("elsewhere", s.do("GET", "list?path=a", nil), 404, "not_found")
		s.nothing("bad requests")
	})
}

func TestPolicyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		p := open()
		p.Allow = func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			asked = append(asked, id.User+" "+string(a.Verb)+" "+a.Name)
			if id.User != "ada" {
				return errors.New("a secret")
			}
			return nil
		}
		s := serve(t, p, nil)
		for _, c := range []struct{ method, target, asked string }{
			{"POST", "upload?path=a/b", "upload a/b"}, {"GET", "download?path=a/b", "download a/b"}, {"DELETE", "delete?path=a/b", "delete a/b"},
		} {
			body := func() io.Reader { return strings.NewReader("x") }
			asked = nil
			s.refused("denied", s.do(c.method, c.target, body(), "Authorization", "Bearer eve"), 403, "forbidden")
			s.refused("expired", s.do(c.method, c.target, body(), "Authorization", "Bearer expired"), 401, "expired")
			if c.method != "GET" {
				s.refused("foreign", s.do(c.method, c.target, body(), "Authorization", "Bearer ada", "Sec-Fetch-Site", "cross-site"), 403, "origin")
				s.refused("foreign", s.do(c.method, c.target, body(), "Authorization", "Bearer ada", "Origin", "https://evil.test"), 403, "origin")
			}
			if len(asked) != 1 || asked[0] != "eve "+c.asked {
				t.Errorf("asked %q", asked)
			}
			if c.method == "POST" {
				s.nothing("refused")
			}
			if r := s.do(c.method, c.target, body(), "Authorization", "Bearer ada"); r.StatusCode >= 300 {
				t.Errorf("%s: %s", c.target, r.Status)
			}
		}
		if said := s.said(); said != "created a/b, deleted a/b" {
			t.Errorf("announced %s", said)
		}
	})
}

// reader hides what it reads, so that the request has no Content-Length.
type reader struct{ io.Reader }

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), &storage.HandlerOptions{MaxSize: 100_000})
		body := strings.Repeat("x", 100_001)
		s.refused("announced", s.do("POST", "upload?path=a", strings.NewReader(body)), 413, "too_large")
		s.refused("mid-stream", s.do("POST", "upload?path=a", reader{strings.NewReader(body)}), 413, "too_large")
		s.nothing("too large")
		if info := s.upload("a", body[1:]); info.Size != 100_000 {
			t.Errorf("stored %d bytes", info.Size)
		}
		if r := s.do("POST", "upload?path=b", reader{strings.NewReader(body[1:])}); r.StatusCode != 201 {
			t.Errorf("at the limit without length: %s", r.Status)
		}
		s.refused("in place of another", s.do("POST", "upload?path=a", reader{strings.NewReader(body)}), 413, "too_large")
		if got := read(t, s.store, "a"); got != body[1:] {
			t.Error("a refused upload harmed what was there")
		}
	})
}

// What was uploaded is never taken for a part of the site.
func TestDownloadsAreInert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		for _, c := range []struct{ path, claimed, typ, disposition string }{
			{"a.png", "image/png", "image/png", "inline; filename=a.png"},
			{"a.PNG", "text/html", "image/png", "inline; filename=a.PNG"},
			{"b.jpeg", "", "image/jpeg", "inline; filename=b.jpeg"},
			{"a.mp4", "video/mp4", "video/mp4", "inline; filename=a.mp4"},
			{"a.txt", "text/html", "text/plain; charset=utf-8", "inline; filename=a.txt"},
			{"a.html", "text/html", "application/octet-stream", "attachment; filename=a.html"},
			{"a.svg", "image/svg+xml", "application/octet-stream", "attachment; filename=a.svg"},
			{"a.xml", "text/xml", "application/octet-stream", "attachment; filename=a.xml"},
			{"a.js", "text/javascript", "application/octet-stream", "attachment; filename=a.js"},
			{"a.css", "text/css", "application/octet-stream", "attachment; filename=a.css"},
			{"a.pdf", "application/pdf", "application/octet-stream", "attachment; filename=a.pdf"},
			{"x.png.html", "image/png", "application/octet-stream", "attachment; filename=x.png.html"},
			{"noextension", "image/png", "application/octet-stream", "attachment; filename=noextension"},
			{"a;b \u202eü.exe", "", "application/octet-stream", "attachment; filename*=utf-8''a%3Bb%20%E2%80%AE%C3%BC.exe"},
		} {
			if r := s.do("POST", "upload?path="+url.QueryEscape(c.path), strings.NewReader("<script>"), "Content-Type", c.claimed); r.StatusCode != 201 {
				t.Fatalf("%s: %s %s", c.path, r.Status, r.body)
			}
			r := s.do("GET", "download?path="+url.QueryEscape(c.path), nil)
			for header, want := range map[string]string{
				"Content-Type": c.typ, "Content-Disposition": c.disposition, "X-Content-Type-Options": "nosniff",
				"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "private, no-cache",
				"Content-Security-Policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
			} {
				if got := r.Header.Get(header); got != want {
					t.Errorf("%s: %s is %q, want %q", c.path, header, got, want)
				}
			}
		}
	})
}

// claims is a store that believes what senders claim, as some do.
type claims struct{ storage.Objects }

func (c claims) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	f, info, err := c.Objects.Open(ctx, path)
	info.Type, _ = url.PathUnescape(path)
	return f, info, err
}

func TestClaimedTypesAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := storage.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		var believing http.Handler
		s := serve(t, open(), nil, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { believing.ServeHTTP(w, r) })
		})
		believing = storage.Handler(s.rt, storage.New(s.rt, claims{dir}, nil), nil)
		for claim, want := range map[string]string{
			"image/png": "image/png", "IMAGE/PNG": "image/png", "text/plain": "text/plain; charset=utf-8",
			"text/plain%3B charset=utf-7": "text/plain; charset=utf-8", "image/svg+xml": "application/octet-stream",
			"text/html": "application/octet-stream", "image/png, text/html": "application/octet-stream",
			"image/png; x": "application/octet-stream",
		} {
			query := "?path=" + url.QueryEscape(claim)
			s.do("POST", "upload"+query, strings.NewReader("x"))
			if r := s.do("GET", "download"+query, nil); r.Header.Get("Content-Type") != want {
				t.Errorf("%s is served as %q, want %q", claim, r.Header.Get("Content-Type"), want)
			} else if how, _, _ := strings.Cut(r.Header.Get("Content-Disposition"), ";"); (how == "inline") == (want == "application/octet-stream") {
				t.Errorf("%s is shown %s", claim, how)
			}
		}
	})
}

func TestDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		info := s.upload("a.txt", "0123456789")
		etag := `"` + info.Version + `"`
		for _, c := range []struct {
			method string
			header []string
			status int
			body   string
		}{
			{"GET", nil, 200, "0123456789"},
			{"HEAD", nil, 200, ""},
			{"GET", []string{"Range", "bytes=2-4"}, 206, "234"},
			{"GET", []string{"Range", "bytes=-2"}, 206, "89"},
			{"GET", []string{"Range", "bytes=10-"}, 416, ""},
			{"GET", []string{"If-None-Match", etag}, 304, ""},
			{"GET", []string{"If-None-Match", `"other"`}, 200, "0123456789"},
			{"GET", []string{"If-Match", `"other"`}, 412, ""},
			{"GET", []string{"Range", "bytes=2-4", "If-Range", etag}, 206, "234"},
			{"GET", []string{"Range", "bytes=2-4", "If-Range", `"other"`}, 200, "0123456789"},
		} {
			r := s.do(c.method, "download?path=a.txt", nil, c.header...)
			if r.StatusCode != c.status || c.status < 300 && r.body != c.body || r.Header.Get("ETag") != etag && c.status < 400 {
				t.Errorf("%s %q: %s %q %v", c.method, c.header, r.Status, r.body, r.Header)
			}
			if c.status == 200 && r.ContentLength != 10 {
				t.Errorf("%s %q: length %d", c.method, c.header, r.ContentLength)
			}
		}
		if said := s.said(); said != "created a.txt" {
			t.Errorf("announced %s", said)
		}
	})
}

// TestCrossOrigin: pages of listed origins can upload, delete, download, and read
// why not; to those of others nothing is said.
func TestCrossOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const app = "https://app.example.com"
		p := open()
		p.Origins = []string{app}
		s := serve(t, p, nil)
		from := []string{"Origin", app, "Sec-Fetch-Site", "cross-site"}
		for _, c := range []struct {
			method, target string
			status         int
		}{
			{"POST", "upload?path=a.txt", 201}, {"GET", "download?path=a.txt", 200}, {"DELETE", "delete?path=a.txt", 204},
			{"DELETE", "delete?path=a.txt", 404}, {"PUT", "upload?path=a.txt", 405}, {"POST", "upload?path=..", 400},
		} {
			ask := append([]string{"Access-Control-Request-Method", c.method, "Access-Control-Request-Headers", "authorization,content-type,x-ren-client"}, from...)
			preflight := s.do("OPTIONS", c.target, nil, ask...)
			if got := preflight.Header; preflight.StatusCode != 204 || got.Get("Access-Control-Allow-Origin") != app ||
				got.Get("Access-Control-Allow-Methods") != c.method || got.Get("Access-Control-Allow-Headers") != "authorization,content-type,x-ren-client" {
				t.Errorf("preflight of %s %s: %s %v", c.method, c.target, preflight.Status, got)
			}
			r := s.do(c.method, c.target, strings.NewReader("x"), from...)
			if got := r.Header; r.StatusCode != c.status || got.Get("Access-Control-Allow-Origin") != app ||
				got.Get("Access-Control-Allow-Credentials") != "true" || got.Get("Access-Control-Expose-Headers") != "ETag, Retry-After, X-Ren-Cursor" ||
				got.Get("X-Ren-Cursor") == "" {
				t.Errorf("%s %s: %s %v", c.method, c.target, r.Status, got)
			}
		}
		if said := s.said(); said != "created a.txt, deleted a.txt" {
			t.Errorf("announced %s", said)
		}

		foreign := []string{"Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site"}
		preflight := s.do("OPTIONS", "upload?path=a.txt", nil, append(foreign, "Access-Control-Request-Method", "POST")...)
		s.refused("foreign preflight", preflight, 405, "method")
		upload := s.do("POST", "upload?path=a.txt", strings.NewReader("x"), foreign...)
		s.refused("foreign upload", upload, 403, "origin")
		for _, r := range []reply{preflight, upload, s.do("GET", "download?path=a.txt", nil, foreign...)} {
			if got := r.Header; got.Get("Access-Control-Allow-Origin") != "" || got.Get("Vary") != "Origin" {
				t.Errorf("foreign: %s %v", r.Status, got)
			}
		}
		s.nothing("foreign")
	})
}
