package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Realtime follows channels, publishes to them and is present in them, over one
// WebSocket that is opened again whenever it ends. Its methods may be called
// concurrently, before it is connected too.
type Realtime struct {
	set     settings
	ctx     context.Context // of the background
	stop    context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	connected bool  // Connect was called
	ended     error // set when nothing is to be had from now on
	rooms     map[string]*room
	out       outbox
	prefix    string // of message ids
	messages  int64
}

// NewRealtime returns a client of the channels at an address, that of
// …/realtime, with a scheme of http, https, ws or wss. opts may be nil. It opens no
// connection: see [Realtime.Connect].
//
// Errors: [realtime.ErrBadOption] for another URL or an option out of its range,
// [realtime.ErrBadClientID].
func NewRealtime(url string, opts *RealtimeOptions) (*Realtime, error) {
	set, err := newSettings(url, opts, "http", "https", "ws", "wss")
	if err != nil {
		return nil, err
	}
	r := &Realtime{
		set: set, rooms: make(map[string]*room),
		out: outbox{wake: make(chan struct{}, 1)}, prefix: rand.Text() + "-",
	}
	r.set.http.CheckRedirect = confined(r.set.http.CheckRedirect)
	r.out.held = r.held
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// ClientID returns what names this client to the server.
func (r *Realtime) ClientID() string { return r.set.client }

// Tag returns what [Message].From is in messages this client published.
func (r *Realtime) Tag() string { return wire.Tag(r.set.client) }

// Connect connects in the background, and stays connected until [Realtime.Close],
// or until the server refuses the client for good.
func (r *Realtime) Connect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil || r.connected {
		return
	}
	r.connected = true
	r.running.Go(r.run)
}

// Close closes the connection and ends the client: all that waits for it gets
// [realtime.ErrClosed]. When it returns, which takes two seconds at most where a
// server does not answer, no goroutine of the client is left. It returns what
// had ended the client before, if anything had: an [*Error] that says how the
// server refused it. Want of credentials ends a client after 30 seconds of attempts.
func (r *Realtime) Close() error {
	r.fail(realtime.ErrClosed)
	r.stop()
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == realtime.ErrClosed {
		return nil
	}
	return r.ended
}

// fail ends everything, unless it has ended.
func (r *Realtime) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return
	}
	r.ended = err
	r.cut()
	r.out.fail(err)
	for _, m := range r.rooms {
		m.end(err, true)
		for _, w := range m.waiters {
			if w.present {
				w.done <- err
			} else {
				w.done <- nil // nobody is present without a connection
			}
		}
	}
	clear(r.rooms)
}

// cut forgets the connection.
func (r *Realtime) cut() {
	r.out.cut()
	for _, m := range r.rooms {
		m.cut()
		r.sync(m)
	}
}

const (
	maxKept = 100 // messages that wait for their answer

	// publishTime is how long a message is sent again. A server knows its id for
	// two minutes from when it came first, and would publish it twice after that.
	publishTime = 110 * time.Second
)

// Publish sends a message to a channel; data must encode as JSON. It returns nil
// when the server has it. Where there is no connection it waits for one, and
// where a connection is lost before the answer, it sends the message again,
// which the server recognises.
//
// Errors: an [*Error] is the server's refusal, or "too_large", or "too_many" when
// 100 messages wait already, or "unavailable" when 110 seconds have brought no
// answer. Others are those of ctx and [realtime.ErrClosed]. Where the message has
// perhaps been published, the error is [realtime.ErrMaybeStored] as well.
func (r *Realtime) Publish(ctx context.Context, channel string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("client: publish: %w", err)
	}
	answered := make(chan error, 1)
	c := &call{op: op{Op: "publish", Channel: channel, Data: raw}, keep: true, done: func(_ frame, err error) { answered <- err }}
	if err := r.enqueue(c); err != nil {
		return err
	}
	late := time.NewTimer(publishTime)
	defer late.Stop()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = &Error{Code: "unavailable", Message: "no answer for too long", Retry: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.out.remove(c) {
		return <-answered
	}
	return c.unanswered(err)
}

func (r *Realtime) enqueue(c *call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended != nil:
		return r.ended
	case r.out.kept() >= maxKept:
		return &Error{Code: "too_many", Message: "too many messages wait", Retry: true}
	}
	r.messages++
	c.op.ID = r.prefix + strconv.FormatInt(r.messages, 10)
	r.out.add(c)
	return nil
}

// Subscribe subscribes to a channel and returns its messages, those of this
// client too, for a loop that lasts as long as ctx. The subscription begins with
// the call, not with the loop: what is published after it, with this client, is
// among the messages. It ends with ctx or the loop, whichever is first, and can
// be ranged over once.
//
// Where messages were missed the loop gets a [*realtime.ResetError] and goes on.
// So it does when it lags by more than 1024 messages or 8 MiB, as no loop may
// hold up another. Its last pair has ctx's error, the refusal of the subscription
// or the client, an [*Error], or [realtime.ErrClosed].
func (r *Realtime) Subscribe(ctx context.Context, channel string) iter.Seq2[Message, error] {
	f := newFeed()
	r.change(channel, f.end, func(m *room) {
		m.feeds, m.refused = append(m.feeds, f), false
	})
	leave := func() {
		r.change(channel, f.end, func(m *room) {
			m.feeds = slices.DeleteFunc(m.feeds, func(other *feed) bool { return other == f })
		})
	}
	stop := context.AfterFunc(ctx, leave)
	return func(yield func(Message, error) bool) {
		defer leave()
		defer stop()
		if r.begin(&f.used) {
			yield(Message{}, errTwice)
			return
		}
		for {
			it, ok, err := r.nextItem(ctx, f)
			switch {
			case err != nil:
				yield(Message{}, err)
				return
			case !ok:
				await(ctx, f.wake)
			case it.reset != "":
				if !yield(Message{}, resetError(it.reset)) {
					return
				}
			default:
				if !yield(it.msg, nil) {
					return
				}
			}
		}
	}
}

// nextItem returns what a loop is to be told next, or why it ends.
func (r *Realtime) nextItem(ctx context.Context, f *feed) (it item, ok bool, err error) {
	if ctx.Err() != nil { // a loop that lags ends as well
		return it, false, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if it, ok = f.pop(); ok {
		return it, true, nil
	}
	return it, false, f.err
}

// change changes who follows a channel, or tells end why that cannot be done.
func (r *Realtime) change(channel string, end func(error), f func(*room)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		end(r.ended)
		return
	}
	m := r.room(channel)
	f(m)
	r.sync(m)
}

// begin reports whether a loop has begun before.
func (r *Realtime) begin(used *bool) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	again, *used = *used, true
	return again
}

func await(ctx context.Context, wake <-chan struct{}) {
	select {
	case <-wake:
	case <-ctx.Done():
	}
}
