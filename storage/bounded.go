package storage

import (
	"context"
	"io"
	"time"

	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

// bounded is Objects whose calls, except Put, have deadlines of their own; for Put see
// work. A Delete does not begin if the caller's context has ended. Once begun, it does
// not depend on that context: otherwise its outcome would be unknown.
type bounded struct {
	Objects
	opts Options
}

func (b bounded) Delete(ctx context.Context, path string) error {
	return detach.Write(ctx, b.opts.CallTimeout, func(ctx context.Context) error { return b.Objects.Delete(ctx, path) })
}

func (b bounded) List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error) {
	err = detach.Read(ctx, b.opts.CallTimeout, func(ctx context.Context) error {
		list, next, err = b.Objects.List(ctx, prefix, cursor, limit)
		return err
	})
	return list, next, err
}

func (b bounded) Open(ctx context.Context, path string) (content io.ReadSeekCloser, info Info, err error) {
	c := detach.New(ctx)
	stop := c.Bound(b.opts.CallTimeout)
	err = detach.Call(func() (err error) {
		content, info, err = b.Objects.Open(c, path)
		return err
	})
	stop()
	if err != nil {
		err = c.Explain(err)
		c.Cancel()
		return nil, Info{}, err
	}
	return &opened{content, c, b.opts.CallTimeout}, info, nil
}

// opened is an object that is read. Its context lasts until it is closed, since reads
// may use it.
type opened struct {
	content io.ReadSeekCloser
	ctx     *detach.Context
	most    time.Duration // for a call
}

func (o *opened) Read(p []byte) (int, error) {
	defer o.ctx.Bound(o.most)()
	n, err := o.content.Read(p)
	return n, o.ctx.Explain(err)
}

func (o *opened) Seek(offset int64, whence int) (int64, error) {
	defer o.ctx.Bound(o.most)()
	n, err := o.content.Seek(offset, whence)
	return n, o.ctx.Explain(err)
}

func (o *opened) Close() error {
	defer o.ctx.Cancel()
	return o.content.Close()
}
