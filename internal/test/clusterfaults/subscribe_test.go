package clusterfaults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Promise 2 on real engines: what one node publishes after a client of another one was
// told that it is subscribed arrives, and nothing after the first event is missing.
func TestNoHoleAtSubscribe(t *testing.T) {
	side(t)
	for _, e := range engines {
		if e.name == "Redis with Sentinel" || e.name == "Postgres with a standby" {
			continue // without a failover they are as those without
		}
		t.Run(e.name, func(t *testing.T) {
			side(t)
			r := newRacing(t, e.start(t))
			const crews = 4
			rounds := size(2, 1250)
			var racing sync.WaitGroup
			for i := range crews {
				racing.Go(func() { r.crew(i, rounds) })
			}
			racing.Wait()
			figure(t, "2 no hole at subscribe", "%d races, %d of them in the middle; 0 lost, %d told a reset, %d without an accepted message",
				r.won.Load(), r.middle.Load(), r.resets.Load(), r.refused.Load())
			// An engine on a machine that is too busy may refuse a message, or change leaders.
			if asked := int64(crews * rounds * crewSize); !t.Failed() && 2*r.won.Load() < asked {
				t.Errorf("only %d of %d races have a result", r.won.Load(), asked)
			}
		})
	}
}

// racing has one node that clients subscribe at, and another one that publishes.
type racing struct {
	t         *testing.T
	url       string
	publisher *realtime.Realtime

	won, middle     atomic.Int64 // races; those in which the client had missed a message before
	resets, refused atomic.Int64 // races without a result
}

func newRacing(t *testing.T, e *engine) *racing {
	t.Helper()
	var nodes [2]*realtime.Realtime
	for i := range nodes {
		ctx, cancel := pace.WithTimeout(t.Context(), patience)
		b, err := e.config(e.proxied).open(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		if nodes[i], err = realtime.New(realtime.AllowAll(), &realtime.Options{
			Backend: b, Logger: silent, Limits: realtime.Limits{Rate: -1, UserRate: -1, Channels: -1},
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nodes[i].Close(context.Background()) })
	}
	srv := httptest.NewServer(nodes[0].Handler())
	t.Cleanup(srv.CloseClientConnections)
	return &racing{t: t, url: srv.URL + "/api/maravilla", publisher: nodes[1]}
}

const (
	burst       = 6 // messages of a round, before the last one
	crewSockets = 16
	crewStreams = 4
	crewSize    = crewSockets + crewStreams
)

// crew has some clients subscribe to one channel after another.
func (r *racing) crew(number, rounds int) {
	var all [crewSize]*racer
	for i := range all {
		all[i] = &racer{racing: r, ws: i < crewSockets}
		defer all[i].end()
		if all[i].ws {
			if err := all[i].dial(fmt.Sprintf("racing-client-%03d-%03d", number, i)); err != nil {
				r.t.Errorf("WebSocket: %v", err)
				return
			}
		}
	}
	for i := range rounds {
		if !r.round(fmt.Sprintf("race:%d:%d", number, i), all[:]) {
			return
		}
	}
}

// round publishes to a channel while clients subscribe to it, and checks what they are
// given. It reports whether to go on.
func (r *racing) round(channel string, clients []*racer) bool {
	p := &publishing{racing: r, channel: channel, began: make([]chan struct{}, burst)}
	for i := range p.began {
		p.began[i] = make(chan struct{})
	}
	ctx, cancel := pace.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var running, opening sync.WaitGroup
	last := make(chan struct{}) // closed when the last message was published
	opening.Go(p.run)
	errs := make([]error, len(clients))
	for i, c := range clients {
		opened := sync.OnceFunc(opening.Done)
		opening.Add(1)
		running.Go(func() {
			defer opened()
			<-p.began[rand.IntN(burst)]
			if errs[i] = c.open(ctx, channel); errs[i] != nil {
				return
			}
			promised := int(p.started.Load())
			opened()
			<-last
			if p.failed == nil {
				errs[i] = c.check(ctx, channel, promised)
			}
		})
	}
	opening.Wait()
	p.publish(burst) // ends what clients read
	close(last)
	running.Wait()
	for i, err := range errs {
		switch {
		case errors.Is(err, errReset):
			r.resets.Add(1)
		case err != nil:
			r.t.Errorf("%v: %v", clients[i], err)
		case p.failed != nil:
			r.refused.Add(1)
		}
	}
	return !r.t.Failed()
}

// publishing are the messages of a round, which are numbered.
type publishing struct {
	*racing
	channel string
	began   []chan struct{} // closed when the call for a message begins
	started atomic.Int64    // calls
	failed  error           // of a call; read after it
}

func (p *publishing) run() {
	for i := range burst {
		p.started.Store(int64(i) + 1)
		close(p.began[i])
		p.publish(i)
	}
}

func (p *publishing) publish(i int) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.publisher.Publish(ctx, p.channel, message{i}); err != nil {
		p.t.Logf("message %d to %s: %v", i, p.channel, err)
		p.failed = err
	}
}

// racer is a client: a WebSocket that subscribes to one channel after another, or one REN
// stream after another.
type racer struct {
	*racing
	ws      bool
	socket  *websocket.Conn
	channel atomic.Pointer[string] // that it follows next
	told    chan told              // what the connection tells, without messages of other channels; closed at its end
	failed  error                  // why it has ended
	close   func()
	reading sync.WaitGroup
}

// told is an event of either wire.
type told struct {
	Event, Channel, Ch string
	Data               json.RawMessage
}

// messageEvent is the event of a message, as WebSockets call it.
const messageEvent = "message"

func (c *racer) String() string {
	if c.ws {
		return "WebSocket"
	}
	return "REN"
}

var errReset = errors.New("the client is told a reset")

// wait returns the next event that is wanted.
func (c *racer) wait(ctx context.Context, wanted func(*told) bool) (told, error) {
	for {
		select {
		case got, open := <-c.told:
			switch {
			case !open:
				return got, fmt.Errorf("the connection has ended: %w", c.failed)
			case wanted(&got):
				return got, nil
			case strings.HasSuffix(got.Event, "reset"):
				return got, errReset
			case got.Event == "error":
				return got, fmt.Errorf("the server answers %s", got.Data)
			}
		case <-ctx.Done():
			return told{}, fmt.Errorf("nothing came for %v at the machine's pace", patience)
		}
	}
}

// open returns when the client was told that it follows the channel.
func (c *racer) open(ctx context.Context, channel string) error {
	c.channel.Store(&channel)
	if c.ws {
		return c.ask(ctx, fmt.Sprintf(`{"op":"subscribe","ref":1,"channel":%q}`, channel), "subscribed")
	}
	if err := c.stream(); err != nil {
		return err
	}
	_, err := c.wait(ctx, func(got *told) bool { return got.Event == "ren.hello" })
	return err
}

// wants reports whether what a connection tells is waited for: a REN stream has the
// messages of all crews.
func (c *racer) wants(got *told) bool {
	return got.Event != messageEvent || got.Channel == *c.channel.Load()
}

// check reads the messages of a channel up to the last one. Those from promised on must
// come, and none may be missing after the first that comes.
func (c *racer) check(ctx context.Context, channel string, promised int) error {
	first, next := -1, 0
	for first < 0 || next <= burst {
		got, err := c.wait(ctx, func(got *told) bool { return got.Event == messageEvent && got.Channel == channel })
		if err != nil {
			return fmt.Errorf("in %s after %d to %d, where all from %d on are promised: %w", channel, first, next-1, promised, err)
		}
		id := messageID(got.Data)
		if first < 0 {
			first, next = id, id
		}
		if id != next || first > promised {
			return fmt.Errorf("in %s %d came first, then %d instead of %d; all from %d on were promised", channel, first, id, next, promised)
		}
		next++
	}
	c.won.Add(1)
	if first > 0 {
		c.middle.Add(1)
	}
	return nil
}

// dial connects the WebSocket.
func (c *racer) dial(client string) error {
	ctx, cancel := pace.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var err error
	if c.socket, _, err = websocket.Dial(ctx, c.url+"/realtime", &websocket.DialOptions{Subprotocols: []string{"maravilla.realtime.v1"}}); err != nil {
		return err
	}
	c.socket.SetReadLimit(-1)
	c.read(func(tell func(told) bool) error {
		for {
			_, b, err := c.socket.Read(context.Background()) // until end closes it
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(b)) {
				var got told
				if err := json.Unmarshal([]byte(line), &got); err != nil || !tell(got) {
					return err
				}
			}
		}
	}, func() { c.socket.CloseNow() })
	return c.ask(ctx, fmt.Sprintf(`{"op":"hello","cid":%q}`, client), "hello")
}

// ask sends an operation and waits for its answer.
func (c *racer) ask(ctx context.Context, op, answer string) error {
	if err := c.socket.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
		return err
	}
	_, err := c.wait(ctx, func(got *told) bool { return got.Event == answer })
	return err
}

// stream opens a REN stream, in place of the one before.
func (c *racer) stream() error {
	c.end()
	ctx, cancel := context.WithCancel(c.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/ren?s=realtime", nil)
	if err != nil {
		cancel()
		return err
	}
	slow := time.AfterFunc(pace.Slow(patience), cancel)
	resp, err := http.DefaultClient.Do(req)
	slow.Stop()
	if err != nil {
		cancel()
		return err
	}
	c.read(func(tell func(told) bool) error {
		name := ""
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "data":
				var got told
				if err := json.Unmarshal([]byte(value), &got); err != nil {
					return err
				}
				if got.Event = name; name == "" {
					got.Event, got.Channel = messageEvent, got.Ch
				}
				if !tell(got) {
					return nil
				}
			case "":
				name = ""
			}
		}
		return lines.Err()
	}, func() {
		cancel()
		resp.Body.Close()
	})
	return nil
}

// read has a goroutine read what the server tells, until stop was called or the
// connection ends.
func (c *racer) read(from func(tell func(told) bool) error, stop func()) {
	events, over := make(chan told, 4*burst), make(chan struct{})
	c.told = events
	c.close = func() {
		close(over)
		stop()
	}
	c.reading.Go(func() {
		defer close(events)
		c.failed = from(func(got told) bool {
			if !c.wants(&got) {
				return true
			}
			select {
			case events <- got:
				return true
			case <-over:
				return false
			}
		})
	})
}

// end ends the connection, if there is one.
func (c *racer) end() {
	if c.close != nil {
		c.close()
		c.close = nil
	}
	c.reading.Wait()
}
