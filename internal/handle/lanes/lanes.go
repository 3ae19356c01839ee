// Package lanes runs the tasks of one key in order, and those of different keys in
// parallel.
package lanes

import (
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Lanes runs tasks. Those of one key run one after another, in the order they
// were added. Those of different keys run in parallel, at most workers of them
// at once. A lane exists while it has tasks, and a worker's goroutine while there is
// a task to run.
type Lanes[T any] struct {
	run     func(T) time.Duration
	workers int

	mu      sync.Mutex
	lanes   map[string]*lane[T]
	ready   queue.Queue[*lane[T]] // those with a task to run now
	running int                   // workers
	closed  bool
	all     sync.WaitGroup // of workers and timers
}

// lane holds the tasks of one key. It is in ready, with a worker, or waiting for its
// timer.
type lane[T any] struct {
	key   string
	tasks queue.Queue[T]
	timer *time.Timer // set while it waits
}

// New returns lanes that call run with each task, up to workers at once.
// If run returns more than zero, the task is run again after that time; only its
// own lane waits meanwhile. If run ends its goroutine (by runtime.Goexit), the task
// is run again at once. run must not panic.
func New[T any](workers int, run func(T) time.Duration) *Lanes[T] {
	return &Lanes[T]{run: run, workers: workers, lanes: make(map[string]*lane[T])}
}

// Add adds a task to the lane of key. It never waits; after Close it does
// nothing.
func (l *Lanes[T]) Add(key string, task T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if at := l.lanes[key]; at != nil {
		at.tasks.Push(task)
		return
	}
	at := &lane[T]{key: key}
	at.tasks.Push(task)
	l.lanes[key] = at
	l.makeReady(at)
}

// Close drops the tasks that are not running, and waits for those that are.
func (l *Lanes[T]) Close() {
	l.mu.Lock()
	l.closed = true
	for _, at := range l.lanes {
		if at.timer != nil && at.timer.Stop() {
			l.all.Done()
		}
	}
	l.mu.Unlock()
	l.all.Wait()
}

func (l *Lanes[T]) makeReady(at *lane[T]) {
	l.ready.Push(at)
	if l.running < l.workers {
		l.running++
		l.all.Go(l.work)
	}
}

func (l *Lanes[T]) work() {
	var at *lane[T] // while its task runs
	l.mu.Lock()
	defer func() {
		if at != nil { // run has ended this goroutine: start another one instead
			l.mu.Lock()
			l.ready.Push(at)
			l.all.Go(l.work)
		} else {
			l.running--
		}
		l.mu.Unlock()
	}()
	for l.ready.Len() > 0 && !l.closed {
		at = l.ready.Pop()
		task := at.tasks.At(0)
		l.mu.Unlock()
		again := l.run(task)
		l.mu.Lock()
		l.ran(at, again)
		at = nil
	}
}

// ran puts a lane whose task was run where it belongs: back, on its timer, or away.
func (l *Lanes[T]) ran(at *lane[T], again time.Duration) {
	switch {
	case l.closed:
	case again > 0:
		l.wait(at, again)
	default:
		at.tasks.Pop()
		if at.tasks.Len() > 0 {
			l.ready.Push(at) // after the others, so that no lane starves them
		} else {
			delete(l.lanes, at.key)
		}
	}
}

func (l *Lanes[T]) wait(at *lane[T], d time.Duration) {
	l.all.Add(1)
	at.timer = time.AfterFunc(d, func() {
		defer l.all.Done()
		l.mu.Lock()
		defer l.mu.Unlock()
		at.timer = nil
		if !l.closed {
			l.makeReady(at)
		}
	})
}
