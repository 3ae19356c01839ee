package browsertest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/memnet"
)

// Each view of the inspector's page shows a node of many connections and channels. With
// REALTIME_FULL_SIZE=1 these are 10,000 and 1,000, and the times are judged: 100 ms for a
// view, from the click until it is in the page, and 1 % of a core while it is open. The machine
// must have nothing else to do then.
//
//	REALTIME_FULL_SIZE=1 go test -run InspectorSize -v -timeout 20m .
func TestInspectorSize(t *testing.T) {
	Require(t)
	streams, channels, visits := 200, 60, 1
	full := os.Getenv("REALTIME_FULL_SIZE") != ""
	if full {
		streams, channels, visits = 10_000, 1_000, 9
	}
	in := startInspectedWith(t, 25*time.Second)
	in.fillUp(t, streams, channels)
	var idle float64
	if full {
		idle = share(watching)
	}
	p := NewUser(t).Open(in.URL + "/inspector/")
	Until(p, heading, "What is going on")
	for _, view := range []struct{ hash, ready string }{
		{"#overview", `document.querySelector('.figure') !== null`},
		{"#connections?sort=lag&desc=1", fifty},
		{"#connections?q=websocket-of-nobody", `document.querySelector('td.none') !== null`},
		{"#channels?sort=followers&desc=1", fifty},
		{"#refusals", rowTexts + `.length > 0`},
		{"#groups", rowTexts + `.some((r) => r.includes('invoice:17'))`},
	} {
		var times []float64
		for range visits {
			Eval[any](p, `void (location.hash = '#proxies')`)
			Until(p, heading, "Proxies")
			times = append(times, Eval[float64](p, fmt.Sprintf(`new Promise((done) => {
				const began = performance.now();
				const look = () => {
					if (document.querySelector('nav a[aria-current]')?.hash === '#proxies' || !(%s)) return;
					seen.disconnect();
					done(performance.now() - began);
				};
				const seen = new MutationObserver(look);
				seen.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
				location.hash = %s;
			})`, view.ready, quote(view.hash))))
		}
		slices.Sort(times)
		if !full {
			continue
		}
		median, busy := times[visits/2], share(watching)-idle
		t.Logf("%-36s %4.0f ms (%.0f to %.0f), %.2f %% of a core while it is open", view.hash, median, times[0], times[visits-1], 100*busy)
		if median > 100 || busy > 0.01 {
			t.Errorf("%s takes %.0f ms, and %.2f %% of a core", view.hash, median, 100*busy)
		}
	}
}

// watching is how long the processor is watched: two heartbeats of all streams.
const watching = 50 * time.Second

// fifty is true when a page of a long list is shown.
const fifty = `document.querySelectorAll('tbody tr').length === 50`

// fillUp opens streams until there are so many connections, and publishes to so many channels.
func (in *inspected) fillUp(t *testing.T, connections, channels int) {
	t.Helper()
	ln := memnet.Listen()
	srv := &http.Server{Handler: in.rt.Handler()}
	go srv.Serve(ln) //nolint:errcheck // until Close
	c := &http.Client{Transport: &http.Transport{DialContext: ln.Dial}}
	t.Cleanup(c.CloseIdleConnections)
	var reading sync.WaitGroup
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(func() { leave(); reading.Wait(); srv.Close() }) // srv does not know streams that have left it
	open := func() int { s := in.rt.Stats(); return s.REN.Open + s.WebSocket.Open }
	for open() < connections {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://host.test/api/maravilla/ren?s=presence", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", resp, err)
		}
		reading.Go(func() { _, _ = io.Copy(io.Discard, resp.Body) }) // until the end of the test
	}
	have, err := in.rt.Channels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range channels - len(have) {
		if err := in.rt.Publish(t.Context(), fmt.Sprint("hall:", i), i); err != nil {
			t.Fatal(err)
		}
	}
}

// share returns the share of a core that this process takes while the time passes.
func share(d time.Duration) float64 {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	time.Sleep(d)
	return (used() - before).Seconds() / d.Seconds()
}
