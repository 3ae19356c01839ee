package faulttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// client follows channels over one stream as docs/protocol.md says, comes back
// when that breaks, and checks that what it gets is complete.
type client struct {
	kind     string // "SSE" or "WS"
	base     string // http://host:port
	path     string // before /ren and /realtime
	domains  string // of REN; default "realtime"
	channels []string
	quiet    time.Duration // after so long a silence it gives up
	wait     func(try int, told time.Duration) time.Duration
	onOpen   func(after time.Duration) // the time from dialing to the greeting
	onNote   func(note)
	http     *http.Client

	sequence
	open    atomic.Bool  // has been greeted on the present connection
	opened  atomic.Int64 // connections that were greeted
	byes    atomic.Int64
	wish    atomic.Int64      // when the last bye wants it back, in milliseconds since the Unix epoch
	cursors map[string]string // by channel; of REN that of ""
	dialed  time.Time
	told    time.Duration // when the server wants it back, else 0

	done   sync.WaitGroup
	cancel context.CancelFunc
}

var kinds = []string{"SSE", "WS"}

// transport opens a connection for each request.
var transport = &http.Transport{DisableKeepAlives: true}

// start begins to follow; the client ends with the test, or with stop.
func (c *client) start(t testing.TB) *client {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.cursors = cancel, make(map[string]string)
	if c.http == nil {
		c.http = &http.Client{Transport: transport}
	}
	if c.domains == "" {
		c.domains = "realtime"
	}
	if c.quiet == 0 {
		c.quiet = time.Minute
	}
	c.done.Go(func() { c.run(ctx) })
	t.Cleanup(c.stop)
	return c
}

func (c *client) stop() {
	c.cancel()
	c.done.Wait()
}

func (c *client) run(ctx context.Context) {
	for try := 1; ctx.Err() == nil; try++ {
		attempt, cancel := context.WithCancel(ctx)
		watchdog := time.AfterFunc(c.quiet, cancel)
		heard := func() { watchdog.Reset(c.quiet) }
		before := c.opened.Load()
		c.dialed = time.Now()
		if c.kind == "SSE" {
			c.followREN(attempt, heard)
		} else {
			c.followChannels(attempt, heard)
		}
		watchdog.Stop()
		cancel()
		c.open.Store(false)
		if c.opened.Load() > before {
			try = 1
		}
		if c.wait != nil {
			pause(ctx, c.wait(try, c.told))
		} else {
			pause(ctx, rand.N(20*time.Millisecond))
		}
		c.told = 0
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// backoff is how clients come back that were not told when: the random wait of
// docs/protocol.md.
func backoff(try int, told time.Duration) time.Duration {
	if told > 0 {
		return told
	}
	bound := min(500*time.Millisecond<<min(try, 5), 15*time.Second)
	return 500*time.Millisecond + rand.N(bound-500*time.Millisecond+1)
}

func (c *client) greeted() {
	if c.onOpen != nil {
		c.onOpen(time.Since(c.dialed))
	}
	c.opened.Add(1)
	c.open.Store(true)
}

func (c *client) bye(retryMs int64) {
	c.told = time.Duration(retryMs) * time.Millisecond
	c.wish.Store(time.Now().UnixMilli() + retryMs)
	c.keep()
	c.byes.Add(1)
}

// followREN runs one stream to its end.
func (c *client) followREN(ctx context.Context, heard func()) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+c.path+"/ren?s="+c.domains, nil)
	if err != nil {
		panic(err) // the address is the test's
	}
	if cursor := c.cursors[""]; cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	r := sse.NewReader(resp.Body, 8<<20)
	for {
		ev, err := r.Next()
		if err != nil {
			if c.told == 0 && r.Retry > 0 {
				c.told = r.Retry // as an EventSource does
			}
			return
		}
		heard()
		c.event(ev)
		c.cursors[""] = ev.ID
	}
}

func (c *client) event(ev sse.Event) {
	var data struct {
		State, Ch string
		Data      note
		RetryMs   int64
	}
	if err := json.Unmarshal([]byte(ev.Data), &data); err != nil {
		c.fail("event %.100q: %v", ev.Data, err)
		return
	}
	switch ev.Name {
	case "ren.hello":
		c.greet(data.State, c.channels...)
		c.greeted()
	case "ren.reset":
		c.reset(c.channels...)
	case "ren.bye":
		c.bye(data.RetryMs)
	case "message":
		if data.Ch != "" { // else it is of another domain
			c.got(data.Ch, data.Data)
		}
	}
}

// object is what a server sends on a WebSocket.
type object struct {
	Event, Channel, State, Cursor, ID, Code string

	Data    json.RawMessage
	RetryMs int64
}

// followChannels runs one WebSocket to its end.
func (c *client) followChannels(ctx context.Context, heard func()) {
	ws, _, err := websocket.Dial(ctx, c.base+c.path+"/realtime", &websocket.DialOptions{
		HTTPClient: c.http, Subprotocols: []string{"maravilla.realtime.v1"},
	})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(8 << 20)
	ops := []string{`{"op":"hello","cid":"0123456789abcdef"}`}
	for _, ch := range c.channels {
		op := fmt.Sprintf(`{"op":"subscribe","channel":%q`, ch)
		if since := c.cursors[ch]; since != "" {
			op += fmt.Sprintf(`,"since":%q`, since)
		}
		ops = append(ops, op+"}")
	}
	for _, op := range ops {
		if ws.Write(ctx, websocket.MessageText, []byte(op)) != nil {
			return
		}
	}
	for subscribed := 0; ; {
		_, msg, err := ws.Read(ctx)
		if err != nil {
			return
		}
		heard()
		for line := range strings.SplitSeq(string(msg), "\n") {
			var o object
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				c.fail("object %.100q: %v", line, err)
				return
			}
			c.object(o)
			if o.Event == "subscribed" {
				if subscribed++; subscribed == len(c.channels) {
					c.greeted()
				}
			}
		}
	}
}

func (c *client) object(o object) {
	switch o.Event {
	case "subscribed":
		c.greet(o.State, o.Channel)
		c.cursors[o.Channel] = o.Cursor
	case "reset":
		c.reset(o.Channel)
		c.cursors[o.Channel] = o.Cursor
	case "ping":
		for _, ch := range c.channels {
			c.cursors[ch] = o.Cursor
		}
	case "message":
		var n note
		if err := json.Unmarshal(o.Data, &n); err != nil {
			c.fail("data %.100q: %v", o.Data, err)
		}
		c.got(o.Channel, n)
		c.cursors[o.Channel] = o.ID
	case "bye":
		c.bye(o.RetryMs)
	case "error":
		c.fail("error %s", o.Code)
	}
}

func (c *client) got(channel string, n note) {
	c.next(channel, n.N)
	if c.onNote != nil {
		c.onNote(n)
	}
}

// sequence checks that numbers come one after the other, but where a reset was
// told.
type sequence struct {
	mu     sync.Mutex
	last   map[string]int  // by channel
	told   map[string]bool // something is missing of the channel
	atBye  map[string]int  // last, when the server last said goodbye
	counts counts
	fault  error // the first
}

// counts are what came of a run.
type counts struct{ events, gaps, duplicates, resets, resumed int }

func (a counts) plus(b counts) counts {
	return counts{a.events + b.events, a.gaps + b.gaps, a.duplicates + b.duplicates, a.resets + b.resets, a.resumed + b.resumed}
}

func (a counts) String() string {
	return fmt.Sprintf("%d received, %d gaps, %d duplicates, %d resets, %d resumed", a.events, a.gaps, a.duplicates, a.resets, a.resumed)
}

func (s *sequence) greet(state string, channels ...string) {
	switch state {
	case "fresh":
		s.mu.Lock()
		for _, ch := range channels {
			s.toldLocked(ch) // it begins somewhere
		}
		s.mu.Unlock()
	case "reset":
		s.reset(channels...)
	default:
		s.mu.Lock()
		s.counts.resumed++
		s.mu.Unlock()
	}
}

// reset takes note that something of channels is missing.
func (s *sequence) reset(channels ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.resets++
	for _, ch := range channels {
		s.toldLocked(ch)
	}
}

func (s *sequence) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atBye = maps.Clone(s.last)
}

func (s *sequence) hadAtBye(channel string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.atBye[channel]
}

func (s *sequence) toldLocked(channel string) {
	if s.told == nil {
		s.told, s.last = make(map[string]bool), make(map[string]int)
	}
	s.told[channel] = true
}

func (s *sequence) next(channel string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.events++
	switch last := s.last[channel]; {
	case n <= last:
		s.counts.duplicates++
		s.failLocked("%s: %d after %d", channel, n, last)
		return
	case n > last+1 && !s.told[channel]:
		s.counts.gaps++
		s.failLocked("%s: %d after %d", channel, n, last)
	}
	s.told[channel] = false
	s.last[channel] = n
}

func (s *sequence) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(format, args...)
}

func (s *sequence) failLocked(format string, args ...any) {
	if s.fault == nil {
		s.fault = fmt.Errorf(format, args...)
	}
}

// at reports whether the newest number of a channel is n.
func (s *sequence) at(channel string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[channel] == n
}

func (s *sequence) tally() (counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts, s.fault
}

// total adds up what clients counted.
func total(clients []*client) (sum counts, err error) {
	for _, c := range clients {
		n, fault := c.tally()
		sum, err = sum.plus(n), errors.Join(err, fault)
	}
	return sum, err
}

// complete waits until all clients have all that was said.
func complete(t testing.TB, p *speaker, clients []*client) {
	t.Helper()
	for i, c := range clients {
		for _, ch := range c.channels {
			eventually(t, fmt.Sprintf("client %d (%s) at %s %d", i, c.kind, ch, p.said[ch]), func() bool { return c.at(ch, p.said[ch]) })
		}
	}
}
