package natsbackend

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// store is the plain store: Put and Delete append nothing. Each record is the newest
// message of a subject of its own; a deletion is a message that says so, which goes
// away by itself.
type store struct {
	b    *Backend
	send func(ctx context.Context, epoch uint64, m *nats.Msg) (*jetstream.PubAck, error)
}

const (
	deletedHeader = "Realtime-Deleted"
	// deletedTime is how long a deletion stays, so that a Put which read the record
	// before it conflicts.
	deletedTime = 2 * time.Minute
)

// encode makes a token of a subject of any bytes: of letters, digits, '-', '_', and a
// last '=', so that none is empty.
func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) + "=" }

func decode(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimSuffix(token, "="))
	if err != nil {
		return "", fmt.Errorf("natsbackend: %.80q is no name: %w", token, err)
	}
	return string(b), nil
}

// maxName is the size of the longest part of a key, in bytes. The server ends a connection
// for good that names a subject over 4 KB.
const maxName = 255

// subject returns the subject of the records whose keys begin with some parts.
func (s *store) subject(parts ...string) (string, error) {
	tokens := []string{s.b.name, "store"}
	for _, p := range parts {
		if len(p) > maxName {
			return "", fmt.Errorf("%w: a key of %d bytes", backend.ErrTooLarge, len(p))
		}
		tokens = append(tokens, encode(p))
	}
	return strings.Join(tokens, "."), nil
}

// newestOf is newest, of the subject of a key.
func (s *store) newestOf(ctx context.Context, k backend.Key) (*stored, error) {
	subject, err := s.subject(k.Kind, k.Group, k.Name)
	if err != nil {
		return nil, err
	}
	return s.newest(ctx, subject)
}

func (s *store) key(subject string) (k backend.Key, err error) {
	t := strings.Split(subject, ".")
	if len(t) != 5 {
		return k, fmt.Errorf("natsbackend: %.80q is no subject of a record", subject)
	}
	for i, part := range []*string{&k.Kind, &k.Group, &k.Name} {
		if *part, err = decode(t[2+i]); err != nil {
			return k, err
		}
	}
	return k, nil
}

// The sequence numbers of a stream go back when it is put back to an earlier state.
// So a revision is the number, and before it the epoch of the log, in units of
// about a second: it grows with each change of either, as raise makes sure.
const (
	seqBits   = 33
	epochUnit = 20 // bits of the epoch that a revision leaves out
)

func revision(epoch, seq uint64) backend.Revision {
	return backend.Revision(epoch>>epochUnit<<seqBits | seq)
}

// expected returns the sequence number that a revision stands for in an epoch. Of
// another epoch it stands for none.
func expected(epoch uint64, rev backend.Revision) (seq uint64, ok bool) {
	seq = uint64(rev) & (1<<seqBits - 1)
	return seq, rev == 0 || revision(epoch, seq) == rev
}

func (m *stored) deleted() bool { return isDeletion(m.header()) }

// isDeletion reports whether a message says that there is no record.
func isDeletion(h nats.Header) bool {
	return h.Get(deletedHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// newest returns the newest message of a subject, which may have wildcards, from the
// leader: nil if there is none.
func (s *store) newest(ctx context.Context, subject string) (*stored, error) {
	return s.b.leaderGet(ctx, s.b.storeStream(), map[string]any{"last_by_subj": subject})
}

// Get implements [backend.Store].
func (s *store) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	ctx, done, err := s.b.life.Call(ctx)
	if err != nil {
		return backend.Item{}, err
	}
	defer done()
	m, err := s.newestOf(ctx, k)
	if err != nil || m == nil || m.deleted() {
		return backend.Item{Key: k}, err
	}
	return s.item(k, m.Data, m.Seq), nil
}

func (s *store) item(k backend.Key, data []byte, seq uint64) backend.Item {
	if data == nil {
		data = []byte{}
	}
	return backend.Item{Key: k, Value: data, Revision: revision(s.b.epoch.Load(), seq)}
}

// Put implements [backend.Store].
func (s *store) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	rev, err := s.write(ctx, w.Key, w.Value, w.If, nats.Header{})
	if w.If != 0 || !errors.Is(err, backend.ErrConflict) {
		return rev, err
	}
	// Where there is no record, there may be the deletion of one.
	ctx, done, err := s.b.life.Call(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	m, err := s.newestOf(ctx, w.Key)
	switch {
	case err != nil:
		return 0, err
	case m == nil || !m.deleted():
		return 0, backend.ErrConflict
	}
	return s.write(ctx, w.Key, w.Value, revision(s.b.epoch.Load(), m.Seq), nats.Header{})
}

// Delete implements [backend.Store].
func (s *store) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, _ *backend.Entry) error {
	if ifRevision == 0 {
		return errors.New("natsbackend: Delete without a revision")
	}
	_, err := s.write(ctx, k, nil, ifRevision, nats.Header{
		deletedHeader: {"1"}, jetstream.MsgTTLHeader: {deletedTime.String()},
	})
	return err
}

func (s *store) write(ctx context.Context, k backend.Key, value []byte, rev backend.Revision, h nats.Header) (backend.Revision, error) {
	_, done, err := s.b.life.Call(ctx)
	if err != nil {
		return 0, err
	}
	done()
	epoch := s.b.epoch.Load()
	seq, ok := expected(epoch, rev)
	if !ok {
		return 0, backend.ErrConflict // of an epoch that has ended
	}
	subject, err := s.subject(k.Kind, k.Group, k.Name)
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: subject, Data: value, Header: h}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	ack, err := s.send(ctx, epoch, m)
	switch {
	case errors.Is(err, errEpoch):
		return 0, backend.ErrConflict // the caller reads the record again
	case err != nil:
		return 0, err
	}
	return revision(epoch, ack.Sequence), nil
}

// List implements [backend.Store]. It pages through the messages by their sequence
// numbers: a record that is written meanwhile moves to the end, perhaps before it was
// seen. So the last page is one that has all that there is, and not of a replica which lags
// behind those of earlier pages: it has what the leader said was newest just before.
func (s *store) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		ctx, done, err := s.b.life.Call(ctx)
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		defer done()
		items, err := s.list(ctx, kind, group)
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// listMax is how many messages are read at once.
const listMax = 1000

func (s *store) list(ctx context.Context, kind, group string) ([]backend.Item, error) {
	parts := []string{kind}
	if group != "" {
		parts = append(parts, group)
	}
	subject, err := s.subject(parts...)
	if err != nil {
		return nil, err
	}
	filter := subject + ".>"
	found := make(map[backend.Key]backend.Item)
	for from := uint64(1); ; {
		last, err := s.newest(ctx, filter)
		if err != nil || last == nil || last.Seq < from {
			return slices.Collect(maps.Values(found)), err
		}
		before := from
		request := map[string]any{"seq": from, "batch": listMax, "next_by_subj": filter}
		pending, err := s.b.batch(ctx, s.b.storeStream(), request, func(m *nats.Msg, seq uint64, _ time.Time) error {
			from = seq + 1
			k, err := s.key(m.Header.Get(jetstream.SubjectHeader))
			if err != nil {
				return nil // another program has sent it: it is no record
			}
			s.b.learn(m.Header)
			if delete(found, k); !isDeletion(m.Header) {
				found[k] = s.item(k, m.Data, seq)
			}
			return nil
		})
		switch {
		case err != nil:
			return nil, err
		case from > last.Seq && pending == 0:
			return slices.Collect(maps.Values(found)), nil
		case from == before: // nothing is there any longer, or the replica lags: the leader knows
			if err := s.b.life.Pause(ctx, time.Millisecond); err != nil {
				return nil, err
			}
		}
	}
}
