package frameworktest

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// patience is how long tests wait for what has to come.
const patience = 20 * time.Second

// app is a Realtime that a framework is to serve at /api/*.
type app struct {
	*realtime.Realtime
	t       *testing.T
	logs    testkit.Logs
	started chan context.Context // of the requests that reach the handler
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{t: t, started: make(chan context.Context, 10)}
	all := realtime.AllowAll()
	policy := realtime.Policy{Authenticate: all.Authenticate, Allow: all.Allow, Grants: all.Grants}
	rt, err := realtime.New(policy, &realtime.Options{Logger: a.logs.Logger(slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	a.Realtime = rt
	t.Cleanup(func() { a.close() })
	return a
}

func (a *app) close() {
	ctx, cancel := pace.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		a.t.Error(err)
	}
}

// handler is what the framework serves.
func (a *app) handler() http.Handler {
	inner := a.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.started <- r.Context()
		inner.ServeHTTP(w, r)
	})
}

// stream is a REN stream.
type stream struct {
	t  *testing.T
	br *bufio.Reader
}

// ask makes a request that a browser might make, compression accepted.
func (a *app) ask(path string, header http.Header) *http.Response {
	a.t.Helper()
	ctx, cancel := pace.WithTimeout(a.t.Context(), patience)
	a.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Accept-Encoding", "gzip, deflate")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func body(t *testing.T, resp *http.Response) io.Reader {
	t.Helper()
	switch resp.Header.Get("Content-Encoding") {
	case "gzip":
		r, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	case "deflate":
		return flate.NewReader(resp.Body)
	}
	return resp.Body
}

// next reads up to the next event whose name and data are given, of which the data
// need only contain the latter.
func (s *stream) next(name, data string) {
	s.t.Helper()
	got := ""
	for {
		line, err := s.br.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%v instead of %s %s", err, name, data)
		}
		switch line = strings.TrimRight(line, "\r\n"); {
		case strings.HasPrefix(line, "event: "):
			got = line[7:]
		case strings.HasPrefix(line, "data: ") && got == name && strings.Contains(line, data):
			return
		case line == "":
			got = ""
		}
	}
}

// streams fails unless a REN stream works: also after the end of its request's
// context, if that is to end, and up to its goodbye.
func (a *app) streams(url string, contextEnds bool) {
	a.t.Helper()
	resp := a.ask(url+"/api/ren", nil)
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		a.t.Fatalf("%s: %s\n%s", resp.Status, b, a.logs.String())
	}
	s := &stream{a.t, bufio.NewReader(body(a.t, resp))}
	s.next("ren.hello", "fresh")
	ctx := <-a.started
	if contextEnds {
		<-ctx.Done()
	}
	for _, data := range []string{"first", "second"} {
		if err := a.Publish(a.t.Context(), "room", data); err != nil {
			a.t.Fatal(err)
		}
		s.next("", data)
	}
	go a.close()
	s.next("ren.bye", "closing")
}

// upgrades fails unless a WebSocket works.
func (a *app) upgrades(url string) {
	a.t.Helper()
	ctx, cancel := pace.WithTimeout(a.t.Context(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, url+"/api/realtime", nil)
	if err != nil {
		if resp != nil {
			b, _ := io.ReadAll(resp.Body)
			a.t.Errorf("%s", b)
		}
		a.t.Fatalf("%v\n%s", err, a.logs.String())
	}
	defer ws.CloseNow()
	<-a.started
	for _, op := range []string{`{"op":"hello","cid":"0123456789abcdef"}`, `{"op":"subscribe","ref":1,"channel":"room"}`} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
			a.t.Fatal(err)
		}
	}
	a.wants(ctx, ws, `"subscribed"`)
	if err := a.Publish(ctx, "room", "hello"); err != nil {
		a.t.Fatal(err)
	}
	a.wants(ctx, ws, `"data":"hello"`)
}

func (a *app) wants(ctx context.Context, ws *websocket.Conn, part string) {
	a.t.Helper()
	for {
		_, msg, err := ws.Read(ctx)
		if err != nil {
			a.t.Fatalf("%v instead of %s", err, part)
		}
		if strings.Contains(string(msg), part) {
			return
		}
	}
}

var upgrade = http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
}

// refuses fails unless a path is refused, and the log names the type of a writer.
func (a *app) refuses(url, path, typ string) {
	a.t.Helper()
	var header http.Header
	if path == "/api/realtime" {
		header = upgrade.Clone()
	}
	resp := a.ask(url+path, header)
	<-a.started
	var f struct {
		Code  string
		Retry *bool
	}
	if err := json.NewDecoder(body(a.t, resp)).Decode(&f); err != nil || resp.StatusCode != 500 || f.Code != "streaming_unsupported" || f.Retry == nil || *f.Retry {
		a.t.Errorf("%s: %s %+v, %v", path, resp.Status, f, err)
	}
	if log := a.logs.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "type="+typ) {
		a.t.Errorf("%s: the log does not name %s:\n%s", path, typ, log)
	}
}
