// Package session turns cursors into bytes. A session is what one client follows,
// as a value without a goroutine, a timer or a connection: a [Stream] is a REN
// stream, a [Channels] is a connection with subscriptions to channels.
//
// A driver has the connection. It asks its sessions for bytes and writes them:
//
//	for more := true; more; {
//		more = s.Fill(&buf, session.Batch)
//		… write buf.Bytes or buf.Frame, then buf.Part …
//	}
//
// Then it waits until the function that the session was made with is called, and
// asks again. It must not ask before it has written what it got: so a client that
// reads slowly costs one buffer, whatever happens meanwhile, and whatever a
// function that was handed to Do changes is true of all that is written later.
//
// What changes what is written, answers as well as subscriptions, is handed to
// [Session.Do] by any goroutine. It is done between two batches of events, in the
// order it was handed over, and so an answer keeps its place among the events.
package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/queue"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// View is what the policy shows a client. A session is given another one when
// rights change. Its methods must be fast and must not block.
type View interface {
	// Stream reports whether a REN stream carries an event, and with its data or not.
	Stream(ev *backend.Event) (seen, data bool)
	// Channel reports whether a subscriber of its channel gets an event. Of a
	// presence.join that is whether a roster lists the member.
	Channel(ev *backend.Event) bool
	// Uniform reports whether Channel is true of everything.
	Uniform() bool
}

// Session is what streams and connections with channels have in common, and all
// that a driver needs to write for either. Do and Turn may be called by any
// goroutine, the other methods by the one that calls Fill, or by functions that it
// does.
type Session struct {
	form   form
	ring   *ring.Ring
	reader *ring.Reader
	shown  atomic.Pointer[ring.Reader] // the reader, for other goroutines
	wake   func()
	turns  atomic.Uint64

	mu      sync.Mutex
	waiting queue.Queue[func()] // to be done; guarded by mu

	buf   *Buffer          // of the Fill that is under way: what it makes goes there
	items []ring.Item      // a batch that has not been told to its end
	told  int              // how many of them were
	pos   backend.Position // complete up to here, with items
	more  bool             // after them, at once
	began time.Time        // when the newest subscription did
	pace  *pace            // nil: at once

	end   *Ending
	stuck bool // nothing is told any longer but the end
	ended bool // nothing is told any longer
}

// form makes of what the reader has what a client gets.
type form interface {
	reset(ring.Item)
	event(*ring.Entry)
	// part returns a message of its own that is due, which others share, and whether
	// there is another one.
	part() (shared []byte, more bool)
	// abandon gives up what cannot be told completely, since the session ends. It is called
	// in each turn until then.
	abandon()
	bye(*Ending)
}

// init makes a session that wakes its driver by calling wake, from any goroutine,
// when Fill has something to tell after it had nothing. It must be fast and must
// not block.
func (s *Session) init(f form, r *ring.Ring, wake func()) {
	s.form, s.ring, s.wake = f, r, wake
	s.read()
}

// read begins with a new reader.
func (s *Session) read() {
	s.reader = s.ring.NewReaderFunc(s.wake)
	s.shown.Store(s.reader)
}

// Unread returns how many events of the topics that the session follows have not been
// told yet, and when the oldest of them came to this node. Any goroutine may call it.
func (s *Session) Unread() (n int, oldest time.Time) { return s.shown.Load().Unread() }

// Do has f done within a Fill, after what was handed over before. It does not wait
// for that. What such a function hands over is done when all that was told until then
// has been written. After the end nothing is done.
//
// The queue has no bound of its own: a caller that lets a client fill it must count what
// waits.
func (s *Session) Do(f func()) {
	s.mu.Lock()
	s.waiting.Push(f)
	s.mu.Unlock()
	s.wake()
}

// Turn returns a number for a question to the policy, greater than all before. Of
// two answers about the same thing, the one with the greater number counts.
func (s *Session) Turn() uint64 { return s.turns.Add(1) }

// Bell wakes a driver that waits for it in a select: it receives once for any number
// of rings.
type Bell chan struct{}

// NewBell returns a bell, whose Ring wakes.
func NewBell() Bell { return make(Bell, 1) }

// Ring may be called by any goroutine, and does not block.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default: // who is woken finds this as well
	}
}

// Budget bounds one Fill.
type Budget struct {
	Events int // that are taken from the history
	Bytes  int // that are made. The last event, answer or part of a roster may exceed it.
}

// Batch is the budget of a driver with one connection.
var Batch = Budget{Events: 256, Bytes: 64 << 10}

// history is the budget in the bytes that the history takes for events: several
// times what is sent of them.
func (b Budget) history() ring.Budget {
	const held = 4
	return ring.Budget{Entries: b.Events, Bytes: held * int64(b.Bytes)}
}

// Buffer is what a driver lends to Fill. One may serve any number of sessions, one
// after the other. The zero Buffer is ready.
//
// A driver that waits should hold none: [NewBuffer] and Release share those that there
// are among all drivers, so that there are as many as write at the same time, and none
// is kept for long after a burst.
type Buffer struct {
	Bytes []byte // a message; empty if there is none
	Frame []byte // instead of it, if it is one event of a channel: a WebSocket frame. Others share it: it must not be changed.
	Part  []byte // another message, to be written after it. Others share it, too.
	Told  Told   // what they say

	out   []byte // Bytes, after wsconn.Room bytes
	items []ring.Item
}

// WithRoom returns Bytes, after [wsconn.Room] bytes.
func (b *Buffer) WithRoom() []byte { return b.out }

// Len returns how many bytes the messages have.
func (b *Buffer) Len() int { return len(b.Bytes) + len(wsconn.Text(b.Frame)) + len(b.Part) }

// Told is what a message says, for a driver that counts.
type Told struct {
	Past   int // bytes of messages that came with subscriptions
	Events int // that the client gets
	// Coalesced is how many it does not get, since there is a newer one of the same key.
	Coalesced int
	Oldest    time.Time // when the oldest of those that are no replay came to the node; zero if there is none
	Resets    []ring.Reason
	Traced    []*ring.Entry // of Events, those of which a span is to be made
	Errors    []string      // codes of refusals, those excepted that the driver answers with
}

// maxSpans bounds the spans of deliveries of one event on a node: it may have thousands.
const maxSpans = 16

// toldEvent notes an event that the client gets. If it is no replay, and its publish was
// sampled for a trace, the first few deliveries are traced as well.
func (s *Session) toldEvent(e *ring.Entry) {
	s.buf.Told.Events++
	came := e.Came()
	if came.Before(s.began) {
		return
	}
	if s.buf.Told.Oldest.IsZero() {
		s.buf.Told.Oldest = came
	}
	if e.Trace.Sampled() && e.TakeSpan(maxSpans) {
		s.buf.Told.Traced = append(s.buf.Told.Traced, e)
	}
}

// toldReset notes that the client is told of a reset.
func (s *Session) toldReset(why ring.Reason) { s.buf.Told.Resets = append(s.buf.Told.Resets, why) }

// subscribe begins to read topics.
func (s *Session) subscribe(since *backend.Position, topics ...ring.Topic) ring.Start {
	start := s.reader.Subscribe(since, topics...)
	if s.began = time.Now(); start.State == ring.Reset {
		s.toldReset(start.Reason)
	}
	return start
}

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns a buffer that is empty, and may have been used before.
func NewBuffer() *Buffer { return buffers.Get().(*Buffer) }

// mostKept is the size of a buffer that is worth keeping: a batch and what it may be
// exceeded by, as a rule.
const mostKept = 128 << 10

// Release gives the buffer to the next driver that needs one. It must not be used after
// that.
func (b *Buffer) Release() {
	if b.Bytes, b.Frame, b.Part, b.Told = nil, nil, nil, (Told{}); cap(b.out) > mostKept {
		b.out = nil
	}
	buffers.Put(b)
}

// Fill puts what there is to tell into buf, in place of what it held: what the
// functions say that wait to be done, and what follows the cursors. If more is true
// there is more at once; otherwise the driver will be woken.
func (s *Session) Fill(buf *Buffer, b Budget) (more bool) {
	buf.out, buf.Frame, buf.Part, buf.Told = append(buf.out[:0], room[:]...), nil, nil, Told{}
	s.buf = buf
	more = s.items != nil // what came since then was not looked for
	if resting := false; !s.turn(buf, b, &resting) {
		more = !s.ended && !resting
	} else if s.tell(buf, b); s.more || s.end != nil {
		more = true
	}
	switch {
	case s.end != nil:
	case s.made() >= b.Bytes: // no room for a part, if one is due, nor for the rest of the batch
		more = true
	default:
		var another bool
		buf.Part, another = s.form.part()
		more = more || another
	}
	buf.Bytes, s.buf = buf.out[len(room):], nil
	return more
}

// room is what a message is made after, so that the header of a WebSocket frame can be
// put before it.
var room [wsconn.Room]byte

// made returns how many bytes the message has so far.
func (s *Session) made() int { return len(s.buf.out) - len(room) + len(s.buf.Frame) }

// turn does what comes before events, and takes a batch of them. It returns false
// where no events are due in this Fill, or, resting, for a while.
func (s *Session) turn(buf *Buffer, b Budget, resting *bool) bool {
	switch {
	case s.ended:
		return false
	case s.stuck:
		return s.lastWord(resting)
	case s.items != nil: // functions wait until it was told
		return true
	case s.end != nil:
		s.form.abandon()
	}
	if !s.doWaiting(b.Bytes) {
		return false
	}
	if s.end != nil && !s.more {
		s.form.bye(s.end)
		s.ended = true
		return false
	}
	if *resting = s.rest(); *resting {
		return false
	}
	if s.pace != nil {
		if s.items, s.pos, s.more = s.form.(*Stream).latest(buf.items[:0], b.history()); len(s.items) > 0 {
			s.pace.due = time.Now().Add(s.pace.every)
		}
	} else {
		s.items, s.pos, s.more = s.reader.Next(buf.items[:0], b.history())
	}
	buf.items, s.told = nil, 0
	if s.end != nil && s.pos.Compare(s.end.Rest) >= 0 {
		s.more = false
	}
	return true
}

// lastWord is the turn of a session that tells nothing any longer but its end.
func (s *Session) lastWord(resting *bool) bool {
	if *resting = s.end == nil; !*resting {
		s.form.bye(s.end)
		s.ended = true
	}
	return false
}

// doWaiting does what waits, and reports whether that has left room for events.
func (s *Session) doWaiting(most int) bool {
	s.mu.Lock()
	n := s.waiting.Len()
	s.mu.Unlock()
	if n > 0 || s.end != nil {
		s.catchUp()
	}
	for range n { // and not what these hand over
		s.mu.Lock()
		f := s.waiting.Pop()
		s.mu.Unlock()
		if f(); s.stuck || s.made() >= most {
			return false
		}
	}
	return true
}

// catchUp notes how far the session is complete. It is not woken by what it does not
// follow.
func (s *Session) catchUp() {
	if pos, quiet := s.reader.Quiet(); quiet {
		s.pos = pos
	}
}

// tell tells of the batch as much as there is room for. What is left stays with the
// session, else its memory goes back.
func (s *Session) tell(buf *Buffer, b Budget) {
	for ; s.told < len(s.items) && !s.stuck; s.told++ {
		if s.made() >= b.Bytes {
			return
		}
		if it := s.items[s.told]; it.Entry == nil {
			s.form.reset(it)
		} else {
			s.form.event(it.Entry)
		}
	}
	clear(s.items)
	buf.items, s.items = s.items, nil
}

// Ending is how a server ends a connection.
type Ending struct {
	Reason string           // that the client is told; "": it is not
	Retry  time.Duration    // when the client may come back
	Rest   backend.Position // what is in the log up to here is told first; zero: nothing
}

// Bye ends the session: Fill does what waits to be done, tells what is due before the
// end, then why, and then nothing any longer. Where more is false it has.
func (s *Session) Bye(how Ending) { s.end, s.more = &how, how.Rest != (backend.Position{}) }

// Close lets go of the history. Fill must not be called after it.
func (s *Session) Close() {
	s.pace.stop()
	s.reader.Close()
}
