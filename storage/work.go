package storage

import (
	"context"
	"io"
	"time"

	"github.com/maravilla-realtime/realtime/internal/detach"
)

// work is the body of a Put. Its end can be reached by one writer of a path at a
// time. What follows the end, in which the object becomes visible and is announced,
// is thereby under the lock, and the body, which takes as long as its sender likes,
// is not. The time of the store does not run while it waits for either.
//
// The store works with ctx: until the end of the body that ends with the context of
// the caller, and from there on, where an error would leave open whether the object
// is stored, only when the store takes too long.
type work struct {
	body   io.Reader
	ctx    *detach.Context
	most   time.Duration // for the store
	stop   func()        // the time of the store
	lock   func() (func(), error)
	unlock func()
	ended  bool
}

func begin(ctx context.Context, body io.Reader, most time.Duration, lock func() (func(), error)) *work {
	w := &work{body: body, ctx: detach.New(ctx), most: most, lock: lock, unlock: func() {}}
	w.stop = w.ctx.Bound(most)
	return w
}

// close is called when everything is done, and announced.
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

// end passes the point of no return.
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
