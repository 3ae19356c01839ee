package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
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
	lost      error // why there is no connection, since the last one or attempt; nil while there is one
	ended     error // set when nothing is to be had from now on
	rooms     map[string]*room
	out       outbox

	followings []*following // loops over growing messages

	prefix   string // of message ids
	messages int64
}

// NewRealtime returns a client of the channels at the URL of …/realtime, with the scheme
// http, https, ws or wss. opts may be nil. It does not connect: see [Realtime.Connect].
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

// ClientID returns the id of this client.
func (r *Realtime) ClientID() string { return r.set.client }

// Tag returns the tag of this client, which is [Message].From of its messages.
func (r *Realtime) Tag() string { return wire.Tag(r.set.client) }

// Connect starts to connect in the background, and does not block. The client stays
// connected, and reconnects, until [Realtime.Close], or until the server refuses it for
// good.
func (r *Realtime) Connect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil || r.connected {
		return
	}
	r.connected = true
	r.running.Go(r.run)
}

// Close closes the connection and ends the client: waiting calls and loops get
// [realtime.ErrClosed]. It takes at most two seconds if the server does not answer. When
// it returns, no goroutine of the client is left. If the server had refused the client
// before, it returns that [*Error]. Refused credentials end a client after 30 seconds of
// attempts.
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
				w.done <- nil // without a connection the client is not present
			}
		}
	}
	clear(r.rooms)
	for _, f := range r.followings {
		f.end(err)
	}
}

// cut forgets the connection.
func (r *Realtime) cut() {
	r.out.cut()
	for _, m := range r.rooms {
		m.cut()
		r.sync(m)
	}
	for _, f := range r.followings {
		f.cut()
	}
}

const (
	maxKept = 100 // messages that wait for their answer

	// publishTime is the time for which a message is sent again. The server remembers
	// its id for two minutes, and would publish it twice after that.
	publishTime = 110 * time.Second
)

// Publish sends a message to a channel; data must encode as JSON. It blocks until the
// server has the message, which is nil, or ctx ends. Without a connection it waits for
// one. If the connection is lost before the answer, it sends the message again; the
// server recognises it and does not publish it twice.
//
// Errors: an [*Error] for the server's refusal, or with the code "too_large", "too_many"
// if 100 messages wait already, or "unavailable" after 110 seconds without an answer;
// those of ctx and of [json.Marshal]; [realtime.ErrClosed]. If the message may have been
// published, the error matches [realtime.ErrMaybeStored] as well.
func (r *Realtime) Publish(ctx context.Context, channel string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fault.Errorf("client: publish: %w", err)
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
	return c.unanswered(r.waited(err))
}

// waited is err of a call that has waited in vain, and says why there is no connection.
func (r *Realtime) waited(err error) error {
	switch {
	case !r.connected:
		return fault.Errorf("client: Connect was not called: %w", err)
	case r.lost != nil:
		return fault.Errorf("client: not connected (%v): %w", r.lost, err)
	}
	return err
}

// over is the error of a loop whose ctx has ended.
func (r *Realtime) over(ctx context.Context) error {
	if !r.connected {
		return r.waited(ctx.Err())
	}
	return ctx.Err()
}

// PublishEphemeral sends a message that is live only: see [realtime.Ephemeral]. It blocks
// until the server has taken it, or ctx ends. Without a connection, or if the connection
// is lost, it returns nil and nobody gets the message. Errors: an [*Error] for the server's
// refusal, those of ctx and of [json.Marshal], and [realtime.ErrClosed].
func (r *Realtime) PublishEphemeral(ctx context.Context, channel string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fault.Errorf("client: publish: %w", err)
	}
	answered := make(chan error, 1)
	c := &call{op: op{Op: "publish", Channel: channel, Data: raw, Ephemeral: true}, done: func(_ frame, err error) { answered <- err }}
	r.mu.Lock()
	if r.ended != nil || !r.out.open {
		defer r.mu.Unlock()
		return r.ended
	}
	r.out.add(c)
	r.mu.Unlock()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.out.remove(c)
		return ctx.Err()
	}
}

func (r *Realtime) enqueue(c *call) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages++
	c.op.ID = r.prefix + strconv.FormatInt(r.messages, 10)
	return r.keep(c)
}

// keep adds a call that outlives connections. The client must be locked.
func (r *Realtime) keep(c *call) error {
	switch {
	case r.ended != nil:
		return r.ended
	case r.out.kept() >= maxKept:
		return &Error{Code: "too_many", Message: "too many messages wait", Retry: true}
	}
	r.out.add(c)
	return nil
}

// Subscribe subscribes to a channel and returns its messages, including those of this
// client, for a loop that lasts until ctx ends. The subscription begins with the call,
// not with the loop: messages that this client publishes afterwards are among them. It
// ends with ctx or the loop, whichever is first. It can be ranged over once.
//
// If messages were missed, the loop gets a [*realtime.ResetError] and continues. This
// also happens if it lags by more than 1024 messages or 8 MiB, so that no loop blocks
// another. The last pair has the error of ctx, an [*Error] if the subscription, an option
// or the client was refused, or [realtime.ErrClosed].
func (r *Realtime) Subscribe(ctx context.Context, channel string, opts ...SubscribeOption) iter.Seq2[Message, error] {
	var back rewind
	for _, o := range opts {
		o(&back)
	}
	f := newFeed(back)
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

// nextItem returns the next item of a loop, or the error that ends it.
func (r *Realtime) nextItem(ctx context.Context, f *feed) (it item, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil { // a loop that lags ends as well
		return it, false, r.over(ctx)
	}
	if it, ok = f.pop(); ok {
		return it, true, nil
	}
	return it, false, f.err
}

// change changes the loops of a channel by f, or calls end if the client has ended.
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
