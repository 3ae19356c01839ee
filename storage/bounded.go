package storage

import (
	"context"
	"io"
	"time"

	"github.com/maravilla-realtime/realtime/internal/detach"
)

const (
	// callTime is how long a call of Objects may take, and one of what Open returns.
	callTime = 30 * time.Second
	// workTime is how long Put may work between two reads of its body, and after the
	// end of it, where some stores send what they have gathered to another machine.
	workTime = 5 * time.Minute
)

// bounded is Objects of which each call but Put has a time of its own; for Put see
// work. What cannot be taken back is not
// begun when the caller's context has ended, and not ended by it once it has begun:
// nobody could tell whether it has happened.
type bounded struct{ Objects }

func (b bounded) Delete(ctx context.Context, path string) error {
	return detach.Write(ctx, callTime, func(ctx context.Context) error { return b.Objects.Delete(ctx, path) })
}

func (b bounded) List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error) {
	err = detach.Read(ctx, callTime, func(ctx context.Context) error {
		list, next, err = b.Objects.List(ctx, prefix, cursor, limit)
		return err
	})
	return list, next, err
}

func (b bounded) Open(ctx context.Context, path string) (io.ReadSeekCloser, Info, error) {
	c := detach.New(ctx)
	stop := c.Bound(callTime)
	content, info, err := b.Objects.Open(c, path)
	stop()
	if err != nil {
		err = c.Explain(err)
		c.Cancel()
		return nil, Info{}, err
	}
	return &opened{content, c}, info, nil
}

// opened is an object that is read. Its context lasts until it is closed, since it
// may be what reads are done with.
type opened struct {
	content io.ReadSeekCloser
	ctx     *detach.Context
}

func (o *opened) Read(p []byte) (int, error) {
	defer o.ctx.Bound(callTime)()
	n, err := o.content.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, o.ctx.Explain(err)
}

func (o *opened) Seek(offset int64, whence int) (int64, error) {
	defer o.ctx.Bound(callTime)()
	n, err := o.content.Seek(offset, whence)
	return n, o.ctx.Explain(err)
}

func (o *opened) Close() error {
	defer o.ctx.Cancel()
	return o.content.Close()
}
