package realtime_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/oddwriter"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// accessLog counts, as middlewares do that log requests.
type accessLog struct {
	http.ResponseWriter
	status, bytes int
}

func (l *accessLog) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l *accessLog) WriteHeader(status int) {
	l.status = status
	l.ResponseWriter.WriteHeader(status)
}

func (l *accessLog) Write(p []byte) (int, error) {
	n, err := l.ResponseWriter.Write(p)
	l.bytes += n
	return n, err
}

// gzipped compresses what is written, though a stream says no-transform.
type gzipped struct {
	http.ResponseWriter
	gz *gzip.Writer
}

func (g *gzipped) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gzipped) WriteHeader(status int) {
	if status == http.StatusOK {
		g.Header().Set("Content-Encoding", "gzip")
		g.gz = gzip.NewWriter(g.ResponseWriter)
	}
	g.ResponseWriter.WriteHeader(status)
}

func (g *gzipped) Write(p []byte) (int, error) {
	if g.gz == nil {
		return g.ResponseWriter.Write(p)
	}
	return g.gz.Write(p)
}

func (g *gzipped) FlushError() error {
	if g.gz != nil {
		if err := g.gz.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(g.ResponseWriter).Flush()
}

// unzip reads what gzipped writes.
type unzip struct {
	io.ReadCloser
	gz *gzip.Reader
}

func (u *unzip) Read(p []byte) (n int, err error) {
	if u.gz == nil {
		if u.gz, err = gzip.NewReader(u.ReadCloser); err != nil {
			return 0, err
		}
	}
	return u.gz.Read(p)
}

// lavish has all methods, as the writers of gin and echo do, whatever is beneath
// it: they look at the next writer only, panic if it cannot, or do nothing.
type lavish struct {
	http.ResponseWriter
	silent bool
}

func (l lavish) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l lavish) Flush() {
	if f, ok := l.ResponseWriter.(http.Flusher); ok || !l.silent {
		f.Flush()
	}
}

func (l lavish) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h, ok := l.ResponseWriter.(http.Hijacker)
	if !ok && l.silent {
		return nil, nil, nil
	}
	return h.Hijack()
}

// sealed can all that streams need except deadlines, and does not say what it wraps.
type sealed struct{ http.ResponseWriter }

func (s sealed) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }

func (s sealed) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(s.ResponseWriter).Hijack()
}

// held does not give its connection away.
type held struct{ http.ResponseWriter }

func (h held) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (held) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("held") }

// foreign is the writer of another server than net/http's, such as HTTP/3's: it
// has what streams need, and tells by the context alone that the client is gone.
type foreign struct{ http.ResponseWriter }

func (f foreign) FlushError() error { return http.NewResponseController(f.ResponseWriter).Flush() }

func (f foreign) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(f.ResponseWriter).SetWriteDeadline(at)
}

type writer = http.ResponseWriter

// wrap makes a middleware of a writer.
var wrap = oddwriter.Wrap

// timingOut is wrap within a TimeoutHandler.
func timingOut(f func(writer) writer) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return http.TimeoutHandler(wrap(f)(next), time.Minute, "late") }
}

var middlewares = []struct {
	name    string
	wrap    func(http.Handler) http.Handler
	ren, ws string // which type is named; "": it works
}{
	{"StripPrefix", func(next http.Handler) http.Handler { return http.StripPrefix("/api", next) }, "", ""},
	{"Unwrap", wrap(func(w writer) writer { return oddwriter.Wrapper(oddwriter.Wrapper(w)) }), "", ""},
	{"access log", wrap(func(w writer) writer { return &accessLog{ResponseWriter: w} }), "", ""},
	{"gzip", wrap(func(w writer) writer { return &gzipped{ResponseWriter: w} }), "", ""},
	{"gzip inside", wrap(func(w writer) writer { return lavish{oddwriter.Wrapper(&gzipped{ResponseWriter: w}), true} }), "", ""},
	{"lavish", wrap(func(w writer) writer { return lavish{w, false} }), "", ""},
	{"lavish, and panics", wrap(func(w writer) writer { return lavish{oddwriter.Wrapper(w), false} }), "", ""},
	{"lavish, and does nothing", wrap(func(w writer) writer { return lavish{oddwriter.Wrapper(w), true} }), "", ""},
	{"opaque", wrap(oddwriter.Opaque), "oddwriter.opaque", "oddwriter.opaque"},
	{"opaque inside", wrap(func(w writer) writer { return oddwriter.Wrapper(oddwriter.Opaque(w)) }), "oddwriter.opaque", "oddwriter.opaque"},
	{"lavish outside", wrap(func(w writer) writer { return lavish{oddwriter.Opaque(w), false} }), "oddwriter.opaque", "oddwriter.opaque"},
	{"TimeoutHandler", timingOut(func(w writer) writer { return w }), "*http.timeoutWriter", "*http.timeoutWriter"},
	{"TimeoutHandler, and panics", timingOut(func(w writer) writer { return lavish{w, false} }), "*http.timeoutWriter", "*http.timeoutWriter"},
	{"TimeoutHandler, and does nothing", timingOut(func(w writer) writer { return lavish{w, true} }), "*http.timeoutWriter", "*http.timeoutWriter"},
	{"sealed", wrap(func(w writer) writer { return sealed{w} }), "realtime_test.sealed", ""},
	{"sealed inside", wrap(func(w writer) writer { return oddwriter.Wrapper(sealed{w}) }), "realtime_test.sealed", ""},
	{"deadlines panic", wrap(func(w writer) writer { return oddwriter.Faulty(w, nil) }), "oddwriter.faulty", ""},
	{"deadlines fail", wrap(func(w writer) writer { return oddwriter.Wrapper(oddwriter.Faulty(w, http.ErrNotSupported)) }), "oddwriter.faulty", ""},
	{"deadlines fail for now", wrap(func(w writer) writer { return oddwriter.Faulty(w, errors.New("closed")) }), "-", ""},
	{"HTTP/3", wrap(func(w writer) writer { return foreign{w} }), "", "realtime_test.foreign"},
	{"endless", wrap(oddwriter.Endless), "oddwriter.endless", "oddwriter.endless"},
	{"endless, and able", wrap(oddwriter.EndlessAble), "", "oddwriter.able"},
	{"hollow", wrap(oddwriter.Hollow), "oddwriter.hollow", "oddwriter.hollow"},
	{"gone", wrap(oddwriter.Gone), "*oddwriter.wrapper", "*oddwriter.wrapper"},
	{"timeless", wrap(oddwriter.Timeless), "", ""},
	{"timeless inside", wrap(func(w writer) writer {
		return lavish{oddwriter.Wrapper(oddwriter.Timeless(oddwriter.Wrapper(w))), true}
	}), "", ""},
	{"unbuffered", wrap(func(w writer) writer { return unbuffered{w} }), "", ""},
	{"incomparable", wrap(func(w writer) writer { return incomparable{foreign{w}, nil} }), "", "realtime_test.incomparable"},
}

func TestStreamsBehindMiddlewares(t *testing.T) {
	t.Parallel()
	for _, c := range middlewares {
		bubble(t, c.name, func(t *testing.T) {
			h := prepare(t, open(), nil)
			h.handler = c.wrap(h.handler)
			h.server.WriteTimeout = 2 * time.Second // a stream that lives on has deadlines of its own
			h.serve()
			switch c.ws {
			case "":
				w := h.socket(get("/api/realtime"))
				w.ok(`"op":"subscribe","channel":"room"`)
				h.publish("room", 1)
				if got := w.data(1); got != "1" {
					t.Error(got)
				}
			default:
				h.unsupported(get("/realtime", upgrade...), c.ws)
			}
			if c.ws == "" && *hijack == int(realtime.HijackAlways) {
				c.ren = "" // as a WebSocket
			}
			switch c.ren {
			case "":
				revocable(h)
			case "-":
				if s := h.renStalled(get("/ren")); s.resp.StatusCode != http.StatusOK {
					t.Error(s.resp.Status)
				}
			default:
				h.unsupported(get("/ren"), c.ren)
			}
		})
	}
}

// unsupported wants a refusal that the log explains with a type.
func (h *host) unsupported(ask request, typ string) {
	h.t.Helper()
	status, f := h.refused(ask)
	if status != 500 || f.Code != "streaming_unsupported" || *f.Retry {
		h.t.Errorf("%s: %d %+v", ask.path, status, f)
	}
	if log := h.logs.String(); !strings.Contains(log, "type="+typ+" ") && !strings.Contains(log, "type="+typ+"\n") {
		h.t.Errorf("the log does not name %s:\n%s", typ, log)
	}
}

// revocable fails unless a stream delivers, outlives the server's WriteTimeout, and
// ends with its rights though its client does not read.
func revocable(h *host) {
	h.t.Helper()
	s := h.renStalled(get("/api/ren", "Authorization", "Bearer ada"))
	if s.resp.Header.Get("Content-Encoding") == "gzip" {
		s.resp.Body = &unzip{ReadCloser: s.resp.Body}
	}
	s.pump()
	if hello := s.next(); hello.State != "fresh" {
		h.t.Errorf("%s", hello.Raw)
	}
	time.Sleep(time.Minute)
	h.publish("room", 2)
	if got := s.keys(1); got != "2" {
		h.t.Error(got)
	}
	stalled := h.renStalled(get("/api/ren", "Authorization", "Bearer bob"))
	h.publish("room", strings.Repeat("x", 100<<10))
	synctest.Wait()
	began := time.Now()
	if err := h.Revoke(context.Background(), "bob"); err != nil || time.Since(began) > time.Second {
		h.t.Errorf("Revoke took %v: %v", time.Since(began), err)
	}
	stalled.cancel()
}

// A middleware that notes the status by WriteHeader alone learns that of a stream.
func TestStreamSaysItsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), &realtime.Options{Hijack: realtime.HijackNever})
		var log *accessLog
		h.handler = wrap(func(w writer) writer { log = &accessLog{ResponseWriter: w}; return log })(h.handler)
		h.serve()
		if h.ren(get("/ren")); log.status != http.StatusOK {
			t.Errorf("the status of a stream is %d", log.status)
		}
	})
}

// A client whose connection cannot be taken over after all is refused, and nothing is left
// of it: Close waits for nobody.
func TestConnectionThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), &realtime.Options{Hijack: realtime.HijackAlways})
		h.handler = wrap(func(w writer) writer { return held{w} })(h.handler)
		h.serve()
		h.unsupported(get("/ren", "Authorization", asAda), "realtime_test.held")
		h.unsupported(get("/realtime", append(upgrade, "Authorization", asAda)...), "realtime_test.held")
		if users, _ := h.Remembered(); users != 0 {
			t.Errorf("%d users are remembered", users)
		}
		began := time.Now()
		if err := h.Close(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("Close took %v: %v", time.Since(began), err)
		}
	})
}

// A writer that cannot flush after all ends the stream, and nothing else.
func TestFlushPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		h.handler = wrap(func(w http.ResponseWriter) http.ResponseWriter { return brittle{foreign{w}} })(h.handler)
		h.serve()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://host.test/ren", nil)
		if resp, err := h.http.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if log := h.logs.String(); !strings.Contains(log, "type=realtime_test.brittle") || !strings.Contains(log, "out of order") {
			t.Errorf("logged: %s", log)
		}
	})
}

type brittle struct{ foreign }

func (brittle) FlushError() error { panic("out of order") }

// A recorder has no deadlines.
func TestStreamIntoARecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		w := httptest.NewRecorder()
		h.RenHandler().ServeHTTP(w, httptest.NewRequest("GET", "/ren", nil))
		if f := testkit.ParseRefusal(t, w.Body.Bytes()); w.Code != 500 || f.Code != "streaming_unsupported" {
			t.Errorf("%d %+v", w.Code, f)
		}
	})
}

var upgrade = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}

// streams returns how many streams are open once everything in the bubble waits.
func (h *host) streams() int {
	synctest.Wait()
	return h.Stats().REN.Open
}

// timeout is what chi's and echo's middlewares do: they end the context only.
func timeout(d time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// overHTTP2 has a host speak it, without TLS.
func (h *host) overHTTP2() {
	h.server.Protocols = new(http.Protocols)
	h.server.Protocols.SetUnencryptedHTTP2(true)
	transport := h.http.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
}

// Neither a middleware's timeout nor the server's context cuts a stream. It gets
// what was accepted, and a goodbye. A client that is gone ends it at once.
func TestRENOutlivesTheContextOfTheRequest(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		bubble(t, proto, func(t *testing.T) { outlivesTheContext(t, proto) })
		bubble(t, proto+", cut", func(t *testing.T) { endsWhereItIsCut(t, proto) })
	}
	// Where nothing but the context tells, the stream ends with it, in an orderly way.
	bubble(t, "HTTP/3", outlivesTheContextOfHTTP3)
}

// prepareOver prepares a host for a protocol.
func prepareOver(t *testing.T, proto string) *host {
	h := prepare(t, open(), nil)
	if proto == "HTTP/2" {
		h.overHTTP2()
	}
	return h
}

func outlivesTheContext(t *testing.T, proto string) {
	h := prepareOver(t, proto)
	base, stop := context.WithCancel(context.Background())
	h.server.BaseContext = func(net.Listener) context.Context { return base }
	h.handler = timeout(time.Second, h.handler)
	h.serve()

	s, gone, cut := h.ren(get("/ren")), h.ren(get("/ren")), h.ren(get("/ren"))
	time.Sleep(time.Minute)
	h.emit(realtime.KVPut("n", "1"))
	if got := s.keys(1) + gone.keys(1) + cut.keys(1); got != "111" {
		t.Error(got)
	}
	gone.cut()
	if n := h.streams(); n != 2 {
		t.Errorf("%d streams, after one of three clients has gone", n)
	}

	stop()
	if n := h.streams(); n != 2 {
		t.Fatal("a stream ended with the context of the server")
	}
	h.emit(realtime.KVPut("n", "2"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, s := range []*ren{s, cut} {
		if got := s.keys(1); got != "2" {
			t.Error(got)
		}
		if bye := s.next(); bye.Name != "ren.bye" || bye.Reason != "closing" {
			t.Errorf("%s %s", bye.Name, bye.Raw)
		}
		s.ended()
	}
}

func endsWhereItIsCut(t *testing.T, proto string) {
	h := prepareOver(t, proto)
	h.handler = timeout(time.Second, h.handler)
	h.serve()
	s := h.ren(get("/ren"))
	time.Sleep(time.Minute)
	h.listener.Cut()
	if n := h.streams(); n != 0 {
		t.Error("the stream goes on without a connection")
	}
	s.cut()
}

func outlivesTheContextOfHTTP3(t *testing.T) {
	h := prepare(t, open(), nil)
	h.handler = wrap(func(w http.ResponseWriter) http.ResponseWriter { return foreign{w} })(timeout(15*time.Second, h.handler))
	h.serve()
	s, gone := h.ren(get("/ren")), h.ren(get("/ren"))
	began := time.Now()
	gone.cut()
	if n := h.streams(); n != 1 {
		t.Errorf("%d streams, after one of two clients has gone", n)
	}
	if bye := s.next(); bye.Name != "ren.bye" || bye.Reason != "rotate" || time.Since(began) != 15*time.Second {
		t.Errorf("%s %s after %v", bye.Name, bye.Raw, time.Since(began))
	}
	s.ended()
}

// Bytes that may still be on their way give a write more time: see TestSlowLinks.
func TestRENStalledAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.renStalled(get("/ren"))
		synctest.Wait()
		h.publish("room", strings.Repeat("x", 40<<10))
		if _, err := io.CopyN(io.Discard, s.resp.Body, 40<<10); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		h.publish("room", strings.Repeat("x", 100<<10))
		for h.streams() > 0 {
			time.Sleep(time.Second / 10)
		}
		if took := time.Since(began); took < 14*time.Second || took > 15*time.Second {
			t.Errorf("ended after %v, want 10 s, and almost 5 for 40 KiB", took)
		}
	})
}
