package realtime_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// meddler is a proxy that changes requests and answers. A request for which it has an
// answer of its own does not reach the server.
type meddler struct {
	http.RoundTripper
	request func(*http.Request) *http.Response
	answer  func(*http.Request, *http.Response)
}

func (m meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if m.request != nil {
		if resp := m.request(r); resp != nil {
			return resp, nil
		}
	}
	resp, err := m.RoundTripper.RoundTrip(r)
	if err == nil && m.answer != nil {
		m.answer(r, resp)
	}
	return resp, err
}

// late is a body of which nothing is to be had before its end.
type late struct {
	io.ReadCloser
	change func([]byte) []byte
	once   sync.Once
	all    io.Reader
}

func (l *late) Read(p []byte) (int, error) {
	l.once.Do(func() {
		all, _ := io.ReadAll(l.ReadCloser)
		if l.change != nil {
			all = l.change(all)
		}
		l.all = bytes.NewReader(all)
	})
	return l.all.Read(p)
}

func cutAfter(d time.Duration, c io.Closer) { time.AfterFunc(d, func() { c.Close() }) }

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b) // into memory
	z.Close()
	return out.Bytes()
}

// prompt is a body that is compressed piece by piece.
type prompt struct {
	io.ReadCloser
	out bytes.Buffer
	zip *gzip.Writer
}

func (z *prompt) Read(p []byte) (int, error) {
	if z.zip == nil {
		z.zip = gzip.NewWriter(&z.out)
	}
	for z.out.Len() == 0 {
		buf := make([]byte, 4<<10)
		n, err := z.ReadCloser.Read(buf)
		_, _ = z.zip.Write(buf[:n]) // into memory
		z.zip.Flush()
		if err != nil {
			return 0, err
		}
	}
	return z.out.Read(p)
}

func onStream(f func(*http.Request, *http.Response)) func(*http.Request, *http.Response) {
	return func(r *http.Request, resp *http.Response) {
		if resp.StatusCode == http.StatusOK {
			f(r, resp)
		}
	}
}

func compressing(change func(io.ReadCloser) io.ReadCloser) func(*http.Request, *http.Response) {
	return onStream(func(r *http.Request, resp *http.Response) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			resp.Header.Set("Content-Encoding", "gzip")
			resp.Body = change(resp.Body)
		}
	})
}

func saying(status int, body string, header ...string) func(*http.Request) *http.Response {
	return func(*http.Request) *http.Response {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, ProtoMajor: 1, Header: h, Body: io.NopCloser(strings.NewReader(body))}
	}
}

func changing(f func(*http.Request)) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		f(r)
		return nil
	}
}

func without(names ...string) func(*http.Request) *http.Response {
	return changing(func(r *http.Request) {
		for _, name := range names {
			r.Header.Del(name)
		}
	})
}

// webSockets applies a change to requests for WebSockets only.
func webSockets(f func(*http.Request) *http.Response) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, "/realtime") {
			return nil
		}
		return f(r)
	}
}

// faults are what proxies do, by the finding for it.
var faults = []struct {
	name, code string
	meddler    meddler
}{
	{"nothing", "", meddler{}},
	{"buffers", "buffering", meddler{answer: onStream(func(_ *http.Request, resp *http.Response) {
		resp.Body = &late{ReadCloser: resp.Body}
	})}},
	{"compresses, and buffers", "compression", meddler{answer: compressing(func(b io.ReadCloser) io.ReadCloser {
		return &late{ReadCloser: b, change: zipped}
	})}},
	{"compresses", "", meddler{answer: compressing(func(b io.ReadCloser) io.ReadCloser { return &prompt{ReadCloser: b} })}},
	{"ends silent streams", "idle", meddler{answer: onStream(func(_ *http.Request, resp *http.Response) {
		cutAfter(20*time.Second, resp.Body)
	})}},
	{"ends silent WebSockets", "idle", meddler{answer: func(_ *http.Request, resp *http.Response) {
		if resp.StatusCode == http.StatusSwitchingProtocols {
			cutAfter(20*time.Second, resp.Body)
		}
	}}},
	{"ends streams after a minute", "", meddler{answer: onStream(func(_ *http.Request, resp *http.Response) {
		cutAfter(time.Minute, resp.Body)
	})}},
	{"loses the upgrade", "upgrade", meddler{request: without("Upgrade", "Connection")}},
	{"knows no WebSockets", "upgrade", meddler{request: webSockets(saying(http.StatusBadRequest, "no"))}},
	{"sets Host", "host", meddler{request: changing(func(r *http.Request) { r.Host = "app:8080" })}},
	{"loses the port", "host", meddler{request: changing(func(r *http.Request) { r.Host = "host.test" })}},
	{"sets Origin", "origin", meddler{request: changing(func(r *http.Request) { r.Header.Set("Origin", "http://app") })}},
	{"removes Origin", "origin", meddler{request: without("Origin")}},
	{"removes the cursor", "headers", meddler{request: without("Last-Event-ID")}},
	{"removes the client id", "headers", meddler{request: without("X-Ren-Client")}},
	{"redirects", "redirect", meddler{request: saying(http.StatusMovedPermanently, "", "Location", "https://host.test/")}},
	{"has no server", "gateway", meddler{request: saying(http.StatusBadGateway, "<h1>Bad gateway</h1>", "Server", "nginx/1.25")}},
	{"has another path", "route", meddler{request: saying(http.StatusNotFound, "<h1>Not found</h1>")}},
	{"serves a page", "route", meddler{request: saying(http.StatusOK, "<h1>Hello</h1>", "Content-Type", "text/html")}},
	{"removes the secret", "stranger", meddler{request: without("X-Ren-Probe")}},
}

// codes lists what was found, without the advice that a network in memory has no TLS.
func codes(t *testing.T, d *realtime.Diagnosis, err error) (list []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Findings {
		if f.Problem == "" || !strings.Contains(d.String(), f.Code) {
			t.Errorf("of %s it says nothing", f.Code)
		}
		if f.Code != "http1" {
			list = append(list, f.Code)
		}
	}
	return list
}

// Each fault of a proxy is found, and no other is; a slow answer is no fault.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	for _, c := range faults {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, realtime.Policy{}, nil) // whom no policy lets in
			over := h.http.Transport.(*http.Transport)
			c.meddler.RoundTripper = over
			began := time.Now()
			d, err := realtime.DiagnoseOver(t.Context(), h.Realtime, "http://host.test:81/api/maravilla/", c.meddler)
			got, want := codes(t, d, err), []string{c.code}
			if c.code == "" {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Fatalf("found %q, want %q:\n%s", got, want, d)
			}
			if took := time.Since(began); took > 61*time.Second {
				t.Errorf("it took %v", took)
			}
			if d.Faulty() != (c.code != "") {
				t.Errorf("faulty: %v\n%s", d.Faulty(), d)
			}
			if c.code == "gateway" && (!slices.Equal(d.Proxies, []string{"nginx"}) || !strings.Contains(d.String(), "through nginx")) {
				t.Errorf("through %q", d.Proxies)
			}
			over.CloseIdleConnections()
		})
	}
}

// Faults of the host's own configuration.
func TestDiagnoseHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, realtime.Policy{Hosts: []string{"app.example.com"}}, nil)
		d, err := realtime.DiagnoseOver(t.Context(), h.Realtime, "http://host.test/", h.http.Transport)
		if got := codes(t, d, err); !slices.Equal(got, []string{"hosts"}) {
			t.Errorf("found %q", got)
		}
		d, err = realtime.DiagnoseOver(t.Context(), h.Realtime, "http://another.test/", deaf{}) // nothing is sent there
		if got := codes(t, d, err); !slices.Equal(got, []string{"hosts"}) {
			t.Errorf("found %q", got)
		}
		h.http.CloseIdleConnections()
	})
}

// The errors of Diagnose are those of its caller: what does not answer is a finding.
func TestDiagnoseErrors(t *testing.T) {
	bubble(t, "of the URL", func(t *testing.T) {
		h := start(t, open(), nil)
		for _, u := range []string{"", "/api/", "ftp://host.test/", "http://", "http://ada:secret@host.test/", "http://host.test/?a=b", "http://host.test/#a", ":"} {
			if d, err := h.Diagnose(t.Context(), u); !errors.Is(err, realtime.ErrBadOption) || d != nil {
				t.Errorf("%q: %v", u, err)
			}
		}
	})
	bubble(t, "of the network", func(t *testing.T) {
		h := start(t, open(), nil)
		d, err := realtime.DiagnoseOver(t.Context(), h.Realtime, "http://host.test/", deaf{})
		if got := codes(t, d, err); !slices.Equal(got, []string{"unreachable"}) || !strings.Contains(d.String(), "nobody listens") {
			t.Errorf("%q: %s", got, d)
		}
	})
	bubble(t, "of the context", func(t *testing.T) {
		h := start(t, open(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := realtime.DiagnoseOver(ctx, h.Realtime, "http://host.test/", h.http.Transport); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		h.http.CloseIdleConnections()
	})
	bubble(t, "of the end", func(t *testing.T) {
		h := start(t, open(), nil)
		time.AfterFunc(5*time.Second, func() {
			if err := h.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		if _, err := realtime.DiagnoseOver(t.Context(), h.Realtime, "http://host.test/", h.http.Transport); !errors.Is(err, realtime.ErrClosed) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		h.http.CloseIdleConnections()
	})
}

type deaf struct{}

func (deaf) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody listens")
}

// The secret of an examination opens nothing but its own probe, and nothing after it.
func TestDiagnoseSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.publish("room", "secret")
		var secret string
		var mu sync.Mutex
		m := meddler{RoundTripper: h.http.Transport, request: changing(func(r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			secret = r.Header.Get("X-Ren-Probe")
		}), answer: onStream(func(_ *http.Request, resp *http.Response) {
			resp.Body = &late{ReadCloser: resp.Body, change: func(b []byte) []byte {
				if bytes.Contains(b, []byte("room")) {
					t.Errorf("a probe shows events: %s", b)
				}
				return b
			}}
		})}
		for range 2 {
			h.refused(get("/ren", "X-Ren-Probe", "wrong", "Authorization", "Bearer bad"))
			if _, err := realtime.DiagnoseOver(t.Context(), h.Realtime, "http://host.test/", m); err != nil {
				t.Fatal(err)
			}
		}
		if len(secret) < 20 {
			t.Fatalf("the secret is %q", secret)
		}
		if status, f := h.refused(get("/ren", "X-Ren-Probe", secret, "Authorization", "Bearer bad")); status != http.StatusUnauthorized {
			t.Errorf("after it the secret gets %d %s", status, f.Code)
		}
		h.http.CloseIdleConnections()
	})
}

// On a cluster any node answers, whichever has asked.
func TestDiagnoseCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := realtimetest.NewCluster(t, 3, open(), nil)
		h := c.HTTPClient()
		for i := range 3 {
			d, err := realtime.DiagnoseOver(t.Context(), c.Node(i).Realtime, "http://host.test/", h.Transport)
			if got := codes(t, d, err); len(got) > 0 {
				t.Errorf("node %d: found %q", i, got)
			}
		}
		h.CloseIdleConnections()
	})
}

// docs/proxies.md explains each code.
func TestDiagnosePage(t *testing.T) {
	page, err := os.ReadFile("docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := []string{"unreachable", "hosts", "http1", "nodes"}
	for _, c := range faults {
		codes = append(codes, c.code)
	}
	for _, code := range codes {
		if code != "" && !strings.Contains(string(page), "\n| `"+code+"` |") {
			t.Errorf("it does not explain %q", code)
		}
	}
}
