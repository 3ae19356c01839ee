package doctor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
)

// peer is a connection to an address.
type peer struct {
	net.Conn
	addr string
	sent *atomic.Bool

	closed chan struct{}
	once   *sync.Once
}

func (p peer) RemoteAddr() net.Addr                                   { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.addr)) }
func (p peer) Write([]byte) (int, error)                              { p.sent.Store(true); return 0, io.ErrClosedPipe }
func (p peer) Read([]byte) (int, error)                               { <-p.closed; return 0, io.EOF }
func (p peer) Close() error                                           { p.once.Do(func() { close(p.closed) }); return nil }
func (p peer) SetDeadline(time.Time) error                            { return nil }
func (p peer) SetReadDeadline(time.Time) error                        { return nil }
func (p peer) SetWriteDeadline(t time.Time) error                     { return nil }
func (p peer) dial(context.Context, string, string) (net.Conn, error) { return p, nil }

// Nothing is sent to the addresses where clouds keep credentials, by whatever name.
func TestGuard(t *testing.T) {
	for addr, refused := range map[string]bool{
		"169.254.169.254:80": true, "[fe80::1]:80": true, "[fe80::1%eth0]:80": true, "[::ffff:169.254.169.254]:80": true,
		"[64:ff9b::a9fe:a9fe]:80": true, "[64:ff9b:1::169.254.169.254]:80": true, "[2002:a9fe:a9fe::1]:80": true, "[::169.254.169.254]:80": true,
		"[64:ff9b::100.100.100.200]:80": true, "[fd20:ce::254]:80": true, "[64:ff9b::203.0.113.7]:80": false, "[2002:cb00:7107::1]:80": false,
		"[fd00:ec2::254]:80": true, "100.100.100.200:80": true, "224.0.0.1:80": true,
		"127.0.0.1:80": false, "10.0.0.1:443": false, "[::1]:80": false, "203.0.113.7:443": false,
	} {
		for _, name := range []string{addr, "app.example.com:80"} {
			for _, scheme := range []string{"http", "https"} {
				var sent atomic.Bool
				dialed := false
				dial := func(ctx context.Context, network, name string) (net.Conn, error) {
					dialed = true
					return peer{addr: addr, sent: &sent, closed: make(chan struct{}), once: new(sync.Once)}.dial(ctx, network, name)
				}
				tr := &http.Transport{DialContext: dial, DialTLSContext: dial}
				Guard(tr)
				r, _ := http.NewRequest(http.MethodGet, (&url.URL{Scheme: scheme, Host: name}).String(), nil)
				resp, err := tr.RoundTrip(r)
				if resp != nil {
					resp.Body.Close()
				}
				if errors.Is(err, errOwnLink) != refused || sent.Load() == refused {
					t.Errorf("%s://%s at %s: %v, sent %v", scheme, name, addr, err, sent.Load())
				}
				if known := refused && name == addr; dialed == known { // a name must be looked up
					t.Errorf("%s://%s at %s: dialed %v", scheme, name, addr, dialed)
				}
			}
		}
	}
}

// A stranger's headers are read up to a bound.
func TestGuardOfHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for size, refused := range map[int]bool{maxHeader / 2: false, 2 * maxHeader: true} {
			ln := memnet.Listen()
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Long", strings.Repeat("x", size))
			})}
			go srv.Serve(ln)
			tr := &http.Transport{DialContext: ln.Dial}
			Guard(tr)
			r, _ := http.NewRequest(http.MethodGet, "http://app.example.com", nil)
			resp, err := tr.RoundTrip(r)
			if resp != nil {
				resp.Body.Close()
			}
			if (err != nil) != refused {
				t.Errorf("%d bytes: %v", size, err)
			}
			tr.CloseIdleConnections()
			srv.Close()
		}
	})
}

// A proxy that the environment names is not asked to go there either.
func TestGuardOfProxies(t *testing.T) {
	for host, refused := range map[string]bool{"169.254.169.254": true, "[fd00:ec2::254]:8080": true, "app.example.com": false, "127.0.0.1": false} {
		for _, scheme := range []string{"http", "https"} {
			var sent atomic.Bool
			proxy := peer{addr: "10.0.0.1:3128", sent: &sent, closed: make(chan struct{}), once: new(sync.Once)}
			tr := &http.Transport{DialContext: proxy.dial, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.addr})}
			Guard(tr)
			r, _ := http.NewRequest(http.MethodGet, (&url.URL{Scheme: scheme, Host: host}).String(), nil)
			resp, err := tr.RoundTrip(r)
			if resp != nil {
				resp.Body.Close()
			}
			if errors.Is(err, errOwnLink) != refused || sent.Load() == refused {
				t.Errorf("%s://%s: %v, sent %v", scheme, host, err, sent.Load())
			}
		}
	}
}

// A stranger's answer, without an end, is read up to a bound, and redirects are told and
// not followed.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bytes, followed atomic.Int64
		endless := func(w http.ResponseWriter, header ...string) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			for range 64 << 10 { // 64 MiB
				n, err := w.Write([]byte(strings.Repeat(":\n", 512)))
				if bytes.Add(int64(n)); err != nil {
					return
				}
			}
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/stream/ren", func(w http.ResponseWriter, r *http.Request) { endless(w, "Content-Type", "text/event-stream") })
		mux.HandleFunc("/zip/ren", func(w http.ResponseWriter, r *http.Request) {
			endless(w, "Content-Type", "text/event-stream", "Content-Encoding", "gzip")
		})
		mux.HandleFunc("/page/ren", func(w http.ResponseWriter, r *http.Request) { endless(w) })
		mux.HandleFunc("/stream/realtime", func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: r.Header["Sec-Websocket-Protocol"]})
			for err == nil {
				err = ws.Write(r.Context(), websocket.MessageText, make([]byte, 1000))
				bytes.Add(1000)
			}
		})
		mux.HandleFunc("/away/", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/secret/"+strings.Repeat("x", 1000), http.StatusFound)
		})
		mux.HandleFunc("/secret/", func(http.ResponseWriter, *http.Request) { followed.Add(1) })
		ln := memnet.Listen()
		srv := &http.Server{Handler: mux}
		go srv.Serve(ln)
		defer srv.Close()
		tr := &http.Transport{DialContext: ln.Dial}
		defer tr.CloseIdleConnections()
		for _, path := range []string{"stream", "zip", "page", "away"} {
			bytes.Store(0)
			u, _ := url.Parse("http://host.test/" + path)
			p := Probe{Transport: tr, Base: u, Secret: "s", Heartbeat: time.Second}
			findings, _ := p.Run(t.Context())
			if n := bytes.Load(); n > 16<<20 { // two probes of three, each with what buffers hold
				t.Errorf("%s: %d bytes", path, n)
			}
			for _, f := range findings {
				if len(f.Problem) > 1000 {
					t.Errorf("%s: %s has %d bytes", path, f.Code, len(f.Problem))
				}
			}
			if len(findings) == 0 || !findings[0].Fault {
				t.Errorf("%s: %+v", path, findings)
			}
		}
		if followed.Load() > 0 {
			t.Error("redirects are followed")
		}
	})
}
