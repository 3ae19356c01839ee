package realtime_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Front servers may hold chunks back: see internal/test/faulttest.
func TestRENIsNotChunked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren"))
		if te := s.resp.TransferEncoding; len(te) > 0 || s.resp.ContentLength != -1 {
			t.Errorf("transfer encoding %v, length %d", te, s.resp.ContentLength)
		}
		if te := s.resp.Header.Get("Transfer-Encoding"); te != "" {
			t.Errorf("the header says Transfer-Encoding: %s", te)
		}
	})
}

func TestRENServerTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		h.server.ReadTimeout, h.server.WriteTimeout = time.Second, 2*time.Second
		h.serve()
		s := h.ren(get("/ren"))
		time.Sleep(time.Minute)
		h.emit(realtime.KVPut("n", "still here"))
		if got := s.keys(1); got != "still here" {
			t.Error(got)
		}
	})
}

// HTTP/2 in virtual time, without TLS; then both protocols over real sockets.
func TestRENOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		h.server.WriteTimeout = time.Second
		h.overHTTP2()
		h.serve()
		s := h.ren(get("/ren"))
		if s.resp.ProtoMajor != 2 {
			t.Fatalf("protocol %s", s.resp.Proto)
		}
		time.Sleep(time.Minute)
		h.emit(realtime.KVPut("n", "1"))
		if got := s.keys(1); got != "1" {
			t.Error(got)
		}
		s.nothing()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "closing" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
		s.ended()
	})
}

func TestRENOverRealSockets(t *testing.T) {
	t.Parallel()
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", major), func(t *testing.T) {
			h := prepare(t, open(), nil)
			server := httptest.NewUnstartedServer(http.StripPrefix("/live", h.handler))
			server.EnableHTTP2 = major == 2
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			ctx, cancel := pace.WithTimeout(t.Context(), patience)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/live/ren", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != major {
				t.Errorf("protocol %s", resp.Proto)
			}
			s := &ren{incoming: newIncoming[renEvent](t), resp: resp}
			s.patience = pace.Slow(patience)
			s.pump()
			if hello := s.next(); hello.State != "fresh" {
				t.Errorf("hello %s", hello.Raw)
			}
			h.emit(realtime.KVPut("n", "1"))
			if got := s.keys(1); got != "1" {
				t.Error(got)
			}
			if err := h.Close(ctx); err != nil {
				t.Error(err)
			}
			if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "closing" || ev.Retry != time.Duration(ev.RetryMs)*time.Millisecond {
				t.Errorf("%s %s with retry %v", ev.Name, ev.Raw, ev.Retry)
			}
			s.ended()
		})
	}
}

func TestRENCrossOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		h := start(t, p, nil)

		s := h.ren(get("/ren", "Origin", app, "Sec-Fetch-Site", "same-site"))
		if got := s.resp.Header; got.Get("Access-Control-Allow-Origin") != app || got.Get("Access-Control-Allow-Credentials") != "true" ||
			!slices.Contains(got.Values("Vary"), "Origin") {
			t.Errorf("stream: %v", got)
		}

		preflight := get("/ren", "Origin", app, "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", "GET",
			"Access-Control-Request-Headers", "authorization,last-event-id,x-ren-client")
		preflight.method = http.MethodOptions
		resp := h.do(t.Context(), preflight)
		resp.Body.Close()
		if got := resp.Header; resp.StatusCode != 204 || got.Get("Access-Control-Allow-Origin") != app ||
			got.Get("Access-Control-Allow-Credentials") != "true" || got.Get("Access-Control-Allow-Methods") != "GET" ||
			got.Get("Access-Control-Allow-Headers") != "authorization,last-event-id,x-ren-client" {
			t.Errorf("preflight: %s %v", resp.Status, got)
		}

		// Other requests for its options tell nothing.
		other := get("/ren", "Origin", app)
		other.method = http.MethodOptions
		resp = h.do(t.Context(), other)
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 204 || len(body) > 0 {
			t.Errorf("OPTIONS: %s, %q, %v", resp.Status, body, err)
		}
		resp.Body.Close()

		// A refusal has to be readable for the page, too.
		bad := h.do(t.Context(), get("/ren?s=!", "Origin", app))
		bad.Body.Close()
		if bad.StatusCode != 400 || bad.Header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("refusal: %s %v", bad.Status, bad.Header)
		}

		preflight.header.Set("Origin", "https://evil.example.com")
		if status, f := h.refused(preflight); status != 403 || f.Code != "origin" {
			t.Errorf("foreign preflight: %d %+v", status, f)
		}
	})
}
