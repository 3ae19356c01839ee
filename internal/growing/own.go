package growing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Own is a growing message that this node writes. Its methods may be called
// concurrently.
type Own struct {
	*Text
	g      *Growing
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end

	settling chan struct{} // holds one while the record is being changed; guards what follows
	rev      backend.Revision
	lost     bool // the store was put back, perhaps to a state without the record
	maybe    bool // this node has perhaps ended it in the store
	waits    int  // for the log to say who has ended it

	writing sync.Mutex // before Text.mu; guards what follows
	left    []byte     // the beginning of a character
	wrote   time.Time
	want    *End  // it is ending, or has ended, like this
	closed  error // the node is gone
}

// Begin begins a message; b has no Run. Its context ends with cancel. Errors:
// [ErrTaken], [ErrTooMany], [bounded.ErrClosed], and those of the store.
func (g *Growing) Begin(ctx context.Context, b Begin, cancel context.CancelCauseFunc) (*Own, error) {
	b.Run = rand.Text()[:12]
	o := &Own{
		Text: &Text{Begin: b, of: g}, g: g, cancel: cancel, done: make(chan struct{}), settling: make(chan struct{}, 1), wrote: time.Now(),
	}
	o.Text.own = o
	o.settling <- struct{}{} // who ends it waits until it has begun
	defer func() { <-o.settling }()
	g.hear(ctx, b.Key)
	if err := g.register(o); err != nil {
		return nil, err
	}
	if err := o.put(ctx, true); err != nil {
		g.unregister(o, err)
		return nil, err
	}
	g.tally.opened.Inc()
	g.signal() // there is something to look after
	return o, nil
}

// hear waits until this node has read how a message has ended that it has a copy of, if the
// store says that it has: its id is free.
func (g *Growing) hear(ctx context.Context, k Key) {
	t := g.find(k)
	if t == nil || t.own != nil || t.ended() != nil {
		return
	}
	if r, open, err := g.open(ctx, k); err == nil && (!open || r.Run != t.Run) {
		_, _ = g.node.Ended(ctx, k) // in vain: then the copy is taken for open
	}
}

// register makes room for a message, so that questions about it find it.
func (g *Growing) register(o *Own) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch t := g.texts[o.Key]; {
	case g.closed:
		return bounded.ErrClosed
	case g.opened >= g.node.Limits.Open || g.channels[o.Channel] >= g.node.Limits.Channel || g.bytes.Load() > g.node.Limits.Memory:
		return ErrTooMany
	case t != nil && t.ended() == nil: // of this node, or of another one
		return ErrTaken
	case t != nil:
		g.drop(t)
	}
	g.texts[o.Key] = o.Text
	g.opened++
	g.channels[o.Channel]++
	return nil
}

// unregister forgets a message that has not begun, or of which nobody knows.
func (g *Growing) unregister(o *Own, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(why, backend.ErrMaybeStored) {
		g.doubt(o.Key, o.Run)
	}
	g.release(o)
	g.spoil(o.Text) // somebody may follow it already
}

// release gives back what an open message has taken. g.mu must be held.
func (g *Growing) release(o *Own) {
	g.opened--
	if g.channels[o.Channel]--; g.channels[o.Channel] == 0 {
		delete(g.channels, o.Channel)
	}
	g.finished.Broadcast()
}

func storeKey(k Key) backend.Key { return backend.Key{Kind: recordKind, Group: k.Channel, Name: k.ID} }

// put stores the record of a message, with the message that tells its beginning. Only one
// that is new takes the place of one that has ended: of another one nobody could tell which
// was there first.
func (o *Own) put(ctx context.Context, isNew bool) error {
	store, k := o.g.node.Store, storeKey(o.Key)
	value := encodeRecord(record{Begin: o.Begin, node: o.g.node.Name()})
	entry := backend.Entry{Data: o.payload(o.Text.beginning())}
	var maybe error          // an earlier attempt has perhaps stored it
	var old backend.Revision // of the record of one that has ended
	for attempt := 0; ; attempt++ {
		rev, err := store.Put(ctx, backend.Write{Key: k, Value: value, If: old, Append: &entry})
		if err == nil {
			o.rev = rev
			return nil
		}
		if errors.Is(err, backend.ErrMaybeStored) {
			maybe = err
		} else if !errors.Is(err, backend.ErrConflict) {
			return errors.Join(err, maybe)
		}
		it, err := store.Get(ctx, k)
		if err != nil {
			return errors.Join(err, maybe)
		}
		if old = it.Revision; old != 0 {
			switch r, err := decodeRecord(it.Value); {
			case err != nil:
				o.g.malformed.Report(o.g.node.Logger, k, err)
				return err
			case r.Run == o.Run && r.ended:
				return fmt.Errorf("%w: %s", ErrEnded, Failed)
			case r.Run == o.Run:
				o.rev = old
				return nil
			case !r.ended || !isNew:
				return ErrTaken
			}
		}
		if err := pause(ctx, attempt); err != nil {
			return errors.Join(err, maybe)
		}
	}
}

func (o *Own) payload(ev backend.Event) []byte {
	p := backend.Payload{Event: ev, Depth: o.Depth}
	return p.Encode()
}

// pause waits before another attempt.
func pause(ctx context.Context, attempt int) error {
	select {
	case <-time.After(jitter.Half(min(50*time.Millisecond<<min(attempt, 6), 2*time.Second))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Write appends text. Bytes that are no UTF-8 become U+FFFD. Errors: [ErrTooLarge],
// [ErrMixed], [ErrStopped], [ErrEnded], [bounded.ErrClosed]; then nothing is appended.
func (o *Own) Write(p []byte) (int, error) {
	o.writing.Lock()
	defer o.writing.Unlock()
	if err := o.writable(wire.Text, len(o.left)+len(p)); err != nil {
		return 0, err
	}
	text := p
	if len(o.left) > 0 {
		text = append(o.left, p...)
	}
	content, left := runes(make([]byte, 0, len(text)), text, false)
	if err := o.fits(len(content)); err != nil { // U+FFFD is longer than what it stands for
		return 0, err
	}
	o.left = append([]byte(nil), left...)
	o.append(wire.Text, content)
	return len(p), nil
}

// WriteItem appends a JSON value, which must be compact. Errors: see Write.
func (o *Own) WriteItem(value []byte) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	if err := o.writable(wire.Items, len(value)+1); err != nil {
		return err
	}
	if len(o.left) > 0 { // the text has begun, though not one character is complete
		return ErrMixed
	}
	o.append(wire.Items, append(value[:len(value):len(value)], ','))
	return nil
}

func (o *Own) writable(kind wire.Kind, n int) error {
	switch {
	case o.closed != nil:
		return o.closed
	case o.want != nil:
		return o.want.err()
	case o.Text.is(kind):
		return ErrMixed
	}
	return o.fits(n)
}

// is reports whether the text is of another kind.
func (t *Text) is(other wire.Kind) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kind != wire.NoKind && t.kind != other
}

func (o *Own) fits(n int) error {
	size, _ := o.size()
	if limits := o.g.node.Limits; size+n > limits.Bytes {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, size+n, limits.Bytes)
	} else if o.g.bytes.Load()+int64(n) > limits.Memory {
		return fmt.Errorf("%w: all messages of this node have more than %d bytes", ErrTooLarge, limits.Memory)
	}
	return nil
}

func (o *Own) append(kind wire.Kind, content []byte) {
	o.wrote = time.Now()
	o.g.tally.appends.Inc()
	o.g.tally.written.Add(uint64(len(content)))
	if len(content) == 0 {
		return
	}
	o.g.bytes.Add(int64(len(content)))
	o.mu.Lock()
	news := o.add(kind, content)
	o.mu.Unlock()
	if news {
		o.g.touch(o.Text)
	}
}

// err is the error of a write to a message with this end.
func (e *End) err() error {
	if e.State == Cancelled {
		return ErrStopped
	}
	return fmt.Errorf("%w: %s", ErrEnded, e.State)
}

// End ends the message, unless it is ending. It returns nil when the log has this end;
// otherwise an error that says how it ended, or that of ctx. Then it ends in the
// background, as soon as the store permits.
func (o *Own) End(ctx context.Context, e End) error {
	o.begin(e)
	select {
	case <-o.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.writing.Lock()
	closed := o.closed
	o.writing.Unlock()
	switch end := o.ended(); {
	case end == nil:
		return closed
	case end.State == e.State:
		return nil
	default:
		return end.err()
	}
}

// Done is closed when the message has ended.
func (o *Own) Done() <-chan struct{} { return o.done }

// begin begins to end the message, if nobody has.
func (o *Own) begin(e End) {
	o.writing.Lock()
	defer o.writing.Unlock()
	if o.want != nil || o.closed != nil {
		return
	}
	if len(o.left) > 0 {
		content, _ := runes(nil, o.left, true)
		o.append(wire.Text, content)
	}
	e.UnixMilli = time.Now().UnixMilli()
	o.want = &e
	if e.State == Cancelled {
		o.cancel(ErrStopped)
	}
	o.g.node.Go(func() { o.settle(e) })
}

// abandon gives up a message that could not be ended, since its node ends.
func (o *Own) abandon(why error) {
	o.writing.Lock()
	defer o.writing.Unlock()
	select {
	case <-o.done:
		return
	default:
	}
	if o.closed == nil {
		o.closed = why
		o.cancel(why)
		close(o.done)
	}
}

// Stop ends the message as stopped by a client.
func (o *Own) Stop() { o.begin(End{State: Cancelled}) }

// settle ends the message in the store and in the log, however often it has to try.
func (o *Own) settle(e End) {
	whole := true
	for attempt := 0; o.ended() == nil; attempt++ {
		ctx, cancel := context.WithTimeout(o.g.node.Running, bounded.CallTime)
		end, err := o.try(ctx, e, &whole)
		cancel()
		if end != nil {
			o.finish(*end)
			return
		}
		if o.g.node.Running.Err() != nil || errors.Is(err, backend.ErrClosed) || errors.Is(err, errNever) {
			o.abandon(bounded.ErrClosed)
			return
		}
		if err != nil && attempt == 3 {
			o.g.node.Logger.Error("realtime: a growing message cannot be ended; trying again", "channel", o.Channel, "id", o.ID, "error", err)
		}
		_ = pause(o.g.node.Running, attempt) // its end is seen above
	}
}

// errNever: the message has not begun.
var errNever = errors.New("growing: not begun")

// try makes one attempt, and returns how the message has ended. whole: its content is
// part of the last message.
func (o *Own) try(ctx context.Context, e End, whole *bool) (*End, error) {
	o.settling <- struct{}{}
	defer func() { <-o.settling }()
	if o.rev == 0 {
		return nil, errNever
	}
	entry := backend.Entry{Data: o.payload(o.Text.ending(e, o.g.node.Limits.Message, *whole))}
	_, err := o.g.end(ctx, storeKey(o.Key), record{Begin: o.Begin}, o.rev, &entry)
	switch {
	case err == nil:
		return &e, nil
	case errors.Is(err, backend.ErrTooLarge) && *whole:
		*whole = false
		return nil, err
	case errors.Is(err, backend.ErrMaybeStored):
		o.maybe = true
	case !errors.Is(err, backend.ErrConflict):
		return nil, err
	}
	it, gone := o.g.node.Store.Get(ctx, storeKey(o.Key))
	if gone != nil {
		return nil, gone
	}
	if it.Revision != 0 {
		switch r, bad := decodeRecord(it.Value); {
		case bad != nil || r.Run != o.Run:
		case !r.ended:
			o.rev = it.Revision // it was put back, or the change has not been made yet
			return nil, nil
		default:
			o.g.bury(it.Key, it.Revision)
		}
	}
	return o.gone(ctx, e)
}

// mostWaits is how many calls' time a node waits for the log to say how a message has
// ended. Then the log has lost that.
const mostWaits = 5

// gone deals with a record that says that the message has ended, or is not there: this
// node has ended it, or another one that took this one for dead. The log says which.
func (o *Own) gone(ctx context.Context, e End) (*End, error) {
	if o.lost {
		err := o.put(ctx, false)
		o.lost = isLost(err)
		return nil, err
	}
	select {
	case <-o.done:
		return o.ended(), nil
	case <-ctx.Done():
	}
	if o.waits++; o.waits < mostWaits || o.g.node.Running.Err() != nil {
		return nil, nil
	}
	if !o.maybe {
		e = End{State: Failed, UnixMilli: e.UnixMilli, Error: nodeGone()}
	}
	return &e, nil
}

// isLost reports whether a record is still lost that put was to put back.
func isLost(err error) bool {
	return err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrEnded) && !errors.Is(err, errRecord)
}

// lastWrite lets nobody write from now on, since the message has ended.
func (o *Own) lastWrite(e End) {
	o.writing.Lock()
	defer o.writing.Unlock()
	if o.want == nil { // others have ended it
		o.want = &e
	}
}

// finish notes the end of a message of this node.
func (o *Own) finish(e End) {
	o.mu.Lock()
	if o.end != nil {
		o.mu.Unlock()
		return
	}
	o.end = &e
	o.tell(time.Now())
	o.mu.Unlock()
	o.g.tally.ended.Inc(string(e.State))
	o.g.mu.Lock()
	o.g.release(o)
	o.g.mu.Unlock()
	o.lastWrite(e)
	o.writing.Lock()
	defer o.writing.Unlock()
	o.cancel(e.err())
	if o.closed == nil {
		close(o.done)
	}
}
