package storage_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/storage"
)

// troubled are objects of which the test decides how they fail, and which note what type is
// claimed.
type troubled struct {
	storage.Objects
	fail  func(ctx context.Context) error
	types []string
}

func (o *troubled) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	o.types = append(o.types, typ)
	return o.Objects.Put(ctx, path, typ, body)
}

func (o *troubled) Delete(ctx context.Context, path string) error {
	if o.fail != nil {
		return o.fail(ctx)
	}
	return o.Objects.Delete(ctx, path)
}

// serveTroubled serves troubled objects, whose calls have a second.
func serveTroubled(t *testing.T) (*site, *troubled) {
	t.Helper()
	dir, err := storage.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	var handler http.Handler
	s := serve(t, open(), nil, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) })
	})
	o := &troubled{Objects: dir}
	store := storage.New(s.rt, o, &storage.Options{CallTimeout: time.Second})
	handler = storage.Handler(s.rt, store, &storage.HandlerOptions{Logger: slog.New(slog.NewTextHandler(&s.logs, nil))})
	return s, o
}

// A client is told whether to try again, and the log why, but neither is told the other's.
func TestTroubleIsExplained(t *testing.T) {
	for _, c := range []struct {
		name   string
		fail   func(ctx context.Context) error
		status int
		code   string
		logged string
	}{
		{"no answer", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 503, "unavailable", "does not answer in time"},
		{"broken", func(context.Context) error { return errors.New("the disk is broken") }, 500, "internal", "a request failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o := serveTroubled(t)
				s.upload("a", "x")
				o.fail = c.fail
				r := s.do("DELETE", "delete?path=a", nil)
				s.refused(c.name, r, c.status, c.code)
				synctest.Wait()
				if log := s.logs.String(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, c.logged) || strings.Contains(r.body, "disk") {
					t.Errorf("answered with %s, and logged: %s", r.body, log)
				}
			})
		})
	}
}

// A query that is malformed, or has not one path, is refused before anything is done.
func TestBadQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		for _, query := range []string{"", "?", "?name=a", "?path=a&path=b", "?path=%zz", "?path=a;b", "?path=a&x=%zz"} {
			s.refused(query, s.do("POST", "upload"+query, strings.NewReader("x")), 400, "bad_request")
			s.refused(query, s.do("DELETE", "delete"+query, nil), 400, "bad_request")
		}
		s.nothing("bad queries")
	})
}

// The type that a client claims is a media type without parameters, or none. The answer is
// JSON that nobody keeps.
func TestClaimedTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := serveTroubled(t)
		longest := "text/" + strings.Repeat("x", 127-len("text/"))
		for claimed, want := range map[string]string{
			"text/plain; charset=utf-8": "text/plain", "IMAGE/PNG": "image/png", "": "", "nonsense/": "", "a b": "", "text/plain; x": "",
			longest: longest, longest + "x": "",
		} {
			o.types = nil
			r := s.do("POST", "upload?path=a", strings.NewReader("x"), "Content-Type", claimed)
			if len(o.types) != 1 || o.types[0] != want {
				t.Errorf("%q is claimed, and stored as %q: %s %s", claimed, o.types, r.Status, r.body)
			}
			for header, want := range map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			} {
				if got := r.Header.Get(header); got != want {
					t.Errorf("the answer has %s %q, want %q", header, got, want)
				}
			}
		}
	})
}
