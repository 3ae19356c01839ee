package faulttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// front is a reverse proxy, with nothing set but what is unavoidable, and shorter
// timeouts in the short form of the test.
type front struct {
	name    string
	args    []string      // of the program; the configuration's path follows
	timeout time.Duration // when it ends a connection on which nothing comes
	config  func(listen, upstream string) string
}

func nginx() front {
	timeout := size(slow(3*time.Second), 60*time.Second)
	return front{"nginx", []string{"-e", "stderr", "-c"}, timeout, func(listen, upstream string) string {
		return fmt.Sprintf(`
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
	access_log off;
	%[3]s
	server {
		listen %[1]s;
		location / {
			proxy_pass http://%[2]s;
		}
		location /realtime {
			proxy_pass http://%[2]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_set_header Host $http_host;
		}
		location /hostless/realtime {
			proxy_pass http://%[2]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
		}
	}
}
`, listen, upstream, size(fmt.Sprintf("proxy_read_timeout %dms;", timeout.Milliseconds()), ""))
	}}
}

// haproxy has no default timeouts; these are those of Debian's configuration.
func haproxy() front {
	timeout := size(slow(3*time.Second), 50*time.Second)
	return front{"haproxy", []string{"-db", "-f"}, timeout, func(listen, upstream string) string {
		return fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client %[3]dms
	timeout server %[3]dms
frontend in
	bind %[1]s
	default_backend app
backend app
	server app %[2]s
`, listen, upstream, timeout.Milliseconds())
	}}
}

// start runs the proxy before a server until the test ends, and returns its
// address.
func (f front) start(t testing.TB, upstream string) string {
	t.Helper()
	path := program(t, f.name)
	var log bytes.Buffer
	for range 5 { // another may take the port before the proxy does
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		ln.Close()
		dir := t.TempDir()
		file := filepath.Join(dir, f.name+".conf")
		if err := os.WriteFile(file, []byte(f.config(addr, upstream)), 0o600); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		args := append(append([]string{}, f.args...), file)
		if f.name == "nginx" {
			args = append([]string{"-p", dir}, args...)
		}
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir) // where Caddy writes
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if listens(addr, ended) {
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
			return addr
		}
	}
	t.Fatalf("%s does not start: %s", f.name, log.String())
	return ""
}

// listens waits until somebody listens, or the process has ended.
func listens(addr string, ended chan error) bool {
	there := false
	poll(patience, func() (over bool) {
		conn, err := net.Dial("tcp", addr)
		if there = err == nil; there {
			conn.Close()
			return true
		}
		select {
		case err := <-ended:
			ended <- err
			return true
		default:
			return false
		}
	})
	return there
}

// Promise 17: streams work behind reverse proxies as they come: the first byte
// and the events are not held back, and silence does not end a connection.
func TestReverseProxies(t *testing.T) {
	t.Parallel()
	for _, f := range []front{nginx(), haproxy()} {
		for _, kind := range kinds {
			t.Run(f.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				testReverseProxy(t, f, kind)
			})
		}
	}
}

func testReverseProxy(t *testing.T, f front, kind string) {
	srv := newServer(t, &realtime.Options{Heartbeat: size(time.Second, 0)})
	var version atomic.Value
	inner := srv.http.Handler
	srv.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version.Store(r.Proto)
		inner.ServeHTTP(w, r)
	})
	srv.listen(t, "127.0.0.1:0")
	addr := f.start(t, srv.addr)

	first, direct, delay := &latencies{}, &latencies{}, &latencies{}
	for range 20 {
		visitor := (&client{kind: kind, base: "http://" + addr, channels: []string{"room"}, onOpen: first.took, wait: never}).start(t)
		eventually(t, "the client is greeted", visitor.open.Load)
		visitor.stop()
	}
	proto := version.Load() // of the proxy, not of the client that goes without it
	clients := []*client{
		(&client{kind: kind, base: "http://" + addr, channels: []string{"room"}, onNote: delay.add}).start(t),
		(&client{kind: kind, base: "http://" + srv.addr, channels: []string{"room"}, onNote: direct.add}).start(t),
	}
	allOpen(t, clients)
	speaker := newSpeaker(srv)
	talk(t, speaker, 60)
	complete(t, speaker, clients)
	greeting, delays, unproxied := first.take(), delay.take(), direct.take()

	time.Sleep(f.timeout*2 + f.timeout/2) // nothing but heartbeats
	speaker.say(t, "room")
	complete(t, speaker, clients)
	again := clients[0].opened.Load() - 1
	figure(t, "17 "+f.name+", "+kind, "%v to the server; first byte p50 %v, max %v; event delay p50 %v, p99 %v (direct %v, %v); silent for 2.5 times its timeout of %v: %d reconnects",
		proto, quantile(greeting, 0.5), quantile(greeting, 1), quantile(delays, 0.5), p99(delays), quantile(unproxied, 0.5), p99(unproxied), f.timeout, again)
	if again != 0 {
		t.Errorf("the connection was ended %d times", again)
	}
	// The median, beside what the machine takes without the proxy, so that a busy
	// one does not fail.
	slack := 10 * quantile(unproxied, 0.5)
	if quantile(greeting, 0.5) > slow(100*time.Millisecond)+slack || quantile(delays, 0.5) > slow(50*time.Millisecond)+slack {
		t.Errorf("something is held back: first byte %v, events %v", quantile(greeting, 0.5), quantile(delays, 0.5))
	}
}

// docs/reliability.md says that this must be set: a browser's WebSocket names its origin,
// which must agree with the host that the server is asked for.
func TestReverseProxyHost(t *testing.T) {
	t.Parallel()
	srv := serve(t, nil)
	addr := nginx().start(t, srv.addr)
	dial := func(path string) (int, error) {
		ctx, cancel := pace.WithTimeout(t.Context(), patience)
		defer cancel()
		ws, resp, err := websocket.Dial(ctx, "http://"+addr+path, &websocket.DialOptions{
			Subprotocols: []string{"maravilla.realtime.v1"}, HTTPHeader: http.Header{"Origin": {"http://" + addr}},
		})
		if err == nil {
			return http.StatusSwitchingProtocols, ws.CloseNow()
		}
		if resp == nil {
			return 0, err
		}
		body := make([]byte, 200)
		n, _ := resp.Body.Read(body) // an error is a JSON object
		return resp.StatusCode, errors.New(string(body[:n]))
	}
	if status, err := dial("/realtime"); err != nil {
		t.Errorf("with the host passed on: %d %v", status, err)
	}
	if status, err := dial("/hostless/realtime"); status != http.StatusForbidden || !strings.Contains(fmt.Sprint(err), `"origin"`) {
		t.Errorf("without: %d %v, want 403 origin", status, err)
	}
}
