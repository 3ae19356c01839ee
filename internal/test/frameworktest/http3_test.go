package frameworktest

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/quic-go/quic-go/http3"
)

// HTTP/3 has another server than net/http, whose writers tell by the context alone
// that a client is gone.
func TestHTTP3(t *testing.T) {
	a := newApp(t)
	handler := a.handler()
	ended := make(chan struct{}, 1)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	server := &http3.Server{
		TLSConfig: &tls.Config{Certificates: certified.TLS.Certificates},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(w, r)
			ended <- struct{}{}
		}),
	}
	go func() { _ = server.Serve(conn) }()
	t.Cleanup(func() { server.Close(); conn.Close() })
	client := &http3.Transport{TLSClientConfig: certified.Client().Transport.(*http.Transport).TLSClientConfig}
	t.Cleanup(func() { client.Close() })

	open := func() (*stream, context.CancelFunc) {
		ctx, cancel := pace.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+conn.LocalAddr().String()+"/api/ren", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s\n%s", resp.Status, a.logs.String())
		}
		s := &stream{t, bufio.NewReader(resp.Body)}
		s.next("ren.hello", "fresh")
		return s, cancel
	}
	_, leave := open()
	leave()
	<-ended

	s, _ := open()
	if err := a.Publish(t.Context(), "room", "hello"); err != nil {
		t.Fatal(err)
	}
	s.next("", "hello")
	go a.close()
	s.next("ren.bye", "closing")
}
