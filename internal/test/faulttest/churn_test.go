package faulttest

import (
	"context"
	cryptorand "crypto/rand"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

var soak = flag.Duration("soak", 0, "how long clients come and go; 0 means 12 s, and an hour with -full")

const history = 1000 // events

// Promise 15: clients come and go for long, and afterwards the process holds
// what it held before.
func TestChurn(t *testing.T) {
	const rate = 200 // connections a second
	if *soak == 0 {
		*soak = size(12*time.Second, time.Hour)
	}
	srv := serve(t, &realtime.Options{
		History:  realtime.History{Events: history},
		Presence: realtime.PresenceOptions{CloseGrace: 100 * time.Millisecond, DropGrace: 500 * time.Millisecond},
	})
	churn(t, srv, rate, min(*soak/4, 20*time.Second)) // what is made once is made
	before := settled(t, srv)
	began := time.Now()
	conns := churn(t, srv, rate, *soak)
	took := time.Since(began)
	after := settled(t, srv)
	figure(t, "15 churn", "%d connections in %v (%.0f/s): heap %d KiB, was %d (%+.1f %%); %d goroutines, was %d; %d descriptors, was %d; %d channels, was %d; %d members, was %d",
		conns, took.Round(time.Second), float64(conns)/took.Seconds(), after.heap>>10, before.heap>>10, percent(after.heap, before.heap),
		after.goroutines, before.goroutines, after.descriptors, before.descriptors, after.channels, before.channels, after.members, before.members)
	// The collector leaves some noise. The log remembers the ids of joins and leaves,
	// of which each other client has one, for two minutes: longer than the short form
	// waits, which therefore cannot see a leak that is as small.
	const idBytes = 256
	noise := int64(before.heap)/100 + 256<<10 + size(idBytes*conns, 0)
	if growth := int64(after.heap) - int64(before.heap); growth > noise {
		t.Errorf("the heap grew by %d bytes", growth)
	}
	if after.goroutines > before.goroutines+2 || after.descriptors > before.descriptors+2 || after.channels != before.channels || after.members != before.members {
		t.Errorf("something is left: %+v, was %+v", after, before)
	}
}

// holdings are what the process holds.
type holdings struct {
	heap                                       uint64
	goroutines, descriptors, channels, members int
}

func percent(now, was uint64) float64 { return 100 * (float64(now) - float64(was)) / float64(was) }

// settled waits until all have gone and are forgotten, and measures.
func settled(t testing.TB, srv *server) (h holdings) {
	t.Helper()
	eventually(t, "all streams have ended", func() bool { return srv.streams() == 0 })
	time.Sleep(size(0, 125*time.Second)) // until the ids of presence are forgotten
	last := holdings{}
	eventually(t, "all is forgotten", func() bool {
		for range 2 * history { // and what is remembered of what was evicted
			if err := srv.Publish(t.Context(), "room", 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		last, h = h, measure(t, srv)
		return h.channels == 1 && h.members == 0 && h.goroutines == last.goroutines && h.heap <= last.heap+last.heap/200
	})
	return h
}

func measure(t testing.TB, srv *server) (h holdings) {
	t.Helper()
	channels, err := srv.Channels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	members, err := srv.Presence().Members(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holdings{m.HeapAlloc, runtime.NumGoroutine(), len(files), len(channels), len(members)}
}

// churn has clients come and go, and returns how many did.
func churn(t testing.TB, srv *server, rate int, d time.Duration) (n int64) {
	t.Helper()
	var visits atomic.Int64
	var visiting sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	const workers = 20
	for range workers {
		visiting.Go(func() {
			tick := time.NewTicker(workers * time.Second / time.Duration(rate))
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				visit := visitREN
				if i%2 == 0 {
					visit = visitChannel
				}
				if err := visit(srv, cryptorand.Text()); err != nil {
					t.Errorf("visit: %v", err)
					return
				}
				visits.Add(1)
			}
		})
	}
	visiting.Wait()
	return visits.Load()
}

// visitREN reads the beginning of a stream and leaves.
func visitREN(srv *server, id string) error {
	ctx, cancel := pace.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+srv.addr+"/ren?s=kv,realtime&cid="+id, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadAtLeast(resp.Body, make([]byte, 4096), 20)
	return err
}

// visitChannel does most of what a client can on a WebSocket, in a channel and as
// a user of its own, and leaves in one of three ways.
func visitChannel(srv *server, id string) error {
	ctx, cancel := pace.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "http://"+srv.addr+"/realtime", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"maravilla.realtime.v1"},
	})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	channel := "room:" + id
	for _, op := range []string{
		`{"op":"hello","cid":"` + id + `"}`,
		fmt.Sprintf(`{"op":"subscribe","channel":%q,"presence":true}`, channel),
		fmt.Sprintf(`{"op":"join","channel":%q,"userId":"user-%s","metadata":{"name":"Ada"}}`, channel, id),
		fmt.Sprintf(`{"op":"publish","channel":%q,"data":"hello"}`, channel),
	} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
			return err
		}
	}
	for seen := false; !seen; {
		_, msg, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		seen = strings.Contains(string(msg), `"event":"message"`)
	}
	switch rand.N(3) {
	case 0:
		return ws.Close(websocket.StatusNormalClosure, "")
	case 1: // explicitly
		return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"op":"leave","channel":%q,"userId":"user-%s"}`, channel, id))
	}
	return nil // without a word
}
