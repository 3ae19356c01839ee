package faulttest

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// Promise 12: Close ends all connections within its deadline, each with
// everything that was accepted before it, and leaves no goroutine.
func TestDrain(t *testing.T) {
	n, deadline := size(500, 5000), slow(10*time.Second)
	srv := serve(t, nil)
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = (&client{kind: kinds[i%2], base: "http://" + srv.addr, channels: channels, wait: never}).start(t)
		if i%100 == 99 {
			allOpen(t, clients[i-99:i+1])
		}
	}
	allOpen(t, clients)

	chat := &chat{speaker: newSpeaker(srv)}
	var talking sync.WaitGroup
	talking.Go(func() { chat.untilClosed(t) })
	time.Sleep(size(500*time.Millisecond, 3*time.Second)) // of talk
	accepted := chat.accepted()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	began := time.Now()
	closed := srv.Close(ctx)
	took := time.Since(began)
	shut := srv.http.Shutdown(ctx)
	talking.Wait()
	var left []string
	poll(time.Second, func() bool { // the server's handlers may be returning
		left = ours()
		return len(left) == 0
	})

	eventually(t, "all clients have ended", func() bool {
		for _, c := range clients {
			if c.open.Load() {
				return false
			}
		}
		return true
	})
	lost, untold := missed(clients, accepted)
	sum, err := total(clients)
	figure(t, "12 drain", "%d connections closed in %.2f s of %v: %d accepted before, %d deliveries lost, %d clients not told, %d goroutines left; %v",
		n, took.Seconds(), deadline, sumOf(accepted), lost, untold, len(left), sum)
	if err != nil || closed != nil || shut != nil {
		t.Errorf("clients: %v; Close: %v; Shutdown: %v", err, closed, shut)
	}
	if lost+untold+len(left) > 0 {
		t.Errorf("%d lost, %d not told, %d goroutines: %v", lost, untold, len(left), left)
	}
}

// chat is what is published until the server refuses it.
type chat struct {
	mu sync.Mutex
	*speaker
}

func (c *chat) untilClosed(t *testing.T) {
	tick := time.NewTicker(size(5*time.Millisecond, 100*time.Millisecond))
	defer tick.Stop()
	for i := 0; ; i++ {
		<-tick.C
		ch := channels[i%len(channels)]
		c.mu.Lock()
		err := c.rt.Publish(context.Background(), ch, note{N: c.said[ch] + 1})
		if err == nil {
			c.said[ch]++
		}
		c.mu.Unlock()
		if err != nil {
			if !errors.Is(err, realtime.ErrClosed) {
				t.Errorf("publish: %v", err)
			}
			return
		}
	}
}

// accepted returns how many there are, by channel.
func (c *chat) accepted() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.said)
}

// missed counts the accepted notes that clients have not got, and the clients that got no
// goodbye.
func missed(clients []*client, accepted map[string]int) (lost, untold int) {
	for _, c := range clients {
		for ch, n := range accepted {
			lost += max(0, n-c.newest(ch))
		}
		if c.byes.Load() != 1 {
			untold++
		}
	}
	return lost, untold
}

// never is the wait of a client that does not come back.
func never(int, time.Duration) time.Duration { return time.Hour }

func (s *sequence) newest(channel string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[channel]
}

// ours returns the goroutines in which the library or a handler of net/http runs.
func ours() (stacks []string) {
	buf := make([]byte, 1<<20)
	for n := runtime.Stack(buf, true); n == len(buf); n = runtime.Stack(buf, true) {
		buf = make([]byte, 2*len(buf))
	}
	for stack := range strings.SplitSeq(strings.TrimRight(string(buf), "\x00"), "\n\n") {
		if strings.Contains(stack, "testing.(*M).Run") { // that of TestMain
			continue
		}
		const module = "github.com/maravilla-realtime/realtime"
		for line := range strings.SplitSeq(stack, "\n") {
			rest, is := strings.CutPrefix(line, module)
			if is && !strings.HasPrefix(rest, "/internal/test/faulttest") && !strings.HasPrefix(rest, "/internal/test/faultproxy") && !strings.HasPrefix(rest, "/internal/wire/sse") && !strings.HasPrefix(rest, "/internal/test/pace") ||
				strings.HasPrefix(line, "net/http.(*conn).serve") {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}
