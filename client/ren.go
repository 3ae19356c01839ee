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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

const (
	clientHeader = "X-Ren-Client"
	cursorHeader = "X-Ren-Cursor"

	// nowhere is not a valid cursor, so the server answers it with a reset. It is sent
	// after an event that could not be read.
	nowhere = "unreadable"
)

// Ren follows a REN stream, which it opens again whenever it ends. Its methods may be
// called concurrently, except that one loop over Events may run at a time.
type Ren struct {
	set       settings
	following atomic.Bool

	mu     sync.Mutex
	cursor string
	token  string // for the next stream, if it replaces an open one
}

// NewRen returns a client of the REN stream at the URL of …/ren. It connects when a loop
// over [Ren.Events] begins. opts may be nil.
//
// Errors: [realtime.ErrBadOption] for a URL that is not absolute or has another
// scheme than http and https, and for an option out of its range;
// [realtime.ErrBadClientID].
func NewRen(url string, opts *RenOptions) (*Ren, error) {
	if opts == nil {
		opts = &RenOptions{}
	}
	set, err := newSettings(url, opts.common(), "http", "https")
	if err != nil {
		return nil, err
	}
	r := &Ren{set: set, cursor: string(opts.Since)}
	r.set.http.CheckRedirect = stripped(r.set.http.CheckRedirect)
	if opts.Every < 0 || opts.Every > 10*time.Second {
		return nil, fault.Errorf("client: %w: Every is %v, and must be 0 to 10 s", realtime.ErrBadOption, opts.Every)
	}
	if opts.Every > 0 {
		query := r.set.url.Query()
		query.Set("every", strconv.FormatInt(max(opts.Every.Milliseconds(), 1), 10))
		r.set.url.RawQuery = query.Encode()
	}
	if s := opts.Subscriptions; len(s) > 0 && !slices.Contains(s, "*") {
		query := r.set.url.Query()
		query.Set("s", strings.Join(s, ","))
		r.set.url.RawQuery = query.Encode()
	}
	return r, nil
}

// ClientID returns the id of this client.
func (r *Ren) ClientID() string { return r.set.client }

// Tag returns the tag of this client, which is [realtime.RenEvent].Source of the events
// that it causes.
func (r *Ren) Tag() string { return wire.Tag(r.set.client) }

// Cursor returns the place after the last event that was yielded, for the Since of a
// later process. It is best called inside the loop, after the event has been handled.
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

// Events yields events in order, each once, until ctx ends. If events were missed, it
// yields a [*realtime.ResetError] and continues. The last pair has the error of ctx, or
// an [*Error] if the server refuses the client for good. The loop may be slow: it misses
// events only if it lags by more than the server's history.
//
// Only one loop may run at a time. A loop that begins after another continues where
// that ended.
func (r *Ren) Events(ctx context.Context) iter.Seq2[realtime.RenEvent, error] {
	return func(yield func(realtime.RenEvent, error) bool) {
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

var (
	errEnough  = errors.New("client: the loop ended")          // its stream ends
	errRenewed = errors.New("client: a new token is in place") // another stream takes the place of this one
)

// follow opens streams until the loop ends, which is no error, or the server refuses the
// client for good.
func (r *Ren) follow(ctx context.Context, yield func(realtime.RenEvent, error) bool) error {
	k := r.set.reconnector()
	r.set.become(StateConnecting)
	for {
		l := r.stream(ctx, &k, yield)
		if l.err == errEnough {
			return nil
		}
		if l.err == errRenewed && ctx.Err() == nil {
			k.forgive()
			continue
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
	*reconnector
	ctx   context.Context // of the stream
	end   context.CancelCauseFunc
	yield func(realtime.RenEvent, error) bool
	from  string // the cursor it was asked for with
	token string // that it was asked for with

	renewal sync.WaitGroup
	stop    context.CancelFunc // of the renewal
}

func (r *Ren) stream(ctx context.Context, k *reconnector, yield func(realtime.RenEvent, error) bool) disconnect {
	s := renStream{Ren: r, reconnector: k, yield: yield, from: string(r.Cursor()), stop: func() {}}
	s.ctx, s.end = context.WithCancelCause(ctx)
	defer s.renewal.Wait()
	defer s.end(nil)
	watch := time.AfterFunc(silence, func() { s.end(errSilent) })
	defer watch.Stop()
	k.dialing()
	resp, err := s.request()
	if err != nil {
		return disconnect{err: because(s.ctx, err)}
	}
	defer resp.Body.Close()
	if !isStream(resp) {
		return r.set.refused(resp)
	}
	events := sse.NewReader(watched{resp.Body, watch, false}, wire.MaxRead)
	for {
		ev, err := events.Next()
		k.retry = events.Retry
		var end *disconnect
		switch {
		case errors.Is(err, sse.ErrTooLong):
			end = s.skipped(ev)
		case errors.Is(err, sse.ErrEndless):
			return r.unreadable("an event without end")
		case err != nil:
			return disconnect{err: because(s.ctx, err)}
		default:
			end = s.take(ev)
		}
		if end != nil {
			return *end
		}
	}
}

// request asks for the stream.
func (s *renStream) request() (*http.Response, error) {
	h, err := s.credentials()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.set.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = h
	h.Set("Accept", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set(clientHeader, s.set.client)
	switch {
	case s.from == "":
	case strings.ContainsFunc(s.from, func(c rune) bool { return c < ' ' || c > '~' }):
		h.Set("Last-Event-ID", nowhere) // no header could carry it
	default:
		h.Set("Last-Event-ID", s.from)
	}
	return s.set.http.Do(req)
}

// credentials returns the headers for the stream, with the token that a renewal
// has left for it, or another one.
func (s *renStream) credentials() (http.Header, error) {
	s.mu.Lock()
	s.token, s.Ren.token = s.Ren.token, ""
	s.mu.Unlock()
	if s.token == "" {
		var err error
		if s.token, err = s.set.askToken(s.ctx); err != nil {
			return nil, err
		}
	}
	return s.set.headers(s.token), nil
}

// expires handles the lifetime of the stream's credentials, which the server has sent. A
// client cannot send new credentials over a stream, so another stream replaces it.
func (s *renStream) expires(lasts time.Duration) {
	s.stop()
	if lasts <= 0 || s.set.token == nil {
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	s.stop = stop
	s.renewal.Go(func() { s.set.tokens(ctx, lasts, s.replace) })
}

// replace lets another stream replace this one.
func (s *renStream) replace(_ context.Context, token string) (time.Duration, error) {
	if token == s.token {
		return 0, errNoToken // it will be no other by that
	}
	s.mu.Lock()
	s.Ren.token = token
	s.mu.Unlock()
	s.end(errRenewed)
	return 0, nil
}

// because returns the cause of a context's end, if that is the reason of err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watched is a body whose silence ends the stream. Each byte counts as a sign of life,
// since a slow link may take long for an event. The body is watched only while it is
// read, since a loop may take long to handle an event.
type watched struct {
	body   io.Reader
	timer  *time.Timer
	always bool // not only while it is read
}

func (w watched) Read(p []byte) (int, error) {
	w.timer.Reset(silence)
	if !w.always {
		defer w.timer.Stop()
	}
	return w.body.Read(p)
}

// unreadable ends a stream after an event that could not be read. The next stream begins
// with a reset.
func (r *Ren) unreadable(what string) disconnect {
	r.set.log.Warn("client: unreadable REN stream; asking for a reset", "what", what)
	r.move(nowhere)
	return disconnect{err: fmt.Errorf("%w: %s", errUnreadable, what)}
}

// take deals with one event. It returns how the stream ends, or nil.
func (s *renStream) take(ev sse.Event) *disconnect {
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
		return s.hello(c)
	case "ren.reset":
		return s.reset(c.Reason)
	case "ren.bye":
		return s.bye(c)
	}
	return nil
}

// hello comes first, and again where rights were checked again.
func (s *renStream) hello(c control) *disconnect {
	if s.opened.IsZero() {
		s.open()
	}
	s.set.become(StateOpen)
	s.expires(lasting(c.ExpiresIn))
	switch {
	case c.State == "reset":
		return s.reset(c.Reason)
	case c.State == "fresh" && s.from != "":
		return s.reset("unknown") // this server does not know the cursor, for example after a redirect
	}
	return nil
}

// skipped deals with an event that was too large to be read.
func (s *renStream) skipped(ev sse.Event) *disconnect {
	s.set.log.Warn("client: an event is too large to be read", "bytes", wire.MaxRead)
	s.move(ev.ID)
	return s.reset("too_large")
}

func (s *renStream) event(ev sse.Event) *disconnect {
	data, err := decodeEvent(ev)
	if err != nil {
		l := s.unreadable(wire.Quote(ev.Data))
		return &l
	}
	s.move(ev.ID)
	return s.tell(data, nil)
}

func (s *renStream) reset(reason string) *disconnect {
	return s.tell(realtime.RenEvent{}, resetError(reason))
}

func (s *renStream) tell(ev realtime.RenEvent, err error) *disconnect {
	if !s.yield(ev, err) {
		return &disconnect{err: errEnough}
	}
	return nil
}

func (s *renStream) bye(c control) *disconnect {
	l := byeOf(c.Reason, c.RetryMs)
	return &l
}

// byeOf is what a server's bye means, on both wires.
func byeOf(reason string, retryMs int64) disconnect {
	l := disconnect{
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

	ExpiresIn *int64 `json:"expiresIn"`
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
