package storage

import (
	"context"
	"io"
	"time"

	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

// work is the body of a Put. Before it returns io.EOF it takes the lock of the path.
// So the rest of the Put, in which the object becomes visible and is announced, runs
// under the lock, but the body, which takes as long as its sender likes, does not.
// The deadline of the store does not run while it waits for the body or the lock.
//
// The store works with ctx. Until the end of the body, ctx ends with the context of
// the caller. From then on an end would leave open whether the object is stored, so
// ctx ends only if the store takes too long.
type work struct {
	body   io.Reader
	ctx    *detach.Context
	most   time.Duration // for the store
	stop   func()        // stops the deadline of the store
	lock   func() (func(), error)
	unlock func()
	ended  bool
}

func begin(ctx context.Context, body io.Reader, most time.Duration, lock func() (func(), error)) *work {
	w := &work{body: body, ctx: detach.New(ctx), most: most, lock: lock, unlock: func() {}}
	w.stop = w.ctx.Bound(most)
	return w
}

// close must be called when the object has been stored and announced.
func (w *work) close() {
	w.stop()
	w.ctx.Cancel()
	w.unlock()
}

func (w *work) Read(p []byte) (int, error) {
	w.stop()
	defer func() { w.stop = w.ctx.Bound(w.most) }()
	n, err := w.body.Read(p)
	if err == io.EOF && !w.ended {
		err = w.end()
	}
	return n, err
}

// end takes the lock and passes the point of no return.
func (w *work) end() error {
	unlock, err := w.lock()
	if err != nil {
		return err
	}
	w.unlock = unlock
	if err := w.ctx.Detach(); err != nil {
		return err
	}
	w.ended = true
	return io.EOF
}
