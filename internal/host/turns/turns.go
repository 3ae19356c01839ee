// Package turns bounds how many questions somebody is asked at the same time, of whom it
// is not known how many they can answer at once.
//
// A policy that asks a database with one connection answers one question after the other:
// of many that are asked at the same time, the last would wait for longer than each may.
// Another policy takes long for each, and answers any number at once. So few questions
// are asked in the beginning, and more as quick answers come, or if none comes at all.
package turns

import (
	"sync"
	"time"
)

const (
	first = 16
	most  = 64

	quick   = 500 * time.Millisecond // an answer that comes so soon lets one question more be asked
	patient = time.Second            // if no question ends within it, more are asked
	widen   = 4                      // times as many
)

// Turns are the turns of one inquiry. The zero value is ready. Its methods may be called
// concurrently.
type Turns struct {
	mu      sync.Mutex
	more    int // questions that may be open at the same time, beside first
	open    int
	waiting []chan struct{} // in their order; each is closed when its turn has come
	idle    *time.Timer     // runs while somebody waits
}

// Take waits until a question may be asked.
func (t *Turns) Take() {
	t.mu.Lock()
	if t.open < first+t.more {
		t.open++
		t.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	t.waiting = append(t.waiting, turn)
	if len(t.waiting) == 1 {
		t.watch()
	}
	t.mu.Unlock()
	<-turn
}

// Give must be called when a question has ended that was asked at the time of Take.
func (t *Turns) Give(asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if time.Since(asked) < quick {
		t.grow(1)
	}
	t.admit()
}

// watch expects that a question ends soon. The lock must be held, also for what follows.
func (t *Turns) watch() {
	if t.idle == nil {
		t.idle = time.AfterFunc(patient, t.hurry)
	} else {
		t.idle.Reset(patient)
	}
}

// hurry has more questions asked, since none has ended for a while.
func (t *Turns) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.grow((widen - 1) * (first + t.more))
	t.admit()
}

func (t *Turns) grow(n int) { t.more = min(t.more+n, most-first) }

// admit lets those go on whose turn has come.
func (t *Turns) admit() {
	for len(t.waiting) > 0 && t.open < first+t.more {
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
		t.open++
	}
	switch {
	case len(t.waiting) > 0:
		t.watch()
	case t.idle != nil:
		t.idle.Stop()
	}
}
