package storage_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/storage"
)

const busy = 12 * time.Second // longer than the patience with a client

// busyObjects takes its time before a body, after each part of one, at its end, and
// before each part of what it gives.
type busyObjects struct {
	storage.Objects
	before, between, after time.Duration
}

func (b *busyObjects) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	time.Sleep(b.before)
	info, created, err := b.Objects.Put(ctx, path, typ, readFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		if err == nil {
			time.Sleep(b.between)
		}
		return n, err
	}))
	time.Sleep(b.after)
	return info, created, err
}

func (b *busyObjects) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	content, info, err := b.Objects.Open(ctx, path)
	return busyContent{content, b.between}, info, err
}

type busyContent struct {
	io.ReadSeekCloser
	between time.Duration
}

func (b busyContent) Read(p []byte) (int, error) {
	time.Sleep(b.between)
	return b.ReadSeekCloser.Read(p)
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// slowly lets everybody in, after a while.
func slowly() realtime.Policy {
	p := open()
	authenticate := p.Authenticate
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		time.Sleep(busy)
		return authenticate(r)
	}
	return p
}

// serveBusy is serve with busy objects. Requests that succeed must not be cancelled.
func serveBusy(t *testing.T, policy realtime.Policy, objects *busyObjects) *site {
	t.Helper()
	var handler http.Handler
	s := serve(t, policy, nil, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status := &statusWriter{ResponseWriter: w}
			handler.ServeHTTP(status, r)
			if err := r.Context().Err(); err != nil && status.status < 300 {
				t.Errorf("%s %s: its context ended: %v", r.Method, r.URL, err)
			}
		})
	})
	objects.Objects = newDir(t)
	handler = storage.Handler(s.rt, storage.New(s.rt, objects, nil), nil)
	return s
}

// statusWriter knows what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// A client that sends at once is not charged with the time that others take, and
// neither is the next request on the connection.
func TestOnlyTheClientIsTimed(t *testing.T) {
	large := strings.Repeat("x", 200_000)
	for _, c := range []struct {
		name    string
		policy  func() realtime.Policy
		objects busyObjects
		body    string
		header  []string
	}{
		{"a store that is busy before the body", open, busyObjects{before: busy}, large, nil},
		{"a store that is busy in the body", open, busyObjects{between: busy}, large, nil},
		{"a store that is busy after the body", open, busyObjects{after: busy}, large, nil},
		{"a store that is busy with nothing", open, busyObjects{before: busy, after: time.Minute}, "", nil},
		{"a policy", slowly, busyObjects{}, large, nil},
		{"a policy and nothing", slowly, busyObjects{}, "", nil},
		{"a policy, before the client sends", slowly, busyObjects{before: busy}, large, []string{"Expect", "100-continue"}},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
			for length, wrap := range map[string]func(string) io.Reader{
				"with length":    func(s string) io.Reader { return strings.NewReader(s) },
				"without length": func(s string) io.Reader { return reader{strings.NewReader(s)} },
			} {
				bubble(t, c.name+", "+version+", "+length, func(t *testing.T) {
					objects := c.objects
					s := serveBusy(t, c.policy(), &objects)
					s.overHTTP(version)
					conns := s.countConns()
					s.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
					for range 2 {
						r := s.do("POST", "upload?path=a.txt", wrap(c.body), c.header...)
						if r.StatusCode >= 300 || r.Proto != version {
							t.Fatalf("%s %s %s", r.Proto, r.Status, r.body)
						}
						time.Sleep(time.Minute)
						if r := s.do("GET", "download?path=a.txt", nil); r.body != c.body {
							t.Errorf("downloaded %d bytes of %d: %s", len(r.body), len(c.body), r.Status)
						}
						time.Sleep(time.Minute)
					}
					if *conns != 1 {
						t.Errorf("%d connections", *conns)
					}
				})
			}
		}
	}
}

// countConns counts the connections of the client from now on.
func (s *site) countConns() *int {
	conns := new(int)
	transport := s.client.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		*conns++
		return dial(ctx, network, addr)
	}
	return conns
}

// The client's time is its own: who stalls has all of it, and no more, whatever
// others have taken.
func TestStalledBesideOthers(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  func() realtime.Policy
		objects busyObjects
		begin   string
		others  time.Duration
	}{
		{"after a slow policy", slowly, busyObjects{}, sized, busy},
		{"after a slow policy, in the middle", slowly, busyObjects{}, sized + strings.Repeat("x", 50_000), busy},
		{"after a busy store", open, busyObjects{before: busy}, chunked + "5\r\nhe", busy},
		{"before a store that is still busy", open, busyObjects{between: busy}, chunked + "5\r\nhello\r\n", busy},
	} {
		bubble(t, c.name, func(t *testing.T) {
			objects := c.objects
			s := serveBusy(t, c.policy(), &objects)
			took := elapsed()
			conn := s.dial(c.begin)
			s.refused(c.name, answered(t, conn), 408, "timeout")
			if want := c.others + 10*time.Second; took() != want {
				t.Errorf("given up after %v, want %v", took(), want)
			}
			s.nothing(c.name)
		})
	}
}

// The pace is that of the client, added up over its waits: sending one byte in each
// gap that the store leaves is no progress.
func TestTrickleToABusyStore(t *testing.T) {
	bubble(t, "trickle", func(t *testing.T) {
		s := serveBusy(t, open(), &busyObjects{between: busy})
		conn := s.dial(sized)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-time.After(busy + 4*time.Second): // 4 s of them are waited for
				case <-stop:
					return
				}
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
			}
		}()
		took := elapsed()
		s.refused("trickle", answered(t, conn), 408, "timeout")
		if took() > time.Minute {
			t.Errorf("given up after %v", took())
		}
		s.nothing("trickle")
	})
}

// Who waits for another writer of the same path has sent everything.
func TestWaitingForTheTurn(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		bubble(t, version, func(t *testing.T) {
			s := serveBusy(t, open(), &busyObjects{after: 5 * busy})
			s.overHTTP(version)
			first := make(chan reply)
			go func() { first <- s.do("POST", "upload?path=a.txt", strings.NewReader("one")) }()
			time.Sleep(time.Second)
			took := elapsed()
			r := s.do("POST", "upload?path=a.txt", reader{strings.NewReader("two")})
			if r.StatusCode != 200 || took() < 5*busy {
				t.Errorf("after %v: %s %s", took(), r.Status, r.body)
			}
			if r := <-first; r.StatusCode != 201 {
				t.Errorf("%s %s", r.Status, r.body)
			}
		})
	}
}

// A refusal after a slow decision does not wait for a body that does not come, and
// one before the client sends does not wait at all.
func TestSlowlyRefused(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		most  time.Duration
	}{
		"stalled":                  {sized, busy + 10*time.Second},
		"waiting for 100-continue": {strings.Replace(sized, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), busy},
	} {
		bubble(t, name, func(t *testing.T) {
			p := slowly()
			p.Allow = nil
			s := serveBusy(t, p, &busyObjects{})
			took := elapsed()
			conn := s.dial(c.begin)
			s.refused(name, answered(t, conn), 403, "forbidden")
			if took() > c.most {
				t.Errorf("answered after %v", took())
			}
			s.nothing(name)
		})
	}
}

// The client of a pipelined request is noticed as any other.
func TestPipelinedAfterUpload(t *testing.T) {
	bubble(t, "pipelined", func(t *testing.T) {
		s := serveBusy(t, open(), &busyObjects{after: busy})
		conn := s.dial(posting + "Content-Length: 1\r\n\r\nx" +
			"GET /api/storage/download?path=a HTTP/1.1\r\nHost: host.test\r\n\r\n")
		from := bufio.NewReader(conn)
		for i, want := range []int{201, 200} {
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != want {
				t.Errorf("answer %d: %s, %v", i, resp.Status, err)
			}
		}
	})
}
