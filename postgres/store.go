package postgres

import (
	"context"
	"errors"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
)

// Get implements [backend.Store].
func (b *Backend) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	it := backend.Item{Key: k}
	err := b.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var rev int64
		err := conn.QueryRow(ctx, in(b.schema, `select rev, value from "realtime".store where kind = $1 and grp = $2 and name = $3`),
			k.Kind, []byte(k.Group), []byte(k.Name)).Scan(&rev, &it.Value)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		it.Revision = backend.Revision(rev)
		return err
	})
	return it, err
}

// listMost is how many records of the store are read at once.
const listMost = 1000

// List implements [backend.Store]. It reads page by page, in the order of the keys, and
// holds no connection while it yields.
func (b *Backend) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		last := backend.Key{Kind: kind, Group: group}
		for {
			items, err := b.list(ctx, last, group != "")
			if err != nil {
				yield(backend.Item{}, err)
				return
			}
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
			if len(items) < listMost {
				return
			}
			last = items[len(items)-1].Key
		}
	}
}

// list reads the records after a key, of its group only or of all.
func (b *Backend) list(ctx context.Context, after backend.Key, oneGroup bool) (items []backend.Item, err error) {
	sql := `select grp, name, rev, value from "realtime".store where kind = $1 and (grp, name) > ($2, $3) order by grp, name limit $4`
	if oneGroup {
		sql = `select grp, name, rev, value from "realtime".store where kind = $1 and grp = $2 and name > $3 order by name limit $4`
	}
	err = b.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		items = nil
		rows, err := conn.Query(ctx, in(b.schema, sql), after.Kind, []byte(after.Group), []byte(after.Name), listMost)
		if err != nil {
			return err
		}
		var group, name, value []byte
		var rev int64
		_, err = pgx.ForEachRow(rows, []any{&group, &name, &rev, &value}, func() error {
			items = append(items, backend.Item{
				Key:   backend.Key{Kind: after.Kind, Group: string(group), Name: string(name)},
				Value: append([]byte{}, value...), Revision: backend.Revision(rev),
			})
			return nil
		})
		return err
	})
	return items, err
}

// Put implements [backend.Store].
func (b *Backend) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if len(w.Value) > backend.MaxValue {
		return 0, backend.ErrTooLarge
	}
	value := w.Value
	if value == nil {
		value = []byte{}
	}
	return b.change(ctx, w.Key, w.If, value, w.Append)
}

// Delete implements [backend.Store].
func (b *Backend) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if ifRevision == 0 {
		return errors.New("postgres: Delete without a revision")
	}
	_, err := b.change(ctx, k, ifRevision, nil, e)
	return err
}

func (b *Backend) change(ctx context.Context, k backend.Key, ifRevision backend.Revision, value []byte, e *backend.Entry) (backend.Revision, error) {
	r := &request{kind: &k.Kind, grp: []byte(k.Group), name: []byte(k.Name), rev: int64(ifRevision), value: value}
	if err := r.entry(e); err != nil {
		return 0, err
	}
	if err := b.writer.do(ctx, r); err != nil {
		return 0, err
	}
	if r.made == 0 {
		return 0, backend.ErrConflict
	}
	return backend.Revision(r.made), nil
}
