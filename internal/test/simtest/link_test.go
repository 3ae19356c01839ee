package simtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/memlink"
)

// latest is how much later than asked a request is carried out, at most.
const latest = 150 * time.Second

// instant is how long what one thing causes goes on before the next thing happens. Within
// one moment goroutines run in no order, so two things that happen in one moment may end
// in two ways.
const instant = time.Microsecond

// draw returns a number below n that depends on what it is for and on nothing else,
// so that goroutines which run in another order draw the same.
func draw(n int64, what ...any) int64 {
	h := fnv.New64a()
	fmt.Fprintln(h, what...)
	x := h.Sum64()
	x ^= x >> 33 // fnv mixes its upper bits little
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int64(x>>1) % n
}

// link is how one node reaches the engine.
type link struct {
	*world
	memlink.Link
	node int

	mu    sync.Mutex
	count map[string]int // of requests, by what they are
	dead  bool           // it never comes back
	beats []time.Time    // when the node's own record was written
	tried []time.Time    // when a request to write it was sent that came late, or not at all
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.Heal()
	}
}

func (l *link) killed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// fate is what becomes of a request.
type fate struct {
	there, back time.Duration // how long request and answer take
	fail        time.Duration // how much longer it takes to learn that it failed
	err         error         // refused: nothing is done
	dropped     bool          // the request never arrives
	unanswered  bool
}

// fate draws what becomes of the next request of this kind.
func (l *link) fate(what string) (f fate) {
	l.mu.Lock()
	l.count[what]++
	n := l.count[what]
	l.mu.Unlock()
	is := func(aspect string, n64 int64) int64 { return draw(n64, l.seed, l.node, what, n, aspect) }
	f.there = 200*time.Microsecond + time.Duration(is("there", int64(3*time.Millisecond)))
	f.back = 200*time.Microsecond + time.Duration(is("back", int64(3*time.Millisecond)))
	f.fail = time.Duration(is("fail", int64(3*time.Millisecond)))
	if !l.faulty() {
		return f
	}
	rate := l.rate
	switch p := is("kind", 1000); {
	case p > 1000-4*rate && strings.Contains(what, " member "): // what nobody may forget
		f.there += time.Duration(is("late", int64(latest)))
	case p < rate:
		f.err = memlink.ErrDown
	case p < 2*rate:
		f.dropped = true
	case p < 4*rate:
		f.unanswered = true
	case p < 5*rate: // late, and done although nobody waits any longer
		f.there += time.Duration(is("late", int64(latest)))
	case p < 7*rate:
		f.there += time.Duration(is("slow", int64(6*time.Second)))
	case p < 8*rate:
		f.back += time.Duration(is("slow", int64(6*time.Second)))
	}
	if strings.HasPrefix(what, "put node ") && (f.err != nil || f.dropped || f.there > time.Second) {
		l.mu.Lock()
		l.tried = append(l.tried, time.Now())
		l.mu.Unlock()
	}
	if f.err != nil || f.dropped || f.unanswered || f.there+f.back > time.Second {
		l.trace("node %d: %s #%d: %+v", l.node, what, n, f)
		l.blame()
	}
	if l.busy && rate > 0 && strings.HasPrefix(what, "list ") { // there are many records
		f.there += time.Duration(is("listed", int64(1200*time.Millisecond)))
		f.back += time.Duration(is("answered", int64(1200*time.Millisecond)))
	}
	return f
}

// request has do done in the engine, or not. changes: where there is no answer, the
// outcome is unknown.
func request[T any](ctx context.Context, l *link, what string, changes bool, do func() (T, error)) (value T, err error) {
	if l.killed() { // a process that is no more asks for nothing
		return value, memlink.ErrDown
	}
	f := l.fate(what)
	if err := ctx.Err(); err != nil {
		return value, err
	}
	if f.err != nil {
		time.Sleep(f.fail)
		return value, f.err
	}
	value, err = memlink.Call(ctx, &l.late, changes, func(answer func(T, error)) {
		time.Sleep(f.there)
		if f.dropped || l.Down() && f.there < 10*time.Second {
			return
		}
		value, err := do()
		time.Sleep(f.back)
		if !f.unanswered && !l.Down() {
			answer(value, err)
		}
	})
	if errors.Is(err, memlink.ErrDown) || ctx.Err() != nil {
		time.Sleep(f.fail)
	}
	return value, err
}

// alias returns the name of a record without the random name of its node.
func (l *link) alias(k backend.Key) string {
	l.naming.Lock()
	defer l.naming.Unlock()
	of := func(node string) string {
		base, rest, _ := strings.Cut(node, "/")
		if _, ok := l.aliases[base]; !ok {
			l.aliases[base] = fmt.Sprintf("n%d", l.node)
		}
		return l.aliases[base] + "/" + rest
	}
	switch {
	case k.Kind == "node":
		k.Name = of(k.Name)
	case k.Kind == "followed":
		k.Group = of(k.Group)
	}
	return k.Kind + " " + k.Group + " " + k.Name
}

// Append implements [backend.Log].
func (l *link) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	return l.append(ctx, e, 0)
}

func (l *link) append(ctx context.Context, e backend.Entry, cause backend.Revision) (backend.Position, error) {
	what := fmt.Sprintf("append %x", draw(1<<32, string(e.Data)))
	if p, err := backend.DecodePayload(e.Data); err == nil && p.Event.Key != "" && p.Event.Type == backend.Message {
		what = "append " + p.Event.Key + " " + p.Event.Version // the run of a growing message is random
	}
	return request(ctx, l, what, true, func() (backend.Position, error) {
		if cause != 0 && l.engine.over(cause) { // as package onestep wants it
			return backend.Position{}, memlink.ErrDown
		}
		return l.engine.append(e, cause), nil
	})
}

// Read implements [backend.Log].
func (l *link) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	return request(ctx, l, "read", false, func() (backend.Page, error) { return l.engine.read(after, limit), nil })
}

// Get implements [backend.Store].
func (l *link) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	return request(ctx, l, "get "+l.alias(k), false, func() (backend.Item, error) { return l.engine.get(k), nil })
}

// List implements [backend.Store].
func (l *link) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	what := "list " + kind + " " + group
	if kind == "followed" && group != "" {
		what = "list " + l.alias(backend.Key{Kind: kind, Group: group})
	}
	return func(yield func(backend.Item, error) bool) {
		items, err := request(ctx, l, what, false, func() ([]backend.Item, error) { return l.engine.list(kind, group), nil })
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		slices.SortStableFunc(items, func(a, b backend.Item) int { return strings.Compare(l.alias(a.Key), l.alias(b.Key)) })
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// Put implements [backend.Store].
func (l *link) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	return request(ctx, l, "put "+l.alias(w.Key), true, func() (backend.Revision, error) {
		rev, err := l.engine.change(w.Key, w.Value, w.If, w.Append)
		if w.Key.Kind == "node" && err == nil {
			l.mu.Lock()
			l.beats = append(l.beats, time.Now())
			l.mu.Unlock()
		}
		return rev, err
	})
}

// Delete implements [backend.Store].
func (l *link) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	_, err := request(ctx, l, "delete "+l.alias(k), true, func() (backend.Revision, error) {
		return l.engine.change(k, nil, rev, e)
	})
	return err
}

// Follow implements [backend.Log], and not well: it lags, leaves out, repeats and
// breaks off.
func (l *link) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	last := after
	var passed []backend.Record
	for {
		if err := l.Wait(ctx); err != nil {
			return err
		}
		recs, more, lost := l.engine.next(last)
		if lost != nil {
			l.trace("node %d: follow after %v: %v", l.node, last, lost)
			return lost
		}
		if len(recs) == 0 {
			select {
			case <-more:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		last = recs[len(recs)-1].Pos
		f := l.fate(fmt.Sprint("follow ", last))
		select {
		case <-time.After(min(f.there, 10*time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if l.Down() {
			last = recs[0].Pos // what was on its way is sent again
			last.Seq--
			continue
		}
		switch {
		case f.err != nil:
			return f.err
		case f.dropped:
			recs = recs[1+(len(recs)-1)/2:]
		case f.unanswered:
			recs = append(slices.Clone(passed[max(0, len(passed)-5):]), recs...)
		}
		if len(recs) > 0 {
			sink(recs)
			passed = recs
			time.Sleep(instant)
		}
	}
}

// Close implements [backend.Backend].
func (l *link) Close(context.Context) error { return nil }
