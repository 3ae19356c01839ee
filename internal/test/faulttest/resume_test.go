package faulttest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
)

var channels = []string{"room:1", "room:2", "room:3", "room:4"}

// cuts are the ways in which a connection breaks.
var cuts = [...]func(*faultproxy.Proxy) (connections int){
	func(p *faultproxy.Proxy) int { return p.Cut(true) },  // RST
	func(p *faultproxy.Proxy) int { return p.Cut(false) }, // FIN
	(*faultproxy.Proxy).Silence,
}

// Promise 1, inside the window: connections break at random moments while events
// come at 100 a second; every client gets each event once and in order, and is
// not told otherwise.
func TestResume(t *testing.T) {
	side(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testResume(t, kind)
		})
	}
}

func testResume(t *testing.T, kind string) {
	clientCount, want := 8, int64(size(200, 1000))
	srv := serve(t, nil)
	clients := make([]*client, clientCount)
	proxies := make([]*faultproxy.Proxy, clientCount)
	for i := range clients {
		proxies[i] = faultproxy.New(t, srv.addr)
		// A silence is found out by its client, whose stream is never silent else.
		clients[i] = (&client{kind: kind, base: "http://" + proxies[i].Addr, channels: channels, quiet: size(slow(time.Second), 2*time.Second)}).start(t)
		eventually(t, "the client is greeted", clients[i].open.Load)
	}
	var tried [len(cuts)]atomic.Int64
	var cutting sync.WaitGroup
	for i, c := range clients {
		cutting.Go(func() {
			for done := int64(0); done < want/int64(clientCount); {
				// One in four perhaps in the middle of a handshake.
				if rand.N(4) > 0 && !poll(patience, c.open.Load) {
					t.Errorf("client %d is not back within %v", i, patience)
					return
				}
				time.Sleep(rand.N(300 * time.Millisecond))
				how := rand.N(len(cuts))
				if cuts[how](proxies[i]) > 0 {
					tried[how].Add(1)
					done++
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { cutting.Wait(); close(over) }()
	speaker := newSpeaker(srv)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for i := 0; ; i++ {
		<-tick.C
		speaker.say(t, channels[i%len(channels)])
		select {
		case <-over:
		default:
			continue
		}
		break
	}
	rate := float64(said(speaker)) / time.Since(began).Seconds()
	speaker.say(t, channels...) // so that a client that lacks the last ones shows it
	complete(t, speaker, clients)
	sum, err := total(clients)
	figure(t, "1 resume, "+kind, "%d cuts (%d RST, %d FIN, %d silence), %d events at %.0f/s to %d clients: %v",
		want, tried[0].Load(), tried[1].Load(), tried[2].Load(), said(speaker), rate, len(clients), sum)
	if err != nil || sum.gaps+sum.duplicates+sum.resets > 0 {
		t.Errorf("%v: %v", sum, err)
	}
	if expect := said(speaker) * len(clients); sum.events != expect {
		t.Errorf("%d events came, want %d", sum.events, expect)
	}
}

func said(p *speaker) int { return sumOf(p.said) }

func sumOf(m map[string]int) (sum int) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// Promise 1, beyond the window: who was away for longer than the history reaches
// is told so, once for each subscription, and nobody misses anything untold.
func TestResumeBeyondTheWindow(t *testing.T) {
	side(t)
	const window = 50
	rounds := size(10, 125)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, &realtime.Options{History: realtime.History{Events: window}})
			proxy := faultproxy.New(t, srv.addr)
			clients := make([]*client, 8)
			for i := range clients {
				clients[i] = (&client{kind: kind, base: "http://" + proxy.Addr, channels: channels}).start(t)
				eventually(t, "the client is greeted", clients[i].open.Load)
			}
			speaker := newSpeaker(srv)
			speaker.say(t, channels...)
			complete(t, speaker, clients)
			for round := range rounds {
				proxy.Refuse()
				cuts[round%2](proxy)
				for range window { // in each channel
					speaker.say(t, channels...)
				}
				before := openings(clients)
				proxy.Listen()
				for i, c := range clients {
					eventually(t, fmt.Sprintf("client %d is back", i), func() bool { return c.opened.Load() > before[i] && c.open.Load() })
				}
				speaker.say(t, channels...)
				complete(t, speaker, clients)
			}
			sum, err := total(clients)
			want := rounds * len(clients)
			if kind == "WS" {
				want *= len(channels)
			}
			figure(t, "1 beyond the window, "+kind, "%d absences of %d clients: %d of %d resets told, %d silent gaps, %d duplicates",
				rounds, len(clients), sum.resets, want, sum.gaps, sum.duplicates)
			if err != nil || sum.resets != want || sum.gaps+sum.duplicates > 0 {
				t.Errorf("%v: %v", sum, err)
			}
		})
	}
}

func openings(clients []*client) []int64 {
	list := make([]int64, len(clients))
	for i, c := range clients {
		list[i] = c.opened.Load()
	}
	return list
}
