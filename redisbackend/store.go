package redisbackend

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/redis/rueidis"
)

// A hash has the records of one group, by name: the revision, a colon, the value. A
// set has the groups of a kind.
func (b *Backend) hash(kind, group string) string { return b.key("s", kind, group) }
func (b *Backend) groups(kind string) string      { return b.key("g", kind) }

// item returns a record. What has no revision, as another program has written it, is none,
// as it is to the scripts: an error would end a List at it, and hide the records of others.
func item(k backend.Key, stored string) backend.Item {
	digits, value, found := strings.Cut(stored, ":")
	rev, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !found {
		return backend.Item{Key: k}
	}
	return backend.Item{Key: k, Value: []byte(value), Revision: backend.Revision(rev)}
}

// Get implements [backend.Store]. Only the master is asked.
func (b *Backend) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return backend.Item{}, err
	}
	defer done()
	stored, err := b.client.Do(ctx, b.client.B().Hget().Key(b.hash(k.Kind, k.Group)).Field(k.Name).Build()).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		return backend.Item{Key: k}, nil
	case err != nil:
		return backend.Item{}, b.failed(err)
	}
	return item(k, stored), nil
}

// groupsAtOnce is how many groups List reads in one round trip.
const groupsAtOnce = 256

// List implements [backend.Store].
func (b *Backend) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		ctx, done, err := b.life.Call(ctx)
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		defer done()
		groups := []string{group}
		if group == "" {
			if groups, err = b.client.Do(ctx, b.client.B().Smembers().Key(b.groups(kind)).Build()).AsStrSlice(); err != nil {
				yield(backend.Item{}, b.failed(err))
				return
			}
		}
		for len(groups) > 0 {
			n := min(len(groups), groupsAtOnce)
			if !b.list(ctx, kind, groups[:n], yield) {
				return
			}
			groups = groups[n:]
		}
	}
}

// list yields the records of some groups, and reports whether to go on.
func (b *Backend) list(ctx context.Context, kind string, groups []string, yield func(backend.Item, error) bool) bool {
	cmds := make(rueidis.Commands, len(groups))
	for i, g := range groups {
		cmds[i] = b.client.B().Hgetall().Key(b.hash(kind, g)).Build()
	}
	for i, answer := range b.client.DoMulti(ctx, cmds...) {
		all, err := answer.AsStrMap()
		if err != nil {
			yield(backend.Item{}, b.failed(err))
			return false
		}
		for name, stored := range all {
			it := item(backend.Key{Kind: kind, Group: groups[i], Name: name}, stored)
			if it.Revision != 0 && !yield(it, nil) {
				return false
			}
		}
	}
	return true
}

// Put implements [backend.Store].
func (b *Backend) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if len(w.Value) > backend.MaxValue {
		return 0, backend.ErrTooLarge
	}
	return b.change(ctx, w.Key, w.If, rueidis.BinaryString(w.Value), "0", w.Append)
}

// Delete implements [backend.Store].
func (b *Backend) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if ifRevision == 0 {
		return errors.New("redisbackend: Delete without a revision")
	}
	_, err := b.change(ctx, k, ifRevision, "", "1", e)
	return err
}

func (b *Backend) change(ctx context.Context, k backend.Key, ifRevision backend.Revision, value, del string, e *backend.Entry) (backend.Revision, error) {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	keys := []string{b.hash(k.Kind, k.Group), b.groups(k.Kind), b.key("meta")}
	args := []string{k.Group, k.Name, strconv.FormatUint(uint64(ifRevision), 10), value, del}
	script := putScript
	if e != nil {
		if len(e.Data) > backend.MaxData {
			return 0, backend.ErrTooLarge
		}
		script = stepScript
		keys = append(keys, b.key("log"), b.key("id", e.ID))
		args = append(args, e.ID, rueidis.BinaryString(e.Data), milliseconds(idTime), b.events, b.seen())
	}
	answer, err := script.Exec(ctx, b.client, keys, args).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		return 0, backend.ErrConflict
	case err != nil:
		return 0, b.outcome(err)
	}
	rev, err := strconv.ParseUint(answer, 10, 64)
	return backend.Revision(rev), err
}
