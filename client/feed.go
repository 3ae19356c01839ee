package client

import (
	"encoding/json"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/queue"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Message is a message of a channel.
type Message struct {
	Channel   string
	Data      json.RawMessage
	From      string // tag of the client that published, "" for a server; see [Realtime.Tag]
	UserID    string // the publisher, "" for an anonymous one
	UnixMilli int64
	Cursor    realtime.Cursor // the place after it; "" of an ephemeral one
	Ephemeral bool            // it is live only: see [realtime.Ephemeral]

	// Stream is the id of the growing message whose beginning or end this message tells,
	// and State what it is then; "" of other messages. Only a server can set them.
	Stream string
	State  realtime.StreamState
}

const (
	maxWaiting      = 1024 // messages by which a loop may lag
	maxWaitingBytes = wire.MaxRead
)

// feed holds the messages that one loop has not read yet. The client's lock guards it.
type feed struct {
	items queue.Queue[item]
	bytes int
	wake  chan struct{} // holds one
	err   error         // how it ended, after the items
	used  bool          // a loop has begun
	asked bool          // a subscribe for it was sent
	back  rewind        // what it begins with
	begun bool          // it has been told that
}

// item is a message, or, where reset is set, that some were missed.
type item struct {
	msg   Message
	reset string
}

func newFeed(back rewind) *feed {
	return &feed{wake: make(chan struct{}, 1), back: back, begun: back == rewind{}}
}

// push adds an item. A loop that lags too far gets a reset instead of the items it has
// not read, and continues from here, so that it neither blocks other loops nor fills the
// memory.
//
// An ephemeral message replaces one of the same type and user that was not read. Where
// many items wait it is dropped, since it must not cause a reset.
func (f *feed) push(it item) {
	if !f.begun {
		return // the messages that it begins with come later, and go further
	}
	size := len(it.msg.Data)
	if it.msg.Ephemeral {
		f.supersede(it.msg)
		if f.items.Len() >= maxWaiting/4 || f.bytes+size > maxWaitingBytes/4 {
			return
		}
	}
	if n := f.items.Len(); n >= maxWaiting || n > 0 && f.bytes+size > maxWaitingBytes {
		f.items, f.bytes = queue.Queue[item]{}, 0
		f.items.Push(item{reset: "evicted"})
	}
	f.items.Push(it)
	f.bytes += size
	kick(f.wake)
}

// supersede removes an ephemeral message that msg replaces.
func (f *feed) supersede(msg Message) {
	kind := match.TypeOf(msg.Data)
	for range f.items.Len() {
		it := f.items.Pop()
		old := it.msg
		if old.Ephemeral && old.UserID == msg.UserID && (old.UserID != "" || old.From == msg.From) && match.TypeOf(old.Data) == kind {
			f.bytes -= len(old.Data)
			continue
		}
		f.items.Push(it)
	}
}

func (f *feed) pop() (it item, ok bool) {
	if f.items.Len() == 0 {
		return item{}, false
	}
	it = f.items.Pop()
	f.bytes -= len(it.msg.Data)
	return it, true
}

func (f *feed) end(err error) {
	if f.err == nil {
		f.err = err
	}
	kick(f.wake)
}

func kick(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is being woken already
	}
}
