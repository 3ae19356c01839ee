package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

const (
	clientHeader = "X-Ren-Client"
	cursorHeader = "X-Ren-Cursor"

	// maxEvent bounds what is read at once, on both wires. The largest event a
	// server sends by default is 1 MiB before escaping.
	maxEvent = 8 << 20

	// nowhere is no cursor, so that a server answers it with a reset: for where
	// something came that could not be read, and so was missed.
	nowhere = "unreadable"
)

// Ren follows what happens on a server: a REN stream that is opened again
// whenever it ends.
type Ren struct {
	set       settings
	following atomic.Bool

	mu     sync.Mutex
	cursor string
}

// NewRen returns a client of the REN stream at an address, that of …/ren. It
// connects when its events are asked for.
func NewRen(url string, opts *RenOptions) *Ren {
	if opts == nil {
		opts = &RenOptions{}
	}
	r := &Ren{set: newSettings(url, opts.common(), "http", "https"), cursor: string(opts.Since)}
	if s := opts.Subscriptions; r.set.url != nil && len(s) > 0 && !slices.Contains(s, "*") {
		query := r.set.url.Query()
		query.Set("s", strings.Join(s, ","))
		r.set.url.RawQuery = query.Encode()
	}
	return r
}

// ClientID returns what names this client to the server.
func (r *Ren) ClientID() string { return r.set.client }

// Tag returns what [realtime.RenEvent].Source is in events this client caused.
func (r *Ren) Tag() string { return wire.Tag(r.set.client) }

// Cursor returns the place behind the last event that was yielded, to be kept
// for the Since of a later process. It may be called concurrently, and is best
// called inside of the loop, when the event has been dealt with.
func (r *Ren) Cursor() realtime.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return realtime.Cursor(r.cursor)
}

func (r *Ren) move(cursor string) {
	if cursor == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = cursor
}

// Events yields what happens, in order, each event once, for as long as ctx
// lasts. Where events were missed it yields a [*realtime.ResetError] and goes on.
// Its last pair has ctx's error, or what the server refuses for good, an
// [*Error]. The loop may be slow: there is no queue that could overflow, only the
// server's history that could be outrun.
//
// There is one loop at a time. One that begins after another goes on where that
// ended.
func (r *Ren) Events(ctx context.Context) iter.Seq2[realtime.RenEvent, error] {
	return func(yield func(realtime.RenEvent, error) bool) {
		if err := r.set.err; err != nil {
			yield(realtime.RenEvent{}, err)
			return
		}
		if !r.following.CompareAndSwap(false, true) {
			yield(realtime.RenEvent{}, errTwice)
			return
		}
		defer r.following.Store(false)
		defer r.set.become(StateClosed)
		if err := r.follow(ctx, yield); err != nil {
			r.set.become(StateClosed)
			yield(realtime.RenEvent{}, err)
		}
	}
}

// errEnough ends a stream whose loop wants no more.
var errEnough = errors.New("client: the loop ended")

// follow opens streams until the loop wants no more, which is no error, or there
// is no use.
func (r *Ren) follow(ctx context.Context, yield func(realtime.RenEvent, error) bool) error {
	k := r.set.keeper()
	for {
		r.set.become(StateConnecting)
		l := r.stream(ctx, &k, yield)
		if l.err == errEnough {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, again := k.lost(l)
		r.set.log.Debug("client: REN stream lost", "error", l.err, "wait", wait, "again", again)
		if !again {
			return l.err
		}
		r.set.become(StateConnecting)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// renStream is one stream, read by the loop's own goroutine.
type renStream struct {
	*Ren
	*keeper
	yield func(realtime.RenEvent, error) bool
}

func (r *Ren) stream(ctx context.Context, k *keeper, yield func(realtime.RenEvent, error) bool) loss {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watch.Stop()
	k.dialing()
	resp, err := r.request(ctx)
	if err != nil {
		return loss{err: because(ctx, err)}
	}
	defer resp.Body.Close()
	if !isStream(resp) {
		return r.set.refused(resp)
	}
	s := renStream{r, k, yield}
	events := sse.NewReader(watched{resp.Body, watch}, maxEvent)
	for {
		ev, err := events.Next()
		k.retry = events.Retry
		switch {
		case errors.Is(err, sse.ErrTooLong):
			return r.unreadable("an event that is too long")
		case err != nil:
			return loss{err: because(ctx, err)}
		}
		if end := s.take(ev); end != nil {
			return *end
		}
	}
}

func (r *Ren) request(ctx context.Context) (*http.Response, error) {
	h, err := r.set.headers(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.set.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = h
	h.Set("Accept", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set(clientHeader, r.set.client)
	switch cursor := string(r.Cursor()); {
	case cursor == "":
	case strings.ContainsFunc(cursor, func(c rune) bool { return c < ' ' || c > '~' }):
		h.Set("Last-Event-ID", nowhere) // no header could carry it
	default:
		h.Set("Last-Event-ID", cursor)
	}
	return r.set.http.Do(req)
}

// because returns why a context ended, where that is why err came.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watched is a body whose silence ends the stream. It is watched only while it
// is read: a loop may take its time with an event.
type watched struct {
	body  io.Reader
	timer *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	w.timer.Reset(silence)
	defer w.timer.Stop()
	return w.body.Read(p)
}

// unreadable ends a stream of which something could not be read. The next one
// begins with a reset.
func (r *Ren) unreadable(what string) loss {
	r.set.log.Warn("client: unreadable REN stream; asking for a reset", "what", what)
	r.move(nowhere)
	return loss{err: fmt.Errorf("%w: %s", errUnreadable, what)}
}

// take deals with one event. It returns how the stream ends, or nil.
func (s *renStream) take(ev sse.Event) *loss {
	if ev.Name == "message" {
		return s.event(ev)
	}
	c, err := decodeControl(ev)
	if err != nil {
		l := s.unreadable(wire.Quote(ev.Data))
		return &l
	}
	s.move(ev.ID)
	switch ev.Name {
	case "ren.hello":
		s.open()
		s.set.become(StateOpen)
		if c.State == "reset" {
			return s.reset(c.Reason)
		}
	case "ren.reset":
		return s.reset(c.Reason)
	case "ren.bye":
		return s.bye(c)
	}
	return nil
}

func (s *renStream) event(ev sse.Event) *loss {
	data, err := decodeEvent(ev)
	if err != nil {
		l := s.unreadable(wire.Quote(ev.Data))
		return &l
	}
	s.move(ev.ID)
	return s.tell(data, nil)
}

func (s *renStream) reset(reason string) *loss {
	return s.tell(realtime.RenEvent{}, resetError(reason))
}

func (s *renStream) tell(ev realtime.RenEvent, err error) *loss {
	if !s.yield(ev, err) {
		return &loss{err: errEnough}
	}
	return nil
}

func (s *renStream) bye(c control) *loss {
	l := byeOf(c.Reason, c.RetryMs)
	return &l
}

// byeOf is what a server's bye means, on both wires.
func byeOf(reason string, retryMs int64) loss {
	l := loss{
		err:  &Error{Code: reason, Message: "the server ended the connection", Retry: true},
		bye:  true,
		wait: time.Duration(min(max(retryMs, 0), longest.Milliseconds())) * time.Millisecond,
	}
	switch reason {
	case "revoked", "forbidden":
		l.err, l.final = &Error{Code: "forbidden", Message: "the server ended the connection: " + reason}, true
	case "unauthorized", "expired":
		l.err, l.denied = &Error{Code: reason, Message: "the server ended the connection"}, true
	}
	return l
}

// control is the data of a control event.
type control struct {
	State   string `json:"state"`
	Reason  string `json:"reason"`
	RetryMs int64  `json:"retryMs"`
}

// decodeControl decodes events that have a name; those it does not know are
// empty.
func decodeControl(ev sse.Event) (c control, err error) {
	switch ev.Name {
	case "ren.hello", "ren.reset", "ren.ping", "ren.bye":
		err = json.Unmarshal([]byte(ev.Data), &c)
	}
	return c, err
}

func decodeEvent(ev sse.Event) (data realtime.RenEvent, err error) {
	err = json.Unmarshal([]byte(ev.Data), &data)
	if err == nil && data.Type == "" {
		err = errUnreadable
	}
	return data, err
}

func resetError(reason string) error {
	if reason == "" {
		reason = "unknown"
	}
	return &realtime.ResetError{Reason: reason}
}
