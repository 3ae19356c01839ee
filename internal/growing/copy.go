package growing

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Types of records, with the message's channel, its id as Key and its run as Version.
// Piece and Ask are live, Stop is a control record of its own. Releases that do not know
// them ignore them.
const (
	Piece = "$piece" // a part of the content, of the node that writes it
	Ask   = "$ask"   // by Source: send what follows a place
	Stop  = "$stop"  // end it
)

const (
	// interest is how long a node that writes a message sends pieces of it after another
	// one has asked. Who follows it asks again three times within it.
	interest = 30 * time.Second
	askEvery = interest / 3
	// askAgain is the wait before a node asks again for what it lacks.
	askAgain = time.Second
	// maxPiece bounds the content of one piece.
	maxPiece = 32 << 10
)

// outgoing is what the node that writes a message sends of it.
type outgoing struct {
	until  time.Time // somebody wants it
	sent   int       // up to here
	answer bool      // a piece is due, even an empty one
	queued bool      // it is in Growing.sending
}

// copying is what a node knows of a message that another one writes.
type copying struct {
	ready  chan struct{} // closed when the content was there that the writer had when it was asked first
	total  int           // that much; -1: it has not answered yet
	asked  time.Time
	heard  time.Time
	lost   bool // the log has lost something since the store was asked what has become of it
	queued bool // it is in Growing.asking
	end    *End // how it ended, while content is missing
	bytes  int  // of the content, at its end
	since  time.Time
	wrong  bool // it cannot be followed on
}

// Follow returns a message that is open, or has ended and is still known. Errors:
// [ErrNotFound], [ErrTooMany], [ErrBusy], those of the store and of ctx.
func (g *Growing) Follow(ctx context.Context, k Key) (*Text, error) {
	t := g.find(k)
	ended := t != nil && t.ended() != nil // another one with this id may be open elsewhere
	if t == nil && g.node.Alone {
		return g.past(ctx, k)
	}
	if !g.node.Alone && (t == nil || ended) {
		r, open, err := g.open(ctx, k)
		switch {
		case err != nil:
			return nil, err
		case !open && ended:
			return t, nil
		case !open:
			return g.past(ctx, k)
		}
		if t, err = g.copy(r); err != nil {
			return nil, err
		}
	}
	if t.own != nil {
		return t, nil
	}
	late := time.NewTimer(3 * time.Second)
	defer late.Stop()
	select {
	case <-t.copy.ready: // which never changes
		return t, nil
	case <-late.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// past returns a message that has ended, as the log has it.
func (g *Growing) past(ctx context.Context, k Key) (*Text, error) {
	ev, err := g.node.Ended(ctx, k)
	if err != nil {
		return nil, err
	}
	if ev != nil {
		if t, _ := ended(ev); t != nil {
			return t, nil
		}
	}
	return nil, ErrNotFound
}

// copy begins to copy a message of another node.
func (g *Growing) copy(r record) (*Text, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.texts[r.Key]; t != nil && (t.Run == r.Run || t.ended() == nil) {
		return t, nil
	} else if t != nil {
		g.drop(t)
	}
	if g.closed {
		return nil, bounded.ErrClosed
	}
	if g.copies >= maxCopies || g.crowded() {
		return nil, ErrTooMany
	}
	t := &Text{Begin: r.Begin, of: g, left: time.Now()}
	t.copy = copying{ready: make(chan struct{}), total: -1, heard: time.Now()}
	g.texts[r.Key] = t
	g.copies++
	g.ask(t)
	g.signal()
	return t, nil
}

// ask asks the writer for what follows the content, and to send what it adds. g.mu must
// be held.
func (g *Growing) ask(t *Text) {
	if t.copy.queued {
		return
	}
	t.copy.queued, t.copy.asked = true, time.Now()
	g.asking = append(g.asking, t)
	g.node.Send()
}

// send has Outgoing send what the other nodes want. g.mu and t.mu must be held.
func (g *Growing) send(t *Text) {
	o := &t.out
	if o.queued || !o.answer && (o.sent >= len(t.content) || time.Now().After(o.until)) {
		return
	}
	o.queued = true
	g.sending = append(g.sending, t)
	g.node.Send()
}

// Outgoing returns what is to be sent to other nodes now, about most bytes of it.
func (g *Growing) Outgoing(most int) (batch []backend.Payload, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.asking) > 0 && most > 0 {
		t := g.asking[0]
		g.asking = g.asking[1:]
		t.copy.queued = false
		have, _ := t.size()
		p := t.live(Ask, binary.AppendUvarint(nil, uint64(have)))
		p.Event.Source = g.node.Name()
		batch, most = append(batch, p), most-cost(p)
	}
	for len(g.sending) > 0 && most > 0 {
		t := g.sending[0]
		g.sending = g.sending[1:]
		t.mu.Lock()
		o := &t.out
		from := min(o.sent, len(t.content))
		to := min(len(t.content), from+maxPiece)
		p := t.live(Piece, encodePiece(from, len(t.content), t.kind, t.content[from:to]))
		o.sent, o.answer, o.queued = to, false, false
		g.send(t)
		t.mu.Unlock()
		batch, most = append(batch, p), most-cost(p)
	}
	return batch, len(g.asking)+len(g.sending) > 0
}

func (t *Text) live(typ string, data []byte) backend.Payload {
	return backend.Payload{Event: backend.Event{
		Resource: backend.Control, Type: typ, Channel: t.Channel, Key: t.ID, Version: t.Run, Data: data,
	}}
}

func cost(p backend.Payload) int { return 64 + len(p.Event.Channel) + len(p.Event.Data) }

// Take takes what the log tells of growing messages, in log order: live records of this
// package, and messages that tell an end. It does not block.
func (g *Growing) Take(ev *backend.Event) {
	if ev.Resource == backend.Control {
		g.Live(ev)
	} else {
		g.Logged(ev)
	}
}

// Live takes a live record of this package, in log order. It does not block.
func (g *Growing) Live(ev *backend.Event) {
	t := g.find(Key{ev.Channel, ev.Key})
	if t == nil || t.Run != ev.Version {
		return
	}
	switch {
	case ev.Type == Ask && t.own != nil:
		g.asked(t, ev.Data)
	case ev.Type == Piece && t.own == nil:
		g.take(t, ev.Data)
	}
}

// asked notes that another node wants a message of this one.
func (g *Growing) asked(t *Text, data []byte) {
	have, n := binary.Uvarint(data)
	if n <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	o := &t.out
	if time.Now().After(o.until) {
		o.sent = len(t.content) // nobody has got anything lately
	}
	o.until, o.answer = time.Now().Add(interest), true
	o.sent = min(o.sent, int(min(have, uint64(len(t.content)))))
	g.send(t)
}

// take takes a piece of a message of another node.
func (g *Growing) take(t *Text, data []byte) {
	from, total, kind, content, err := decodePiece(data)
	if err != nil {
		g.unread.Do(func() { // there may be many
			g.node.Logger.Error("realtime: a piece of a growing message cannot be read", "channel", t.Channel, "id", t.ID, "error", err)
		})
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &t.copy
	if g.texts[t.Key] != t || t.ended() != nil {
		return
	}
	if g.bytes.Load() > g.node.Limits.Memory {
		g.spoil(t)
		return
	}
	t.mu.Lock()
	have := len(t.content)
	if from > have { // something before it was lost
		t.mu.Unlock()
		if time.Since(c.asked) > askAgain {
			g.ask(t)
		}
		return
	}
	c.heard = time.Now()
	if to := from + len(content); to > have {
		if t.add(kind, content[have-from:]) {
			g.dirty = append(g.dirty, t)
			g.signal()
		}
		g.bytes.Add(int64(to - have))
		have = to
	}
	t.reach(total)
	t.mu.Unlock()
	if c.total < 0 {
		c.total = total
	}
	g.ready(t, have)
	if c.end != nil && have >= c.bytes {
		g.close(t, *c.end)
	}
}

// ready notes that a copy has what the writer had when it was asked first. g.mu must be
// held.
func (g *Growing) ready(t *Text, have int) {
	c := &t.copy
	select {
	case <-c.ready:
		return
	default:
	}
	if c.total >= 0 && have >= c.total || t.ended() != nil {
		t.mu.Lock()
		t.tell(time.Now()) // those who wait read it at once
		t.mu.Unlock()
		close(c.ready)
	}
}

// finishCopy takes the end of a message of another node from the log. past has the
// content, or a part of it.
func (g *Growing) finishCopy(t, past *Text, end End, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.texts[t.Key] != t || t.ended() != nil {
		return
	}
	t.mu.Lock()
	g.cutText(t, bytes)
	have := len(t.content)
	if n := len(past.content); n > have {
		t.add(past.kind, past.content[have:])
		g.bytes.Add(int64(n - have))
		have = n
	}
	t.reach(len(past.content))
	t.mu.Unlock()
	t.copy.bytes = bytes
	if end.Partial = have < bytes; end.Partial && end.State != Failed {
		t.copy.end, t.copy.since = &end, time.Now()
		g.ask(t) // the writer keeps it for a while
		return
	}
	g.close(t, end)
}

// cut leaves so much of the content of a message that has ended as the log has. Who has
// taken the writer for dead has perhaps ended it before its last pieces came. Those who have
// read more keep it; who comes later has what the log has.
func (g *Growing) cut(t *Text, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.texts[t.Key] == t {
		g.cutText(t, bytes)
	}
}

// cutText is cut. g.mu and t.mu must be held.
func (g *Growing) cutText(t *Text, bytes int) {
	t.told, t.whole, t.aim = min(t.told, bytes), min(t.whole, bytes), min(t.aim, bytes)
	if n := len(t.content) - bytes; n > 0 {
		t.content, t.piece = t.content[:bytes:bytes], piece{}
		g.bytes.Add(-int64(n))
	}
}

// close tells the followers of a copy its end. g.mu must be held.
func (g *Growing) close(t *Text, end End) {
	t.mu.Lock()
	end.Partial = end.Partial && len(t.content) < t.copy.bytes
	t.end = &end
	t.tell(time.Now())
	t.mu.Unlock()
	g.ready(t, 0)
}

// Stop asks the node that writes a message to end it as stopped by a client. It returns
// nil when that is on its way, or the message has ended. Errors: as Follow, without
// ErrBusy, and those of the log.
func (g *Growing) Stop(ctx context.Context, k Key) error {
	t := g.find(k)
	ended := t != nil && t.ended() != nil // another one with this id may be open elsewhere
	switch {
	case t != nil && t.own != nil && !ended:
		t.own.Stop()
		return nil
	case g.node.Alone && ended:
		return nil
	case g.node.Alone:
		_, err := g.past(ctx, k)
		return err
	}
	r, open, err := g.open(ctx, k)
	if err == nil && !open && !ended {
		_, err = g.past(ctx, k)
	}
	if err != nil || !open {
		return err
	}
	p := (&Text{Begin: r.Begin}).live(Stop, nil)
	return g.node.Append(ctx, backend.Entry{Data: p.Encode()})
}

// Stopped takes a record of the type Stop. It does not block.
func (g *Growing) Stopped(ev *backend.Event) {
	if t := g.find(Key{ev.Channel, ev.Key}); t != nil && t.own != nil && t.Run == ev.Version {
		t.own.Stop()
	}
}

var errPiece = errors.New("growing: malformed piece")

// encodePiece returns the data of a piece: its place, the size of the content now, both
// unsigned varints, a byte with the kind, and the content.
func encodePiece(from, total int, kind wire.Kind, content []byte) []byte {
	b := make([]byte, 0, 2*binary.MaxVarintLen64+1+len(content))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(from)), uint64(total))
	return append(append(b, byte(kind)), content...)
}

func decodePiece(b []byte) (from, total int, kind wire.Kind, content []byte, err error) {
	const most = 1 << 30
	f, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, 0, nil, errPiece
	}
	b = b[n:]
	t, n := binary.Uvarint(b)
	if n <= 0 || t > most || len(b) == n { // f is less than t, see below
		return 0, 0, 0, nil, errPiece
	}
	kind, content = wire.Kind(b[n]), b[n+1:]
	if kind > wire.Items || uint64(len(content)) > t || f > t-uint64(len(content)) || kind == wire.NoKind && len(content) > 0 {
		return 0, 0, 0, nil, errPiece
	}
	return int(f), int(t), kind, content, nil
}
