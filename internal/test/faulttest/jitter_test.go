package faulttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	goclient "github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
)

// delivery is what the clients of one kind were told.
type delivery struct {
	mu     sync.Mutex
	notes  map[int]int // by client: the last number
	delays []time.Duration
	faults []string
	open   int // clients that were greeted
}

func (d *delivery) took(who int, n note) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n.N != d.notes[who]+1 {
		d.faults = append(d.faults, fmt.Sprintf("client %d got %d after %d", who, n.N, d.notes[who]))
	}
	d.notes[who] = n.N
	d.delays = append(d.delays, time.Since(time.Unix(0, n.At)))
}

func (d *delivery) fault(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

func (d *delivery) greeted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
}

// complete reports whether n clients have the notes up to a number.
func (d *delivery) complete(n, last int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for who := range n {
		if d.notes[who] != last {
			return false
		}
	}
	return true
}

// jitter cuts what a proxy carries every 13 to 17 seconds, and has nobody listen
// for two.
func jitter(ctx context.Context, p *faultproxy.Proxy) {
	for {
		pause(ctx, 11*time.Second+rand.N(4*time.Second))
		if ctx.Err() != nil {
			return
		}
		p.Refuse()
		p.Cut(true)
		pause(ctx, 2*time.Second)
		p.Listen()
	}
}

// followWithGo follows the room with the two clients of Go.
func followWithGo(ctx context.Context, running *sync.WaitGroup, who int, url string, ren, channels *delivery) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	r, err := goclient.NewRen(url+"ren", &goclient.RenOptions{Subscriptions: []string{"realtime"}, Logger: quiet, OnState: opened(ren)})
	if err != nil {
		panic(err)
	}
	running.Go(func() {
		for ev, err := range r.Events(ctx) {
			take(ren, who, ev.Data, err)
		}
	})
	c, err := goclient.NewRealtime(url+"realtime", &goclient.RealtimeOptions{Logger: quiet, OnState: opened(channels)})
	if err != nil {
		panic(err)
	}
	c.Connect()
	running.Go(func() {
		defer c.Close()
		for m, err := range c.Subscribe(ctx, "room") {
			take(channels, who, m.Data, err)
		}
	})
}

// opened counts a client when it is greeted first.
func opened(d *delivery) func(goclient.State) {
	first := sync.OnceFunc(d.greeted)
	return func(state goclient.State) {
		if state == goclient.StateOpen {
			first()
		}
	}
}

func take(d *delivery, who int, data json.RawMessage, err error) {
	var n note
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	switch {
	case err == nil:
		d.took(who, n)
	case !errors.Is(err, context.Canceled):
		d.fault("client %d was told %v", who, err)
	}
}

// followWithSDK follows the room with the two clients of the browser SDK, in Node.
func followWithSDK(t *testing.T, urls []string, ren, channels *delivery) {
	t.Helper()
	node := program(t, "node")
	sdk, err := filepath.Abs("../../../client/js/dist/realtime.js")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"testdata/jitter.mjs", sdk}
	if exec.Command(node, "-e", "process.exit(globalThis.WebSocket ? 0 : 1)").Run() != nil {
		args = slices.Insert(args, 0, "--experimental-websocket") // Node 20
	}
	cmd := exec.Command(node, append(args, urls...)...)
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			heard(lines.Bytes(), map[string]*delivery{"REN": ren, "channels": channels})
		}
	})
	t.Cleanup(func() {
		_ = stop.Close() // it ends by that
		reading.Wait()
		_ = cmd.Wait()
	})
}

// heard takes one line of what the SDK's clients were told.
func heard(line []byte, kinds map[string]*delivery) {
	var said struct {
		Kind, State, Reset string
		Client             int
		Note               json.RawMessage
	}
	if err := json.Unmarshal(line, &said); err != nil || kinds[said.Kind] == nil {
		return // what Node says of itself
	}
	d := kinds[said.Kind]
	switch {
	case said.Note != nil:
		take(d, said.Client, said.Note, nil)
	case said.Reset != "":
		d.fault("client %d was told reset %s", said.Client, said.Reset)
	case said.State == "open":
		d.greeted()
	}
}

// A jittery link loses nothing and is not punished: two messages a second, and
// every client reset every 13 to 17 s and offline for 2 s.
func TestJitteryLinks(t *testing.T) {
	side(t)
	n, lasts := size(3, 20), size(45*time.Second, 10*time.Minute)
	srv := serve(t, &realtime.Options{})
	kinds := []string{"Go REN", "Go channels", "SDK REN", "SDK channels"}
	got := make(map[string]*delivery)
	for _, kind := range kinds {
		got[kind] = &delivery{notes: make(map[int]int)}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	var urls []string
	var proxies []*faultproxy.Proxy
	for i := range 2 * n {
		p := faultproxy.New(t, srv.addr)
		proxies = append(proxies, p)
		if i < n {
			followWithGo(ctx, &running, i, p.URL, got["Go REN"], got["Go channels"])
		} else {
			urls = append(urls, p.URL)
		}
	}
	followWithSDK(t, urls, got["SDK REN"], got["SDK channels"])
	for _, kind := range kinds {
		eventually(t, kind+": all are greeted", func() bool {
			got[kind].mu.Lock()
			defer got[kind].mu.Unlock()
			return got[kind].open >= n
		})
	}
	time.Sleep(time.Second) // for the subscriptions
	for _, p := range proxies {
		running.Go(func() { jitter(ctx, p) })
	}
	says := newSpeaker(srv)
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		says.say(t, "room")
	}
	for _, kind := range kinds {
		d := got[kind]
		eventually(t, kind+": all is delivered", func() bool { return d.complete(n, says.said["room"]) })
		d.report(t, kind, n)
	}
}

func (d *delivery) report(t *testing.T, kind string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.delays)
	at := func(p int) time.Duration { return d.delays[(len(d.delays)-1)*p/100].Round(time.Millisecond) }
	figure(t, "19 jittery link, "+kind, "%d clients, %d messages delivered, %d faults; delay p95 %v, p99 %v, max %v", n, len(d.delays), len(d.faults), at(95), at(99), at(100))
	if len(d.faults) > 0 {
		t.Errorf("%s: %q", kind, d.faults)
	}
	if at(95) > slow(4*time.Second) || at(99) > slow(5*time.Second) || at(100) > slow(10*time.Second) {
		t.Errorf("%s: p95 %v, p99 %v, max %v", kind, at(95), at(99), at(100))
	}
}
