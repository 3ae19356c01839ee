package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
)

// The nodes are this test's binary once more.
func TestMain(m *testing.M) {
	if child.Name() != "" {
		child.Main(serveNode)
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what has to come.
const patience = 2 * time.Minute

// open starts a cluster and its load balancer.
func open(t *testing.T) (*cluster, *httptest.Server) {
	t.Helper()
	nats, err := embedded.Start(embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Close)
	c, err := startCluster(t.Context(), nats.URL(), "a", "b", "c")
	t.Cleanup(c.stop)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(c.handler())
	t.Cleanup(srv.Close)
	return c, srv
}

func post(t *testing.T, url string, want int) {
	t.Helper()
	resp, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("POST %s: %s, want %d", url, resp.Status, want)
	}
}

// until waits until the cluster is as it should be.
func until(t *testing.T, c *cluster, what string, ok func(status) bool) {
	t.Helper()
	for late := time.After(patience); ; {
		s, changed := c.status("test")
		if ok(s) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s: not so: %+v", what, s)
		}
	}
}

// Whatever happens to the node that serves a client, the client moves to another one
// and has each message of the clock once, in order.
func TestFaults(t *testing.T) {
	c, srv := open(t)
	rt, err := client.NewRealtime(srv.URL+"/api/maravilla/realtime?page=test", &client.RealtimeOptions{MaxBackoff: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rt.Connect()
	defer rt.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	seen := make(chan int64, 10_000)
	go func() {
		defer close(seen)
		for msg, err := range rt.Subscribe(ctx, "clock") {
			var tick tick
			if err == nil {
				err = json.Unmarshal(msg.Data, &tick)
			}
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("the clock says %v", err)
				}
				return
			}
			seen <- tick.N
		}
	}()
	last := int64(0)
	hear := func(n int) { // so many messages of the clock
		t.Helper()
		for range n {
			select {
			case tick := <-seen:
				if last != 0 && tick != last+1 {
					t.Fatalf("message %d came after %d", tick, last)
				}
				last = tick
			case <-time.After(patience):
				t.Fatalf("nothing comes after message %d", last)
			}
		}
	}
	hear(1)
	for _, fault := range []struct{ breaks, mends string }{{"kill", "start"}, {"pause", "resume"}, {"cut", "mend"}} {
		from := ""
		until(t, c, "served", func(s status) bool { from = s.Serving; return from != "" })
		post(t, srv.URL+"/cluster/"+from+"/"+fault.breaks, http.StatusNoContent)
		until(t, c, fault.breaks, func(s status) bool { return s.Serving != from && s.Serving != "" })
		hear(10 + len(seen))
		post(t, srv.URL+"/cluster/"+from+"/"+fault.mends, http.StatusNoContent)
		until(t, c, fault.mends, allHealthy)
	}
	cancel()
	for range seen { // until it has ended
	}
}

func allHealthy(s status) bool {
	for _, n := range s.Nodes {
		if !n.Healthy {
			return false
		}
	}
	return true
}

func TestControl(t *testing.T) {
	c, srv := open(t)
	post(t, srv.URL+"/cluster/d/kill", http.StatusNotFound)
	post(t, srv.URL+"/cluster/a/praise", http.StatusNotFound)
	for _, action := range []string{"start", "kill", "kill", "pause", "resume"} { // what is so already is no error
		post(t, srv.URL+"/cluster/a/"+action, http.StatusNoContent)
	}
	until(t, c, "kill", func(s status) bool { return s.Nodes[0].Process == 0 && s.Nodes[1].Process != 0 })

	resp, err := http.Get(srv.URL + "/cluster")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("the state of the cluster is %s", got)
	}
	c.stop()
	post(t, srv.URL+"/cluster/a/start", http.StatusServiceUnavailable)
	if s, _ := c.status(""); s.Nodes[0].Process+s.Nodes[1].Process+s.Nodes[2].Process != 0 {
		t.Errorf("after the end there is %+v", s)
	}
}

// A page whose name was made to resolve to this machine presses no buttons.
func TestRebinding(t *testing.T) {
	srv := httptest.NewServer((&cluster{}).handler())
	defer srv.Close()
	for path, method := range map[string]string{
		"/": "GET", "/cluster": "GET", "/cluster/a/kill": "POST", "/api/maravilla/ren": "GET", "/shared/ui.js": "GET",
	} {
		r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "rebind.test"
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s %s: %s", method, path, resp.Status)
		}
	}
}
