// Package deadletters remembers the events that handlers of a node have given up, and hands one to
// its handler once more, on whichever node holds the group.
package deadletters

import (
	"errors"
	"slices"
	"sync"

	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Letter is an event that was not handled.
type Letter struct {
	handle.Delivery       // the last one
	Err             error // of the last attempt
}

// List are the newest events that handlers of a node have given up. The zero List are
// ready for use. Its methods may be called concurrently, and do not block.
type List struct {
	mu  sync.Mutex
	all []Letter // the newest last
}

// maxLetters bounds what is remembered.
const maxLetters = 100

// All returns the letters, the newest first, without the data of their events.
func (ls *List) All() []Letter {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	list := slices.Clone(ls.all)
	slices.Reverse(list)
	return list
}

// Add remembers an event that was given up, except for its data, which may be large.
func (ls *List) Add(d handle.Delivery, err error) {
	event := *d.Event
	event.Data, d.Event = nil, &event
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if i := ls.find(d.Group, wire.Cursor(d.Pos), d.Handler); i >= 0 {
		ls.all = slices.Delete(ls.all, i, i+1) // the group's progress was lost, and the event handled again
	}
	if len(ls.all) == maxLetters {
		ls.all = slices.Delete(ls.all, 0, 1)
	}
	ls.all = append(ls.all, Letter{d, err})
}

// find returns the place of a letter, or -1. The caller holds mu.
func (ls *List) find(group, cursor string, handler int) int {
	return slices.IndexFunc(ls.all, func(l Letter) bool {
		return l.Group == group && l.Handler == handler && wire.Cursor(l.Pos) == cursor
	})
}

// retried notes what has become of a letter that was retried, on whichever node.
func (ls *List) retried(a answer) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	i := ls.find(a.Group, a.Cursor, a.Handler)
	switch {
	case i < 0:
	case a.Outcome == handled:
		ls.all = slices.Delete(ls.all, i, i+1)
	case a.Outcome == failed:
		ls.all[i].Attempt, ls.all[i].Err = a.Attempt, errors.New(a.Error)
	}
}
