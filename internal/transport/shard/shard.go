// Package shard drives many connections with a few goroutines: an idle connection
// costs neither a goroutine nor a timer, and an event that concerns many of them wakes
// each shard once.
//
// A connection is a [Task] of a [Pool]. One shard runs it, one task after the other:
// when somebody wakes it, and when its time has come. It writes to a [Link], which never
// blocks.
package shard

import (
	"container/heap"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// Runner is what a task does.
type Runner interface {
	// Run does what there is to do. It must not block or panic, and should do little at
	// a time: the other connections of the shard wait. To go on after them, it calls
	// [Task.Wake].
	//
	// If nobody wakes the task, Run is called again at the time that it returns; the zero
	// time is never. Where it returns false the task has ended, and Run is not called any
	// longer.
	Run() (again time.Time, live bool)
}

// Pool is some shards. Its methods may be called concurrently.
type Pool struct {
	start  func(func())
	log    *slog.Logger
	began  time.Time
	shards []shard
	next   atomic.Uint32

	mu     sync.Mutex
	closed bool
	poller *poll.Poller // nil until a connection needs it, and where there is none
	told   bool         // that there is none
}

// New returns a pool of n shards. It calls start for each goroutine that it needs: those
// of the shards when they have their first tasks. They end when [Pool.Close] was called
// and all tasks have ended.
//
// Where the system has no room to watch a connection, that one gets goroutines of its own,
// and this is logged once.
func New(n int, start func(func()), log *slog.Logger) *Pool {
	p := &Pool{start: start, log: log, began: time.Now(), shards: make([]shard, n)}
	for i := range p.shards {
		s := &p.shards[i]
		s.pool, s.bell = p, make(chan struct{}, 1)
	}
	return p
}

// Close has the goroutines end. No task may be started after it.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	poller := p.poller
	p.mu.Unlock()
	if poller != nil {
		poller.Close()
	}
	for i := range p.shards {
		p.shards[i].ring()
	}
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Began returns when the pool was made.
func (p *Pool) Began() time.Time { return p.began }

// since returns a time as the tasks of the pool are ordered by it.
func (p *Pool) since(t time.Time) time.Duration { return t.Sub(p.began) }

// Task is a connection that a shard runs.
type Task struct {
	shard  *shard
	runner Runner
	woken  atomic.Bool // it is, or was not started yet

	// the shard's
	due   time.Duration // since the pool began
	place int           // in shard.later, from 1 on; 0: it is not there
	ended bool
}

// NewTask returns a task that begins when it is started.
func (p *Pool) NewTask(r Runner) *Task {
	t := &Task{shard: &p.shards[int(p.next.Add(1))%len(p.shards)], runner: r}
	t.woken.Store(true)
	return t
}

// Start has the task run. It must be called once.
func (t *Task) Start() {
	s := t.shard
	s.tasks.Add(1)
	s.once.Do(func() { s.pool.start(s.loop) })
	s.push(t)
}

// Wake has the task run soon, or once more if it runs now. Any number of calls before
// that are one. Any goroutine may call it, also before Start, and it does not block.
func (t *Task) Wake() {
	if !t.woken.Swap(true) {
		t.shard.push(t)
	}
}

// Ready implements [poll.Listener] for a task that finds out by itself what has happened.
func (t *Task) Ready(poll.Events) { t.Wake() }

// shard runs some of the tasks.
type shard struct {
	pool  *Pool
	bell  chan struct{}
	once  sync.Once
	tasks atomic.Int64

	mu    sync.Mutex
	dirty []*Task // that were woken; guarded by mu

	later schedule
	_     [64]byte // the next one is in another cache line
}

func (s *shard) push(t *Task) {
	s.mu.Lock()
	s.dirty = append(s.dirty, t)
	first := len(s.dirty) == 1
	s.mu.Unlock()
	if first {
		s.ring()
	}
}

// ring wakes the goroutine. Any number of rings before it looks are one.
func (s *shard) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// mostKept is how much room for tasks that were woken is kept.
const mostKept = 1 << 10

// take returns the tasks that were woken. empty is used for those that follow.
func (s *shard) take(empty []*Task) []*Task {
	if cap(empty) > mostKept {
		empty = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	woken := s.dirty
	s.dirty = empty
	return woken
}

// loop runs tasks until the pool is closed and there are none.
func (s *shard) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var woken []*Task
	for set := time.Duration(0); ; {
		s.wakeLate()
		woken = s.take(woken[:0])
		for _, t := range woken {
			if !t.ended {
				s.run(t)
			}
		}
		if clear(woken); len(woken) > 0 {
			continue // there may be more
		}
		if s.pool.isClosed() && s.tasks.Load() == 0 {
			return
		}
		if next := s.later.first(); next != set {
			set = next
			timer.Reset(set - s.pool.since(time.Now()))
		}
		select {
		case <-s.bell:
		case <-timer.C:
			set = 0
		}
	}
}

// wakeLate wakes the tasks whose time has come.
func (s *shard) wakeLate() {
	if len(s.later) == 0 {
		return
	}
	for now := s.pool.since(time.Now()); s.later.first() <= now; {
		t := s.later[0]
		s.later.remove(t)
		t.Wake()
	}
}

func (s *shard) run(t *Task) {
	t.woken.Store(false)
	again, live := t.runner.Run()
	switch {
	case !live:
		t.ended, t.runner = true, nil
		t.woken.Store(true) // nobody wakes it
		s.later.remove(t)
		s.tasks.Add(-1)
	case again.IsZero():
		s.later.remove(t)
	default:
		s.later.set(t, s.pool.since(again))
	}
}

// schedule is a heap of the tasks that have a time.
type schedule []*Task

// never is after all times.
const never = 1<<63 - 1

// first returns the time of the task that is due first.
func (l schedule) first() time.Duration {
	if len(l) == 0 {
		return never
	}
	return l[0].due
}

func (l *schedule) set(t *Task, due time.Duration) {
	switch {
	case t.place == 0:
		t.due = due
		heap.Push(l, t)
	case t.due != due:
		t.due = due
		heap.Fix(l, t.place-1)
	}
}

func (l *schedule) remove(t *Task) {
	if t.place > 0 {
		heap.Remove(l, t.place-1)
	}
}

// Len implements [heap.Interface], as do the methods that follow.
func (l schedule) Len() int { return len(l) }

func (l schedule) Less(i, j int) bool { return l[i].due < l[j].due }

func (l schedule) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i+1, j+1
}

// Push implements [heap.Interface].
func (l *schedule) Push(x any) {
	t := x.(*Task)
	*l = append(*l, t)
	t.place = len(*l)
}

// Pop implements [heap.Interface].
func (l *schedule) Pop() any {
	last := len(*l) - 1
	t := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	t.place = 0
	return t
}
