package refused_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// What is refused again is one note, the newest; the oldest of 201 is forgotten.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := refused.NewLog()
		refuse := func(i int) {
			l.Add(refused.With(403, "forbidden", "no").Of("ada", "publish", fmt.Sprint(i), "").FromAddress("[::1]:1").Because(errors.New("why")))
			time.Sleep(time.Second)
		}
		for i := range 201 {
			refuse(i)
		}
		refuse(1)
		list := l.Newest()
		if len(list) != 200 || len(l.Newest()) != 200 {
			t.Fatalf("%d are remembered", len(list))
		}
		about := refused.About{User: "ada", Address: "[::1]:1", Verb: "publish", Name: "1", Reason: "why"}
		want := refused.Note{Time: time.Now().Add(-time.Second), Count: 2, Code: "forbidden", About: about}
		if list[0] != want {
			t.Errorf("%+v\nwant %+v", list[0], want)
		}
		if list[1].Name != "200" || list[1].Count != 1 || list[199].Name != "2" {
			t.Errorf("%+v … %+v", list[1], list[199])
		}
		l.Count("closing")
		l.Count("no code of ours")
		if n := l.Counts(); n["forbidden"] != 202 || n["closing"] != 1 || n["internal"] != 1 {
			t.Errorf("%v", n)
		}
	})
}

// What clients send does not make the log large.
func TestLogClips(t *testing.T) {
	l, long := refused.NewLog(), strings.Repeat("x", 1<<20)
	l.Remember(&refused.Refusal{Error: wire.Errorf("unknown_op", "%s", long), About: refused.About{Verb: long, Name: long}})
	if n := l.Newest()[0]; len(n.Reason) > 600 || len(n.Verb) > 600 || len(n.Name) > 600 {
		t.Errorf("%d, %d, %d bytes", len(n.Reason), len(n.Verb), len(n.Name))
	}
}

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		f      *refused.Refusal
		status int
		body   string
		after  string
	}{
		{refused.Unavailable(), 503, `{"code":"unavailable","message":"try again later","retry":true}`, "5"},
		{refused.Closing(), 503, `{"code":"closing","message":"the server is going away","retry":true}`, "5"},
		{refused.With(403, "forbidden", "not %d", 1), 403, `{"code":"forbidden","message":"not 1","retry":false}`, ""},
	} {
		w := httptest.NewRecorder()
		c.f.Write(w)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != c.body || w.Header().Get("Retry-After") != c.after ||
			w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" ||
			w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d %s %v", w.Code, got, w.Header())
		}
	}
	var none *refused.Refusal
	if none.From(httptest.NewRequest("GET", "/", nil)) != nil {
		t.Error("no refusal has come from somewhere")
	}
}
