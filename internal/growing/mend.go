package growing

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// doubt is a record that a Put has perhaps stored whose caller has given up.
type doubt struct {
	Key
	run   string
	since time.Time
	due   time.Time // of the next look
}

const (
	maxDoubts = 1 << 10
	// late is how long such a Put may be on its way.
	late = 3 * time.Minute
	// unheard is how long a node that follows a message waits for its writer before it
	// asks the store what has become of it.
	unheard = 2 * askEvery
	// patience is how long it waits for the rest of the content of one that has ended.
	patience = 5 * time.Second
)

// doubt notes a record that is perhaps in the store. g.mu must be held.
func (g *Growing) doubt(k Key, run string) {
	if g.node.Alone || len(g.doubts) == maxDoubts { // else the sweep after the end of this node finds it
		return
	}
	now := time.Now()
	g.doubts = append(g.doubts, doubt{k, run, now, now.Add(every)})
	g.signal()
}

// mend looks after all messages: it fails those that nobody writes, forgets those that
// nobody needs, and finds out about those of which nothing is heard.
func (g *Growing) mend(ctx context.Context) {
	now, keep := time.Now(), kept
	if g.crowded() {
		keep = 0
	}
	var own []*Own
	var unknown []*Text
	g.mu.Lock()
	for _, t := range g.texts {
		switch {
		case t.own != nil:
			if t.expired(now, keep) {
				g.drop(t)
			} else {
				own = append(own, t.own)
			}
		case g.mendCopy(t, now):
			unknown = append(unknown, t)
		}
	}
	doubts, graves := g.dueDoubts(now), g.dueGraves(now)
	g.mu.Unlock()
	for _, o := range own { // whose lock comes before g.mu
		if o.idle(now, g.node.Limits.Idle) {
			o.begin(End{State: Failed, Error: idle()})
		}
	}
	for _, t := range unknown {
		if err := g.inquire(ctx, t); err != nil {
			break // the next look asks again
		}
	}
	for _, d := range doubts {
		g.settle(ctx, d)
	}
	g.erase(ctx, graves)
}

// expired reports whether a message has ended, longer ago than it is kept.
func (t *Text) expired(now time.Time, keep time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end != nil && len(t.followers) == 0 && now.Sub(t.toldAt) > keep
}

func (o *Own) idle(now time.Time, most time.Duration) bool {
	o.writing.Lock()
	defer o.writing.Unlock()
	return o.want == nil && now.Sub(o.wrote) > most
}

// mendCopy forgets a copy that nobody follows, and asks for it in time. It returns
// whether nothing is heard of it. g.mu must be held.
func (g *Growing) mendCopy(t *Text, now time.Time) (unknown bool) {
	t.mu.Lock()
	unused := len(t.followers) == 0 && now.Sub(t.left) > interest
	ended := t.end != nil
	t.mu.Unlock()
	c := &t.copy
	switch {
	case unused && ended:
		g.drop(t)
		return false
	case unused:
		g.spoil(t) // somebody may be about to follow it
		return false
	case ended || c.wrong:
		return false
	case c.end != nil && now.Sub(c.since) > patience: // the rest of it is lost
		g.close(t, *c.end)
		return false
	case now.Sub(c.asked) > askEvery, (c.total < 0 || c.end != nil) && now.Sub(c.asked) > askAgain:
		g.ask(t)
	}
	return c.lost || now.Sub(c.heard) > unheard
}

// inquire finds out what has become of a message of which nothing is heard. It fails where
// the store or the log does.
func (g *Growing) inquire(ctx context.Context, t *Text) error {
	ctx, cancel := context.WithTimeout(ctx, bounded.CallTime)
	defer cancel()
	r, open, err := g.open(ctx, t.Key)
	if err != nil && !errors.Is(err, errRecord) { // which says nothing about the message
		return err
	}
	if open && r.Run == t.Run {
		g.mu.Lock()
		t.copy.heard, t.copy.lost = time.Now(), false // it is open: its writer answers, or is found dead
		g.mu.Unlock()
		return nil
	}
	ev, err := g.node.Ended(ctx, t.Key)
	if err != nil {
		return err
	}
	if ev != nil {
		if past, bytes := ended(ev); past != nil && past.Run == t.Run {
			g.finishCopy(t, past, *past.end, bytes)
			return nil
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.ended() == nil { // the log has not told it meanwhile
		g.spoil(t)
	}
	return nil
}

// spoil notes that a message cannot be followed on: nobody knows what has become of it.
// g.mu must be held.
func (g *Growing) spoil(t *Text) {
	t.copy.wrong = true
	g.drop(t)
	t.mu.Lock()
	t.end = &End{} // which is no state
	t.tell(time.Now())
	t.mu.Unlock()
	if t.own == nil {
		g.ready(t, 0)
	}
}

// Lost must be called when something of the log was lost, with the store put back to an
// earlier state or not.
func (g *Growing) Lost(store bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var own []*Own
	for _, t := range g.texts {
		switch {
		case t.ended() != nil:
		case t.own == nil:
			t.copy.lost = true
			g.ask(t)
		case store:
			o := t.own
			g.node.Go(func() { o.restore(g.node.Running) })
		case !g.node.Alone:
			own = append(own, t.own)
		}
	}
	if len(own) > 0 {
		g.node.Go(func() {
			for _, o := range own {
				o.verify(g.node.Running)
			}
		})
	}
}

// restore puts the record of an open message back, if the store has lost it. If others
// have ended the message, or the record is of another one, this node writes it in vain.
func (o *Own) restore(ctx context.Context) {
	o.settling <- struct{}{}
	defer func() { <-o.settling }()
	o.lost = true
	for attempt := 0; o.lost && o.ended() == nil && pause(ctx, attempt) == nil; attempt++ {
		call, cancel := context.WithTimeout(ctx, bounded.CallTime)
		err := o.put(call, false)
		cancel()
		if o.lost = isLost(err); !o.lost && err != nil {
			o.begin(End{State: Failed, Error: nodeGone()})
		}
	}
}

// verify finds out whether others have ended an open message, of which the log has lost
// that.
func (o *Own) verify(ctx context.Context) {
	o.settling <- struct{}{}
	defer func() { <-o.settling }()
	for attempt := 0; o.rev != 0 && o.ended() == nil && ctx.Err() == nil; attempt++ {
		call, cancel := context.WithTimeout(ctx, bounded.CallTime)
		r, open, err := o.g.open(call, o.Key)
		cancel()
		if err != nil && !errors.Is(err, errRecord) { // somebody else has written the record
			_ = pause(ctx, attempt) // its end is seen above
			continue
		}
		if !open || r.Run != o.Run {
			o.begin(End{State: Failed, Error: nodeGone()})
		}
		return
	}
}

// dueDoubts returns the doubts that are to be looked at. g.mu must be held.
func (g *Growing) dueDoubts(now time.Time) (due []doubt) {
	rest := g.doubts[:0]
	for _, d := range g.doubts {
		if now.Before(d.due) {
			rest = append(rest, d)
			continue
		}
		due = append(due, d)
		if d.due = now.Add(late / 3); now.Sub(d.since) < late {
			rest = append(rest, d)
		}
	}
	g.doubts = rest
	return due
}

// settle ends a message whose caller was told that it has perhaps begun.
func (g *Growing) settle(ctx context.Context, d doubt) {
	ctx, cancel := context.WithTimeout(ctx, bounded.CallTime)
	defer cancel()
	// Where this fails, a later look, or the sweep after the end of this node, finds it.
	it, _ := g.node.Store.Get(ctx, storeKey(d.Key))
	if r, err := decodeRecord(it.Value); err == nil && r.Run == d.run && !r.ended {
		_ = g.fail(ctx, it, r)
	}
}

// fail ends a message whose writer is dead.
func (g *Growing) fail(ctx context.Context, it backend.Item, r record) error {
	r.Key = Key{it.Group, it.Name}
	t := &Text{Begin: r.Begin}
	if known := g.find(r.Key); known != nil && known.Run == r.Run { // what this node has of it
		v := known.From(0)
		t.kind, t.content = v.Kind, v.Content
	}
	end := End{State: Failed, UnixMilli: time.Now().UnixMilli(), Error: nodeGone()}
	p := backend.Payload{Event: t.ending(end, g.node.Limits.Message, true), Depth: r.Depth}
	_, err := g.end(ctx, it.Key, r, it.Revision, &backend.Entry{Data: p.Encode()})
	if errors.Is(err, backend.ErrTooLarge) {
		p.Event = t.ending(end, g.node.Limits.Message, false)
		_, err = g.end(ctx, it.Key, r, it.Revision, &backend.Entry{Data: p.Encode()})
	}
	if errors.Is(err, backend.ErrConflict) { // another node has done it
		return nil
	}
	return err
}

// Reap fails the messages of nodes that are gone, and those recorded for this node that
// it does not write. mine reports whether a node is this one, now or earlier.
func (g *Growing) Reap(ctx context.Context, isGone func(node string) (bool, error), mine func(node string) bool) error {
	for it, err := range g.node.Store.List(ctx, recordKind, "") {
		if err != nil {
			return err
		}
		r, err := decodeRecord(it.Value)
		if err != nil {
			g.malformed.Report(g.node.Logger, it.Key, err)
			continue
		}
		dead := false
		switch {
		case mine(r.node) && r.ended: // it is deleted here, if it was not forgotten
			g.bury(it.Key, it.Revision)
		case mine(r.node):
			t := g.find(Key{it.Group, it.Name})
			dead = t == nil || t.own == nil || t.Run != r.Run
		default:
			if dead, err = isGone(r.node); err != nil {
				return err
			}
		}
		if dead && r.ended {
			g.bury(it.Key, it.Revision)
		} else if dead {
			err = g.fail(ctx, it, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
