// Package slots bounds what is done at the same time, as a channel with a buffer does,
// and takes no memory for it while nobody waits.
package slots

import (
	"slices"
	"sync"
)

// Slots are given to those who ask in their order. The zero Slots are free. The methods
// may be called concurrently.
type Slots struct {
	mu      sync.Mutex
	taken   int
	waiting *queue // nil while nobody waits
}

// queue is who waits: each channel is closed when a slot is given to it.
type queue []chan struct{}

// Ticket is the place of one who waits for a slot.
type Ticket <-chan struct{}

// Try takes a slot, if fewer than most are taken.
func (s *Slots) Try(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= most {
		return false
	}
	s.taken++
	return true
}

// Take takes a slot, if fewer than most are taken: then the ticket is nil. Otherwise the
// caller has one when the ticket is closed, unless it calls Cancel.
func (s *Slots) Take(most int) Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken < most {
		s.taken++
		return nil
	}
	given := make(chan struct{})
	if s.waiting == nil {
		s.waiting = new(queue)
	}
	*s.waiting = append(*s.waiting, given)
	return given
}

// Cancel ends the wait for a slot. One that was given meanwhile is given back.
func (s *Slots) Cancel(t Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		i := slices.IndexFunc(*s.waiting, func(c chan struct{}) bool { return t == (<-chan struct{})(c) })
		if i >= 0 {
			s.forget(i)
			return
		}
	}
	s.give()
}

// Give gives a slot back.
func (s *Slots) Give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give()
}

func (s *Slots) give() {
	if s.waiting == nil {
		s.taken--
		return
	}
	close((*s.waiting)[0])
	s.forget(0)
}

func (s *Slots) forget(i int) {
	if *s.waiting = slices.Delete(*s.waiting, i, i+1); len(*s.waiting) == 0 {
		s.waiting = nil
	}
}
