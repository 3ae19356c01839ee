package realtime_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/oddwriter"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// serveTCP returns a Realtime on real sockets, and the address. middleware may be nil.
func serveTCP(t testing.TB, policy realtime.Policy, opts realtime.Options, start func(*httptest.Server)) (*realtime.Realtime, string) {
	t.Helper()
	rt, err := realtime.New(policy, &opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(rt.Handler())
	srv.Config.ConnContext = realtime.ConnContext
	start(srv)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return rt, srv.Listener.Addr().String()
}

// ask sends a request for a stream, and reads the head of the answer.
func ask(t testing.TB, c net.Conn, request string) (*bufio.Reader, []string) {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	var head []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, head)
		}
		if line == "\r\n" {
			if head[0] != "HTTP/1.1 200 OK" && head[0] != "HTTP/1.0 200 OK" {
				t.Fatalf("%q", head)
			}
			return r, head
		}
		head = append(head, strings.TrimSuffix(line, "\r\n"))
	}
}

func dialTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	askREN  = "GET /ren HTTP/1.1\r\nHost: host.test\r\n\r\n"
	askFrom = "GET /ren HTTP/1.1\r\nHost: host.test\r\nOrigin: https://app.example\r\n\r\n"
)

// A client gets the same headers, in whatever way its stream runs.
func TestParkedHead(t *testing.T) {
	var heads [][]string
	for _, way := range []realtime.Hijack{realtime.HijackNever, realtime.HijackPlain, realtime.HijackAlways} {
		policy := open()
		policy.Origins = []string{"https://app.example"}
		_, addr := serveTCP(t, policy, realtime.Options{Hijack: way}, func(srv *httptest.Server) {
			inner := srv.Config.Handler
			srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Of-The-Host", "kept")
				inner.ServeHTTP(w, r)
			})
			srv.Start()
		})
		_, head := ask(t, dialTCP(t, addr), askFrom)
		for i, line := range head {
			if strings.HasPrefix(line, "Date: ") && len(line) == len("Date: Thu, 26 Nov 2026 12:45:55 GMT") {
				head[i] = "Date: "
			}
		}
		slices.Sort(head[1:])
		heads = append(heads, head)
	}
	for _, head := range heads[1:] {
		if !slices.Equal(head, heads[0]) {
			t.Errorf("%q, and in the handler %q", head, heads[0])
		}
	}
	if !slices.Contains(heads[0], "Access-Control-Allow-Origin: https://app.example") {
		t.Errorf("no CORS in %q", heads[0])
	}
}

// The host's own CORS is in the answer although its writer is not asked to send it.
func TestParkedWithinCORS(t *testing.T) {
	policy := open()
	policy.Origins = []string{"https://app.example"}
	rt, err := realtime.New(policy, &realtime.Options{Hijack: realtime.HijackPlain})
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan struct{}, 1)
	cors := rt.CORS(rt.RenHandler())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cors.ServeHTTP(w, r)
		running <- struct{}{} // no longer
	}))
	t.Cleanup(func() { _ = rt.Close(context.Background()); srv.Close() })
	_, head := ask(t, dialTCP(t, srv.Listener.Addr().String()), askFrom)
	if n := strings.Count(strings.Join(head, "\n"), "Access-Control-Allow-Origin: https://app.example"); n != 1 {
		t.Errorf("CORS %d times in %q", n, head)
	}
	if runtime.GOOS == "linux" {
		<-running
	}
}

// Streams that wait have no goroutine, and the end of a client is noticed though nothing
// is written to it.
func TestParkedStreamsIdle(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("without epoll each stream has a goroutine")
	}
	rt, addr := serveTCP(t, open(), realtime.Options{Hijack: realtime.HijackPlain}, (*httptest.Server).Start)
	_, _ = ask(t, dialTCP(t, addr), askREN) // starts what all share
	few := runtime.NumGoroutine()
	const n = 100
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dialTCP(t, addr)
		_, _ = ask(t, conns[i], askREN)
	}
	eventually(t, "no goroutine is left of those that began the streams", func() bool { return runtime.NumGoroutine() <= few+5 })
	if open := rt.Stats().REN.Open; open != n+1 {
		t.Errorf("%d streams are open, want %d", open, n+1)
	}
	for i, c := range conns {
		switch i % 3 {
		case 0:
			c.Close()
		case 1:
			c.(*net.TCPConn).SetLinger(0) // a reset
			c.Close()
		default:
			c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) // of which nobody takes notice
			c.(*net.TCPConn).CloseWrite()
		}
	}
	eventually(t, "all that have gone have ended", func() bool { return rt.Stats().REN.Open == 1 })
	if ended := rt.Stats().REN.Ended["client"]; ended != n {
		t.Errorf("%d ended by the client, want %d", ended, n)
	}
}

// connections are of kinds that streams run on, when they leave net/http.
var connections = []struct {
	name  string
	start func(*httptest.Server)
	dial  func(testing.TB, string) net.Conn
}{
	{"TCP", (*httptest.Server).Start, dialTCP},
	{"wrapped", func(srv *httptest.Server) {
		srv.Listener = wrappedListener{srv.Listener}
		srv.Start()
	}, dialTCP},
	{"TLS", (*httptest.Server).StartTLS, func(t testing.TB, addr string) net.Conn {
		return tls.Client(dialTCP(t, addr), &tls.Config{InsecureSkipVerify: true})
	}},
}

type wrappedListener struct{ net.Listener }

func (l wrappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return wrappedConn{c}, err
}

type wrappedConn struct{ net.Conn }

func (c wrappedConn) NetConn() net.Conn { return c.Conn } // so that its buffers are small

// Everything comes once and in order, at readers that take it in pieces of any size and
// at any pace, in whatever way streams run; and others that do not read at all are ended.
func TestParkedPieces(t *testing.T) {
	for _, way := range []realtime.Hijack{realtime.HijackNever, realtime.HijackAlways} {
		for _, kind := range connections {
			t.Run(fmt.Sprintf("%d over %s", way, kind.name), func(t *testing.T) {
				t.Parallel()
				testPieces(t, way, kind.start, kind.dial)
			})
		}
	}
}

func testPieces(t *testing.T, way realtime.Hijack, start func(*httptest.Server), dial func(testing.TB, string) net.Conn) {
	rt, addr := serveTCP(t, open(), realtime.Options{Hijack: way, WriteTimeout: time.Hour}, start)
	const events, size = 25, 20_000
	var readers sync.WaitGroup
	for i := range 3 {
		r, _ := ask(t, dial(t, addr), askREN)
		readers.Go(func() {
			if err := readNumbered(sse.NewReader(&choppy{r: r, most: 16 << (5 * i)}, 1<<20), events); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	stalled := make([]net.Conn, 2) // which nobody reads
	for i := range stalled {
		stalled[i] = dial(t, addr)
		_, _ = ask(t, stalled[i], askREN)
		tcp := stalled[i]
		if c, ok := tcp.(*tls.Conn); ok {
			tcp = c.NetConn()
		}
		if err := tcp.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // so that the kernel holds little
			t.Fatal(err)
		}
	}
	for i := range events {
		if err := rt.Publish(t.Context(), "room", fmt.Sprintf("%d %s", i, strings.Repeat("é", mathrand.N(size)))); err != nil {
			t.Error(err)
		}
	}
	readers.Wait()
	eventually(t, "those that do not read make the server wait", func() bool {
		s := rt.Stats().REN
		return s.Writing+int(s.Opened)-s.Open == len(stalled) // the kernel may have given them up, on a slow machine
	})
	for _, c := range stalled {
		c.Close()
	}
	eventually(t, "they are gone", func() bool { s := rt.Stats().REN; return s.Open == 3 && s.Writing == 0 })
}

// readNumbered reads so many events, which must be all there are.
func readNumbered(r *sse.Reader, events int) error {
	for n := 0; n < events; {
		switch ev, err := r.Next(); {
		case err != nil:
			return fmt.Errorf("after %d events: %w", n, err)
		case ev.Name == "ren.reset":
			return fmt.Errorf("reset after %d events", n)
		case ev.Name != "message":
		case !strings.Contains(ev.Data, fmt.Sprintf(`"data":"%d `, n)):
			return fmt.Errorf("%.80s in the place of number %d", ev.Data, n)
		default:
			n++
		}
	}
	return nil
}

// choppy reads in pieces of random sizes.
type choppy struct {
	r    io.Reader
	most int
}

func (c *choppy) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), 1+mathrand.N(c.most))]) }

var parkedWhere = []struct {
	name, request string
	way           realtime.Hijack
	middleware    func(http.Handler) http.Handler
	see           bool
	parked        bool
}{
	{"plain", askREN, realtime.HijackPlain, nil, false, runtime.GOOS == "linux"},
	{"never", askREN, realtime.HijackNever, nil, false, false},
	{"HTTP/1.0", strings.Replace(askREN, "1.1", "1.0", 1), realtime.HijackAlways, nil, false, false},
	{"a body", strings.Replace(askREN, "Host", "Content-Length: 1\r\nHost", 1) + "x", realtime.HijackAlways, nil, false, false},
	{"wrapped", askREN, realtime.HijackPlain, wrap(oddwriter.Wrapper), false, false},
	{"wrapped, always", askREN, realtime.HijackAlways, wrap(oddwriter.Wrapper), false, true},
	{"See", askREN, realtime.HijackPlain, nil, true, false},
	{"See, always", askREN, realtime.HijackAlways, nil, true, true},
}

// What does not look like a stream over plain HTTP/1.1 runs in the handler.
func TestParkedOnlyWhere(t *testing.T) {
	for _, c := range parkedWhere {
		t.Run(c.name, func(t *testing.T) {
			policy := open()
			if c.see {
				policy.See = func(realtime.Identity, realtime.RenEvent) bool { return true }
			}
			returned := make(chan struct{})
			rt, addr := serveTCP(t, policy, realtime.Options{Hijack: c.way}, func(srv *httptest.Server) {
				inner := srv.Config.Handler
				if c.middleware != nil {
					inner = c.middleware(inner)
				}
				srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					inner.ServeHTTP(w, r)
					close(returned)
				})
				srv.Start()
			})
			r, _ := ask(t, dialTCP(t, addr), c.request)
			events := sse.NewReader(r, 1<<20)
			if ev, err := events.Next(); err != nil || ev.Name != "ren.hello" {
				t.Fatal(ev, err)
			}
			if c.parked {
				<-returned
			}
			if err := rt.Publish(context.Background(), "room", 1); err != nil {
				t.Fatal(err)
			}
			if ev, err := events.Next(); err != nil || ev.Name != "message" {
				t.Fatal(ev, err)
			}
			select {
			case <-returned:
				if !c.parked {
					t.Error("the handler has returned")
				}
			default:
				if c.parked {
					t.Error("the handler has not returned")
				}
			}
		})
	}
}

// A panic of the policy ends the stream that it is asked about, and no other one.
func TestParkedPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := open()
		policy.See = func(id realtime.Identity, ev realtime.RenEvent) bool {
			if id.User == "bob" && ev.Key == "2" {
				panic("a fault of the host")
			}
			return true
		}
		h := start(t, policy, &realtime.Options{Hijack: realtime.HijackAlways})
		ada, bob := h.ren(get("/ren", "Authorization", "Bearer ada")), h.ren(get("/ren", "Authorization", "Bearer bob"))
		for _, key := range []string{"1", "2", "3"} {
			h.emit(realtime.KVPut("n", key))
			synctest.Wait()
		}
		if got := ada.keys(3); got != "1 2 3" {
			t.Error(got)
		}
		if got := bob.keys(1); got != "1" {
			t.Error(got)
		}
		bob.ended()
		stats := h.Stats().REN
		if stats.Open != 1 || stats.Ended["internal"] != 1 || !strings.Contains(h.logs.String(), "a fault of the host") {
			t.Errorf("%d open, ended %v, logged %s", stats.Open, stats.Ended, h.logs)
		}
	})
}
