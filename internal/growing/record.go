package growing

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fields"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// recordKind is the kind of the records of messages: their group is the channel, their
// name the id.
//
// A Put of a new record may take effect long after the node has repeated it, since nobody
// knew its outcome. If the message had ended meanwhile, it would begin once more. So the
// record stays for a while when the message has ended. (A node that is alone knows all
// outcomes.)
const recordKind = "stream"

// record is what the store has of a message.
type record struct {
	Begin        // without its Key
	node  string // that writes it; of one that has ended, that deletes the record
	ended bool
}

// recordVersion is the first byte of a record. After it come the time, the depth, and 1 if
// it has ended, as unsigned varints, and the texts of the fields in turn, each with its length before it
// as an unsigned varint.
const recordVersion = 1

var errRecord = errors.New("growing: malformed record")

func encodeRecord(r record) []byte {
	b := binary.AppendUvarint([]byte{recordVersion}, uint64(r.UnixMilli))
	b = binary.AppendUvarint(b, uint64(r.Depth))
	if r.ended {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for _, text := range []string{r.Run, r.node, r.User, r.Source, string(r.Metadata)} {
		b = fields.AppendText(b, text)
	}
	return b
}

func decodeRecord(b []byte) (r record, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return r, errRecord
	}
	f := fields.Reader{Rest: b[1:]}
	r.UnixMilli, r.Depth, r.ended = int64(f.Number()), int(f.Number()), f.Number() == 1
	r.Run, r.node, r.User, r.Source = string(f.Text()), string(f.Text()), string(f.Text()), string(f.Text())
	if m := f.Text(); len(m) > 0 {
		r.Metadata = bytes.Clone(m)
	}
	if f.Bad || len(r.node) == 0 || len(r.node) > maxNode {
		return r, errRecord
	}
	return r, nil
}

// maxNode bounds the name of a node, which is part of a key: see [backend.Key].
const maxNode = 255

// open returns the record of a message that is open, if there is one.
func (g *Growing) open(ctx context.Context, k Key) (r record, open bool, err error) {
	it, err := g.node.Store.Get(ctx, storeKey(k))
	if err != nil || it.Revision == 0 {
		return r, false, err
	}
	if r, err = decodeRecord(it.Value); err != nil {
		g.malformed.Report(g.node.Logger, it.Key, err)
		return r, false, err
	}
	r.Key = k
	return r, !r.ended, nil
}

// grave is the record of a message that has ended.
type grave struct {
	backend.Key
	revision backend.Revision
	due      time.Time // when it is deleted
}

// maxGraves bounds them. Beyond it the oldest ones are deleted earlier.
const maxGraves = 1 << 15

// end changes a record to that of a message that has ended, which the log tells as entry
// does. It returns its revision.
func (g *Growing) end(ctx context.Context, k backend.Key, r record, rev backend.Revision, entry *backend.Entry) (backend.Revision, error) {
	if g.node.Alone {
		return 0, g.node.Store.Delete(ctx, k, rev, entry)
	}
	r.ended, r.node = true, g.node.Name()
	rev, err := g.node.Store.Put(ctx, backend.Write{Key: k, Value: encodeRecord(r), If: rev, Append: entry})
	if err == nil {
		g.bury(k, rev)
	}
	return rev, err
}

// bury has a record deleted when no Put can still be on its way.
func (g *Growing) bury(k backend.Key, rev backend.Revision) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.ContainsFunc(g.graves, func(other grave) bool { return other.Key == k && other.revision == rev }) {
		g.graves = append(g.graves, grave{k, rev, time.Now().Add(late)})
		g.signal()
	}
}

// dueGraves returns those that are to be deleted. g.mu must be held.
func (g *Growing) dueGraves(now time.Time) (due []grave) {
	n := 0
	for n < len(g.graves) && (!g.graves[n].due.After(now) || len(g.graves)-n > maxGraves) {
		n++
	}
	due = slices.Clone(g.graves[:n])
	g.graves = slices.Delete(g.graves, 0, n)
	return due
}

// erase deletes records. Where the store fails, it leaves the rest for later.
func (g *Growing) erase(ctx context.Context, graves []grave) {
	for i, dead := range graves {
		call, cancel := context.WithTimeout(ctx, bounded.CallTime)
		err := g.node.Store.Delete(call, dead.Key, dead.revision, nil)
		cancel()
		if err == nil || errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrClosed) {
			continue
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, dead := range graves[i:] {
			dead.due = time.Now().Add(late)
			g.graves = append(g.graves, dead)
		}
		return
	}
}
