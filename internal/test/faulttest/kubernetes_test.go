package faulttest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// pod is a node as docs/deploy.md says that Kubernetes should run it.
type pod struct {
	addr   string
	posts  atomic.Int64
	term   context.CancelFunc // SIGTERM
	ended  chan struct{}
	result error // of Serve, once it has ended
}

// startPod returns a pod that is ready.
func startPod(t *testing.T, engine backend.Backend) *pod {
	t.Helper()
	rt, err := realtime.New(everything(), &realtime.Options{Backend: engine, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := rt.Health(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /say", func(w http.ResponseWriter, r *http.Request) {
		p.posts.Add(1)
		n, _ := strconv.Atoi(r.FormValue("n"))
		if err := rt.Publish(r.Context(), "room", note{N: n}, realtime.WithID("note "+r.FormValue("n"))); err != nil {
			realtime.WriteError(w, err)
		}
	})
	mux.Handle("/", rt.Handler())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	var ctx context.Context
	ctx, p.term = context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		p.result = realtime.ServeListener(ctx, &http.Server{Handler: mux}, rt, ln)
	}()
	t.Cleanup(func() { p.term(); <-p.ended })
	eventually(t, "the pod is ready", func() bool {
		resp, err := http.Get("http://" + p.addr + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return p
}

// ingress is a HAProxy that is told of the pods, as an ingress controller does it.
type ingress struct {
	t     *testing.T
	addr  string
	admin string // path of its socket
}

func startIngress(t *testing.T, pods []*pod) *ingress {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingress") // its path must fit into the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of a test
	in := &ingress{t: t, admin: filepath.Join(dir, "admin")}
	f := haproxy()
	f.config = func(listen, _ string) string {
		config := fmt.Sprintf("global\n\tstats socket %s mode 600 level admin\n", in.admin) +
			"defaults\n\tmode http\n\ttimeout connect 5s\n\ttimeout client 50s\n\ttimeout server 50s\n" +
			fmt.Sprintf("frontend in\n\tbind %s\n\tdefault_backend app\nbackend app\n\tbalance roundrobin\n", listen)
		for i, p := range pods {
			config += fmt.Sprintf("\tserver pod%d %s\n", i, p.addr)
		}
		return config
	}
	in.addr = f.start(t, "")
	return in
}

// set changes an endpoint.
func (in *ingress) set(i int, what string) {
	in.t.Helper()
	conn, err := net.Dial("unix", in.admin)
	if err != nil {
		in.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "set server app/pod%d %s\n", i, what); err != nil {
		in.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if said := strings.TrimSpace(string(answer)); err != nil || said != "" && !strings.Contains(said, "changed") && !strings.Contains(said, "no need") {
		in.t.Fatalf("set %s: %q, %v", what, said, err)
	}
}

// poster publishes numbered notes through the ingress, one after another. A note that is
// not accepted is repeated.
type poster struct {
	accepted, failed atomic.Int64
	stop             context.CancelFunc
	done             sync.WaitGroup
}

func startPoster(t *testing.T, base string) *poster {
	p := new(poster)
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	client := &http.Client{Transport: transport}
	p.done.Go(func() {
		for ctx.Err() == nil {
			resp, err := client.PostForm(base+"/say", url.Values{"n": {fmt.Sprint(p.accepted.Load() + 1)}})
			if err == nil {
				resp.Body.Close()
			}
			if err != nil || resp.StatusCode != http.StatusOK {
				p.failed.Add(1)
			} else {
				p.accepted.Add(1)
			}
			pause(ctx, 5*time.Millisecond)
		}
	})
	t.Cleanup(func() { p.stop(); p.done.Wait() })
	return p
}

// A rolling restart of three pods behind HAProxy, by the procedure of docs/deploy.md: no
// request fails, no client misses an event, gets one twice or is reset, and each is told
// to come back.
func TestKubernetes(t *testing.T) {
	side(t)
	log := memory.New(memory.Limits{})
	defer log.Close(context.Background())
	engine := struct{ backend.Backend }{log} // which several nodes share, as an engine outside
	pods := make([]*pod, 3)
	for i := range pods {
		pods[i] = startPod(t, engine)
	}
	in := startIngress(t, pods)
	clients := make([]*client, size(12, 300))
	for i := range clients {
		c := &client{kind: kinds[i%2], base: "http://" + in.addr, channels: []string{"room"}}
		clients[i] = c.start(t)
	}
	allOpen(t, clients)
	robot := startPoster(t, "http://"+in.addr)
	for i, old := range pods {
		next := startPod(t, engine)
		// The pod is deleted. The ingress hears of it, and meanwhile preStop sleeps: until
		// no request comes that was sent before, and then some.
		in.set(i, "state drain")
		seen := robot.accepted.Load()
		eventually(t, "requests go elsewhere", func() bool { return robot.accepted.Load() > seen+3 })
		old.term()
		eventually(t, "the pod ends", func() bool {
			select {
			case <-old.ended:
				return true
			default:
				return false
			}
		})
		if old.result != nil {
			t.Errorf("pod %d ended with %v", i, old.result)
		}
		host, port, _ := net.SplitHostPort(next.addr)
		in.set(i, "state maint")
		in.set(i, "addr "+host+" port "+port)
		in.set(i, "state ready")
		eventually(t, "the next pod gets requests", func() bool { return next.posts.Load() > 0 })
		allOpen(t, clients)
	}
	robot.stop()
	robot.done.Wait()
	byes, accepted := int64(0), int(robot.accepted.Load())
	for i, c := range clients {
		eventually(t, fmt.Sprintf("client %d (%s) has the last message", i, c.kind), func() bool { return c.at("room", accepted) })
		byes += c.byes.Load()
	}
	sum, err := total(clients)
	figure(t, "12 rolling restart, Kubernetes", "3 pods, %d clients, %d messages accepted, %d requests failed, %d byes; %v",
		len(clients), accepted, robot.failed.Load(), byes, sum)
	if err != nil || sum.gaps+sum.duplicates+sum.resets > 0 || robot.failed.Load() > 0 {
		t.Errorf("%v, %d requests failed: %v", sum, robot.failed.Load(), err)
	}
	if byes < int64(len(clients)) {
		t.Errorf("%d clients were told %d times to come back", len(clients), byes)
	}
}
