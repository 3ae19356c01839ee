package poll

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Poller watches connections. Its methods may be called concurrently.
type Poller struct {
	set    *os.File // of epoll
	handle uintptr  // of set

	mu      sync.Mutex
	closed  bool
	watches []*Watch // by slot; nil where it is free
	free    []int32
	serial  int32 // of the last watch
}

// New returns a poller. start starts its goroutine, which ends after [Poller.Close].
func New(start func(func())) (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poll: epoll_create1: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that os.NewFile gives it to the runtime's poller
		_ = syscall.Close(fd) // nothing is in it
		return nil, fmt.Errorf("poll: %w", err)
	}
	p := &Poller{set: os.NewFile(uintptr(fd), "epoll"), handle: uintptr(fd)}
	set, err := p.set.SyscallConn()
	if err != nil {
		p.set.Close()
		return nil, fmt.Errorf("poll: %w", err)
	}
	start(func() { p.run(set) })
	return p, nil
}

// Close ends the poller. Its watches tell nothing from now on; a call of a listener may
// be under way.
func (p *Poller) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.set.Close()
	}
}

// Watch is one connection of a [Poller].
type Watch struct {
	poller *Poller
	conn   syscall.RawConn
	to     Listener
	slot   int32
	serial int32

	mu     sync.Mutex
	wanted Events
}

// Watch tells to of events of c from now on: those that are asked for, and Gone. Each
// is told when it comes to be, and once more when it is asked for while it holds.
// Errors: [ErrUnsupported], [ErrClosed] and those of the kernel, which may have no room.
//
// [Watch.Stop] must be called before c is closed.
func (p *Poller) Watch(c syscall.Conn, ask Events, to Listener) (*Watch, error) {
	conn, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &Watch{poller: p, conn: conn, to: to, wanted: ask}
	if err := p.add(w); err != nil {
		return nil, err
	}
	if err := w.control(syscall.EPOLL_CTL_ADD); err != nil {
		p.remove(w)
		return nil, err
	}
	return w, nil
}

func (p *Poller) add(w *Watch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if n := len(p.free); n > 0 {
		w.slot, p.free = p.free[n-1], p.free[:n-1]
		p.watches[w.slot] = w
	} else {
		w.slot = int32(len(p.watches))
		p.watches = append(p.watches, w)
	}
	p.serial++
	w.serial = p.serial
	return nil
}

func (p *Poller) remove(w *Watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watches[w.slot] == w {
		p.watches[w.slot] = nil
		p.free = append(p.free, w.slot)
	}
}

// find returns who is to be told of an event; nil if it has been stopped since.
func (p *Poller) find(slot, serial int32) Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.watches[slot]; w != nil && w.serial == serial && !p.closed {
		return w.to
	}
	return nil
}

// Ask asks for events as well, and has them told again if they hold already.
func (w *Watch) Ask(events Events) error { return w.change(events, 0) }

// Spare asks for events no longer.
func (w *Watch) Spare(events Events) error { return w.change(0, events) }

func (w *Watch) change(more, less Events) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = (w.wanted | more) &^ less
	return w.control(syscall.EPOLL_CTL_MOD)
}

// Stop ends the watch. A call of its listener may be under way. Stopping it again does
// nothing.
func (w *Watch) Stop() {
	w.poller.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.control(syscall.EPOLL_CTL_DEL) // fails if either is closed
}

// edge is EPOLLET, which package syscall has with its sign.
const edge = 1 << 31

// control must not be called concurrently.
func (w *Watch) control(op int) error {
	ev := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edge, Fd: w.slot, Pad: w.serial}
	if w.wanted&Readable != 0 {
		ev.Events |= syscall.EPOLLIN
	}
	if w.wanted&Writable != 0 {
		ev.Events |= syscall.EPOLLOUT
	}
	var failed error
	err := w.conn.Control(func(fd uintptr) {
		// handle is that of set as long as that is open.
		failed = w.poller.open(func(set uintptr) error { return syscall.EpollCtl(int(set), op, int(fd), &ev) })
	})
	if err != nil {
		return err
	}
	if failed == syscall.EPERM {
		return ErrUnsupported
	}
	return failed
}

// open calls f with the set, unless it is closed.
func (p *Poller) open(f func(set uintptr) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return f(p.handle)
}

// run tells of events until the poller is closed.
func (p *Poller) run(set syscall.RawConn) {
	var events [256]syscall.EpollEvent
	for {
		n := 0
		err := set.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events[:], 0) // which fails only when interrupted
			return n > 0
		})
		if err != nil {
			return
		}
		for i := range events[:n] {
			if to := p.find(events[i].Fd, events[i].Pad); to != nil {
				to.Ready(eventsOf(events[i].Events))
			}
		}
	}
}

func eventsOf(bits uint32) (events Events) {
	if bits&(syscall.EPOLLIN) != 0 {
		events |= Readable
	}
	if bits&syscall.EPOLLOUT != 0 {
		events |= Writable
	}
	if bits&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		events |= Gone
	}
	return events
}
