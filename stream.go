package realtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Stream is a message that grows, such as the answer of a language model: see
// [Realtime.Stream]. Its methods may be called concurrently.
type Stream struct {
	own  *growing.Own
	rt   *Realtime
	ctx  context.Context
	stop context.CancelCauseFunc
}

// StreamState is what has become of a growing message. It is the Version of the messages
// that tell its beginning and its end, and the id is their Key.
type StreamState string

// The states. Each growing message has one of the others in the end, and only once.
const (
	StreamStreaming StreamState = StreamState(growing.Streaming)
	StreamComplete  StreamState = StreamState(growing.Complete)
	StreamFailed    StreamState = StreamState(growing.Failed)
	StreamCancelled StreamState = StreamState(growing.Cancelled) // stopped by a client
)

// Stream begins a message that grows in a channel. The id, 1 to 64 bytes, must differ from
// those of the others that are open in the channel. The message has text, by Write, or
// JSON values, by WriteJSON. Clients that follow it (docs/streams.md) get what was
// written so far, whenever they come, and then what is added, some 25 times a second;
// none of that is in the history. Subscribers of the channel get two ordinary messages:
// one at the beginning, when Stream returns, and one at the end, with all of the text.
//
// The message ends by Close, Fail, a client with the right [VerbStop],
// [StreamOptions].Idle, [Realtime.Close], or the end of this process, which the other
// nodes notice within 30 s. The end of ctx does not end it, nor does that of a client's
// connection. If ctx has no deadline, Stream returns within 5 s.
//
// Options: [AsUser], [FromClient], [WithMetadata]. Errors: [ErrBadChannel], [ErrBadEvent]
// for the id, [ErrBadOption], [ErrBadUser], [ErrBadClientID], [ErrTooLarge] for the
// metadata, [ErrStreamOpen], [ErrTooMany], [ErrLoop], [ErrClosed], [ErrMaybeStored],
// [ErrTemporary], and those of ctx and of the backend. If the message has perhaps begun,
// it fails by itself.
func (rt *Realtime) Stream(ctx context.Context, channel, id string, opts ...EventOption) (*Stream, error) {
	b, err := rt.checkStream(ctx, channel, id, opts)
	if err != nil {
		return nil, err
	}
	g := rt.publisher.Gate(b.Depth)
	if !g.Enter() {
		return nil, ErrClosed
	}
	defer g.Leave()
	s := &Stream{rt: rt}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	if s.own, err = rt.growing.Begin(ctx, b, s.stop); err != nil {
		s.stop(err)
		return nil, streamError(err)
	}
	return s, nil
}

// checkStream checks what a growing message begins with.
func (rt *Realtime) checkStream(ctx context.Context, channel, id string, opts []EventOption) (b growing.Begin, err error) {
	if err := checkStreamName(channel, id); err != nil {
		return b, err
	}
	o, err := optionsOf(ctx, "Stream", opts, "WithID", "PublishedAt", "Ephemeral")
	if err != nil {
		return b, err
	}
	b = growing.Begin{
		Key: growing.Key{Channel: channel, ID: id}, User: o.User, Source: wire.Tag(o.Client),
		UnixMilli: time.Now().UnixMilli(), Depth: o.depth,
	}
	if o.Metadata != nil {
		if b.Metadata, err = publish.Encode(o.Metadata, rt.opts.Limits.Metadata); err != nil {
			return b, fault.Errorf("realtime: stream: metadata: %w", err)
		}
	}
	return b, nil
}

// Write appends text, and does not block. Bytes that are no UTF-8 become U+FFFD; a
// character may be split over calls. Errors, with which nothing is appended:
// [ErrTooLarge] (see [StreamOptions]), after which the message is still open;
// [ErrStopped], [ErrStreamEnded], [ErrClosed]; [ErrBadOption] after WriteJSON.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.own.Write(p)
	return n, streamError(err)
}

// WriteString is Write of a string.
func (s *Stream) WriteString(text string) (int, error) { return s.Write([]byte(text)) }

// WriteJSON appends a value, which must encode as JSON, and does not block. Errors: those
// of [json.Marshal], [ErrBadOption] after Write, and those of Write.
func (s *Stream) WriteJSON(v any) error {
	raw, err := publish.Encode(v, s.rt.opts.Streams.Bytes)
	if err != nil {
		return fault.Errorf("realtime: stream: %w", err)
	}
	return streamError(s.own.WriteItem(raw))
}

// Context returns a context that ends with the message. If a client has stopped it, the
// cause is [ErrStopped]. It has the values of the context that was given to
// [Realtime.Stream].
func (s *Stream) Context() context.Context { return s.ctx }

// Close ends the message as complete. It returns nil only if that is in the log, and then
// [Realtime.History] of this node has it as well. Errors:
// [ErrStopped] if a client has stopped it, [ErrStreamEnded] if it has failed, [ErrClosed],
// and [ErrTemporary] if the backend does not answer within 4 s; then the message ends as
// soon as it does. To call it again is safe.
func (s *Stream) Close() error { return s.end(growing.End{State: growing.Complete}) }

// Fail ends the message as failed. Clients are told the code and the message of why if it
// is a [*RefusedError], otherwise "internal", and never its text. Errors: see Close;
// [ErrStreamEnded] also if it is complete.
func (s *Stream) Fail(why error) error {
	shown := wire.Errorf("internal", "the message could not be completed")
	var theirs *RefusedError
	if errors.As(why, &theirs) {
		shown = &wire.Error{Code: theirs.Code, Message: theirs.Message, Retry: theirs.Retry}
	}
	return s.end(growing.End{State: growing.Failed, Error: shown})
}

func (s *Stream) end(e growing.End) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), bounded.CallTime)
	defer cancel()
	err := s.own.End(ctx, e)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: the end of a growing message is not stored yet", ErrTemporary)
	}
	if err == nil {
		_ = s.rt.publisher.CatchUp(ctx) // so that the history of this node has the end; it is stored, whatever becomes of this
	}
	return streamError(err)
}

// StopStream ends a growing message as a client does that stops it, on whichever node it
// is written: for clients that ask for it in another way than over a WebSocket. [Policy]
// is not asked. It returns nil when the node has been asked, or the message has ended. If
// ctx has no deadline, it returns within 5 s. Errors: [ErrBadChannel], [ErrBadEvent] for
// the id, [ErrNoStream], [ErrClosed], [ErrTemporary], [ErrMaybeStored], and those of ctx and
// of the backend.
func (rt *Realtime) StopStream(ctx context.Context, channel, id string) error {
	if err := checkStreamName(channel, id); err != nil {
		return err
	}
	if err := rt.ended(ctx); err != nil {
		return err
	}
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	return streamError(rt.growing.Stop(ctx, growing.Key{Channel: channel, ID: id}))
}

func checkStreamName(channel, id string) error {
	switch {
	case !wire.ValidChannel(channel):
		return badChannelError(channel)
	case !growing.ValidID(id):
		return fmt.Errorf("%w: id %s: 1 to %d bytes of text without control characters", ErrBadEvent, wire.Quote(id), growing.MaxID)
	}
	return nil
}

// streamError translates the errors of growing messages into those of this package.
func streamError(err error) error {
	switch {
	case errors.Is(err, growing.ErrTaken):
		return ErrStreamOpen
	case errors.Is(err, growing.ErrTooMany):
		return ErrTooMany
	case errors.Is(err, growing.ErrNotFound):
		return ErrNoStream
	case errors.Is(err, growing.ErrTooLarge):
		return fault.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, growing.ErrMixed):
		return fmt.Errorf("%w: a growing message has text or JSON values", ErrBadOption)
	}
	return bounded.Public(err)
}

func (rt *Realtime) newGrowing() *growing.Growing {
	o := rt.opts.Streams
	return growing.New(growing.Node{
		Name: rt.presence.inner.Name, Alone: rt.alone(), Store: rt.backend, Append: rt.appendLive,
		Send: func() { rt.live.Soon() }, Ended: rt.endOf, Logger: rt.log,
		Running: rt.running, Go: rt.background.Go,
		Limits: growing.Limits{
			Bytes: o.Bytes, Memory: o.Memory, Open: o.Open, Channel: o.Channel, Idle: o.Idle, Message: rt.opts.Limits.Publish,
		},
	})
}

// controlled takes a control record.
func (rt *Realtime) controlled(ev backend.Event) {
	if ev.Type == growing.Stop {
		rt.growing.Stopped(&ev)
		return
	}
	rt.control.Handle(ev)
}

// endOf returns the message that tells the end of a growing message, as it is in the
// history of this node, which has what the log has now.
func (rt *Realtime) endOf(ctx context.Context, k growing.Key) (*backend.Event, error) {
	if err := rt.publisher.CatchUp(ctx); err != nil {
		return nil, err
	}
	return growing.EndIn(rt.ring, k), nil
}

// failTime is how long Close waits until it is in the log that growing messages have
// failed.
const failTime = 2 * time.Second

// failStreams fails the growing messages that are open here.
func (rt *Realtime) failStreams(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, failTime)
	defer cancel()
	if rt.growing.Close(ctx, growing.End{State: growing.Failed, Error: refused.Closing().Error}) > 0 {
		_ = rt.publisher.CatchUp(ctx) // a backend that is gone must not block Close
	}
}
