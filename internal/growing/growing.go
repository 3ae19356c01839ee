// Package growing has messages that grow, such as the answer of a language model: what
// this node writes, and copies of what other nodes write and clients follow here.
//
// A growing message is a record of the store while it is open. Its beginning is the Put
// of that record with a message for the log, its end a change of it with another one. Both
// are one step, so there is exactly one end, made by the writer or by a node that
// finds the writer dead.
//
// What is between them is in no log. The writer has the content; clients of its own read
// that. A node whose clients follow the message asks the writer, which from then on sends
// pieces, each with its place in the content, as live records (see package live). A node
// that lacks something asks again, with the place up to which it has the content.
package growing

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/malformed"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

const (
	// pace is the least time between two frames of a message.
	pace = 40 * time.Millisecond
	// beat is the least time between two looks at what there is to tell.
	beat = 5 * time.Millisecond
	// every is the time between two looks at what is to be mended.
	every = time.Second
	// kept is how long the content of a message is kept after its end, if there is room.
	kept = 30 * time.Second
	// maxCopies bounds the messages of other nodes that are followed here.
	maxCopies = 1 << 14
)

// Errors of this package.
var (
	ErrTaken    = errors.New("growing: a message with this id is open")
	ErrTooMany  = errors.New("growing: too many messages are open")
	ErrTooLarge = errors.New("growing message")
	ErrMixed    = errors.New("growing: a message is text or JSON")
	ErrNotFound = errors.New("growing: not found")
	ErrBusy     = errors.New("growing: the node that writes the message does not answer")
	ErrStopped  = errors.New("realtime: a client has stopped the growing message")
	ErrEnded    = errors.New("realtime: the growing message has ended")
)

// Limits bound what a node has.
type Limits struct {
	Bytes   int           // of a message
	Memory  int64         // bytes of all messages
	Open    int           // messages that this node writes
	Channel int           // of them, in one channel
	Idle    time.Duration // after the last write the message fails
	Message int           // bytes of the data of one message in the log
}

// Node is what this package uses of a node. All fields must be set. Go is used until
// [Growing.Close] has returned.
type Node struct {
	Name    func() string // of this node
	Alone   bool          // there are no other nodes
	Store   backend.Store
	Append  func(context.Context, backend.Entry) error
	Send    func() // has Outgoing called soon
	Limits  Limits
	Logger  *slog.Logger
	Running context.Context // ends when the node ends
	Go      func(func())    // runs a function in a goroutine for which the node waits

	// Ended returns the message of the log that tells the end of the newest growing
	// message with a key, as this node has the log up to now.
	Ended func(context.Context, Key) (*backend.Event, error)
}

// Growing has the growing messages of a node. Its methods may be called concurrently.
type Growing struct {
	node  Node
	wake  chan struct{} // holds one: there is something to tell
	bytes atomic.Int64  // of all texts
	tally tally

	malformed malformed.Records
	unread    sync.Once // the first piece that cannot be read is logged

	mu       sync.Mutex // after the locks of an Own, before the mu of a Text
	closed   bool
	texts    map[Key]*Text  // those that this node writes or has written, and copies
	channels map[string]int // how many of them this node writes
	opened   int
	copies   int
	dirty    []*Text
	sending  []*Text    // have something for other nodes
	asking   []*Text    // copies that lack something
	doubts   []doubt    // records that are perhaps in the store
	graves   []grave    // records of messages that have ended, the oldest first
	finished *sync.Cond // an own message has ended
}

// tally is what is counted.
type tally struct {
	opened, appends, written metric.Counter
	ended                    *metric.Set
}

// New returns the growing messages of a node. [Growing.Run] must run from then on.
func New(node Node) *Growing {
	g := &Growing{node: node, wake: make(chan struct{}, 1), texts: make(map[Key]*Text), channels: make(map[string]int)}
	g.finished = sync.NewCond(&g.mu)
	g.tally.ended = metric.NewSet(string(Failed), States...)
	return g
}

func (g *Growing) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Run tells followers what has been written, and mends what is to be mended, until ctx
// ends. Telling does not wait for mending, which asks the store.
func (g *Growing) Run(ctx context.Context) {
	var telling, mending <-chan time.Time
	var mender sync.WaitGroup
	defer mender.Wait()
	idle, mended := true, make(chan struct{}, 1)
	for {
		select {
		case <-g.wake:
		case <-telling:
			telling = nil
		case <-mending:
			mending, idle = nil, false
			mender.Go(func() {
				g.mend(ctx)
				mended <- struct{}{}
			})
		case <-mended:
			idle = true
		case <-ctx.Done():
			return
		}
		if wait, more := g.tellAll(time.Now()); more && telling == nil {
			telling = time.After(max(wait, beat))
		}
		if mending == nil && idle && g.has() {
			mending = time.After(every)
		}
	}
}

// has reports whether there is anything to look after.
func (g *Growing) has() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.texts)+len(g.doubts)+len(g.graves) > 0
}

// touch notes that a text has something to tell.
func (g *Growing) touch(t *Text) {
	g.mu.Lock()
	g.dirty = append(g.dirty, t)
	g.mu.Unlock()
	g.signal()
}

// tellAll tells what is due, and returns how long to wait for the rest.
func (g *Growing) tellAll(now time.Time) (wait time.Duration, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = pace
	rest := g.dirty[:0]
	for _, t := range g.dirty {
		t.mu.Lock()
		left := pace - now.Sub(t.toldAt)
		switch {
		case !t.dirty:
		case left > 0:
			rest = append(rest, t)
			wait = min(wait, left)
		default:
			t.tell(now)
			g.send(t)
		}
		t.mu.Unlock()
	}
	clear(g.dirty[len(rest):])
	g.dirty = rest
	return wait, len(rest) > 0
}

// Stats are the figures of a node.
type Stats struct {
	Open      int // written by this node
	Copies    int // written by others, and followed here
	Followers int // clients that follow, of each message
	Bytes     int64
	Opened    uint64
	Ended     map[string]uint64 // by state
	Appends   uint64
	Written   uint64 // bytes
}

// Stats returns the present figures.
func (g *Growing) Stats() Stats {
	s := Stats{
		Bytes: g.bytes.Load(), Opened: g.tally.opened.Value(), Ended: g.tally.ended.Values(),
		Appends: g.tally.appends.Value(), Written: g.tally.written.Value(),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Open, s.Copies = g.opened, g.copies
	for _, t := range g.texts {
		_, followers := t.size()
		s.Followers += followers
	}
	return s
}

// Close ends all messages that this node writes, and waits until that is in the log, or
// ctx has ended. Then nothing can be begun or written here. It returns how many were
// open.
func (g *Growing) Close(ctx context.Context, why End) (open int) {
	g.mu.Lock()
	g.closed, open = true, g.opened
	var own []*Own
	for _, t := range g.texts {
		if t.own != nil {
			own = append(own, t.own)
		}
	}
	g.mu.Unlock()
	for _, o := range own {
		o.begin(why)
	}
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.finished.Broadcast()
	})
	defer stop()
	g.mu.Lock()
	for g.opened > 0 && ctx.Err() == nil {
		g.finished.Wait()
	}
	g.mu.Unlock()
	for _, o := range own {
		o.abandon(bounded.ErrClosed)
	}
	return open
}

// drop forgets a text. g.mu must be held.
func (g *Growing) drop(t *Text) {
	if g.texts[t.Key] != t {
		return
	}
	delete(g.texts, t.Key)
	if t.own == nil {
		g.copies--
	}
	n, _ := t.size()
	g.bytes.Add(-int64(n))
}

// find returns what this node has of a message.
func (g *Growing) find(k Key) *Text {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.texts[k]
}

// crowded reports whether there is little memory left. Then messages that have ended leave
// it, and no copies are begun, which would only take it from others.
func (g *Growing) crowded() bool { return g.bytes.Load() > g.node.Limits.Memory/4*3 }
