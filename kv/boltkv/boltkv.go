// Package boltkv keeps the entries of a [kv.Store] in one file, with bbolt. Values,
// expiry and versions survive the process.
//
//	engine, err := boltkv.Open("app.kv", nil)
//	…
//	defer engine.Close()
//	store := kv.New(rt, &kv.Options{Engine: engine})
//	defer store.Close()
//
// A write returns when it is on disk. Writes run one at a time: some hundred a
// second, or some thousand on a fast disk. One process at a time may open the file.
//
// If a broken disk or another program has damaged a record, Get of it returns an
// error. List and Expiring skip it, which is logged once. [Engine.Put] replaces it and
// [Engine.Delete] removes it. A Store does neither, since it cannot know what was
// there.
package boltkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/said"
	"github.com/maravilla-realtime/realtime/kv"
	bolt "go.etcd.io/bbolt"
)

// The file has two buckets. Entries are found by namespace, 0, key; those that
// expire also by the time, in 8 bytes of big-endian milliseconds, followed by the same
// name, so that the order of bytes is that of time. No name has a 0.
var (
	entriesBucket = []byte("entries")
	timesBucket   = []byte("times")
)

// lockTime is how long Open waits for another process to close the file.
const lockTime = 5 * time.Second

// Options are all optional: the zero value of each field means its default, and
// a nil *Options means all defaults.
type Options struct {
	// Logger gets an error for each damaged record, once, and for 100 records at most.
	// Default: [slog.Default].
	Logger *slog.Logger
}

// Engine implements [kv.Engine].
type Engine struct {
	db       *bolt.DB
	log      *slog.Logger
	reported said.Once // names of damaged records
}

var _ kv.Engine = (*Engine)(nil)

// Open opens the file, or makes it, readable for its owner only. It fails if
// another process has it and does not close it within 5 s.
func Open(path string, opts *Options) (*Engine, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTime})
	if err != nil {
		return nil, fault.Errorf("boltkv: open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err1 := tx.CreateBucketIfNotExists(entriesBucket)
		_, err2 := tx.CreateBucketIfNotExists(timesBucket)
		return errors.Join(err1, err2)
	})
	if err != nil {
		return nil, errors.Join(fault.Errorf("boltkv: open %s: %w", path, err), db.Close())
	}
	e := &Engine{db: db, log: slog.Default()}
	if opts != nil && opts.Logger != nil {
		e.log = opts.Logger
	}
	return e, nil
}

// Close waits for running calls, and closes the file.
func (e *Engine) Close() error { return e.db.Close() }

// Get implements [kv.Engine].
func (e *Engine) Get(ctx context.Context, namespace, key string) (found kv.Entry, err error) {
	err = e.view(ctx, func(tx *bolt.Tx) error {
		name := join(namespace, key)
		value := tx.Bucket(entriesBucket).Get(name)
		if value == nil {
			return kv.ErrNotFound
		}
		found, err = decode(name, value)
		return err
	})
	return found, err
}

// Put implements [kv.Engine].
func (e *Engine) Put(ctx context.Context, entry kv.Entry) error {
	name := join(entry.Namespace, entry.Key)
	return e.update(ctx, func(tx *bolt.Tx) error {
		if err := forget(tx, name); err != nil {
			return err
		}
		if !entry.Expires.IsZero() {
			if err := tx.Bucket(timesBucket).Put(timed(entry.Expires.UnixMilli(), name), nil); err != nil {
				return err
			}
		}
		return tx.Bucket(entriesBucket).Put(name, encode(entry))
	})
}

// Delete implements [kv.Engine].
func (e *Engine) Delete(ctx context.Context, namespace, key string) error {
	name := join(namespace, key)
	return e.update(ctx, func(tx *bolt.Tx) error {
		if err := forget(tx, name); err != nil {
			return err
		}
		return tx.Bucket(entriesBucket).Delete(name)
	})
}

// forget removes a stored entry from the bucket of expiry.
func forget(tx *bolt.Tx, name []byte) error {
	value := tx.Bucket(entriesBucket).Get(name)
	if value == nil {
		return nil
	}
	old, err := decode(name, head(value))
	if err != nil {
		return forgetDamaged(tx, name)
	}
	if old.Expires.IsZero() {
		return nil
	}
	return tx.Bucket(timesBucket).Delete(timed(old.Expires.UnixMilli(), name))
}

// forgetDamaged does the same for a damaged entry, whose expiry cannot be read.
func forgetDamaged(tx *bolt.Tx, name []byte) error {
	var times [][]byte
	c := tx.Bucket(timesBucket).Cursor()
	for at, _ := c.First(); at != nil; at, _ = c.Next() {
		if bytes.Equal(named(at), name) {
			times = append(times, bytes.Clone(at))
		}
	}
	for _, at := range times {
		if err := tx.Bucket(timesBucket).Delete(at); err != nil {
			return err
		}
	}
	return nil
}

// List implements [kv.Engine]. It skips damaged records.
func (e *Engine) List(ctx context.Context, namespace, prefix, after string, limit int) (list []kv.Entry, err error) {
	all, past := join(namespace, prefix), join(namespace, after)
	from := all
	if bytes.Compare(past, from) > 0 {
		from = past
	}
	err = e.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(entriesBucket).Cursor()
		for name, value := c.Seek(from); bytes.HasPrefix(name, all) && len(list) < limit; name, value = c.Next() {
			if bytes.Equal(name, past) {
				continue
			}
			entry, err := decode(name, value)
			if err != nil {
				e.report(name, err)
				continue
			}
			list = append(list, entry)
		}
		return nil
	})
	return list, err
}

// Expiring implements [kv.Engine]. It skips damaged records, and leaves out the
// values: a hundred of them would be much to read only for their expiry.
func (e *Engine) Expiring(ctx context.Context, limit int) (list []kv.Entry, err error) {
	err = e.view(ctx, func(tx *bolt.Tx) error {
		c := tx.Bucket(timesBucket).Cursor()
		for at, _ := c.First(); at != nil && len(list) < limit; at, _ = c.Next() {
			name := named(at)
			entry, err := decode(name, head(tx.Bucket(entriesBucket).Get(name)))
			if err == nil && !bytes.Equal(at, timed(entry.Expires.UnixMilli(), name)) {
				err = fmt.Errorf("boltkv: the expiry of the entry %.64q differs from the one it is listed with", name)
			}
			if err != nil {
				e.report(name, err)
				continue
			}
			list = append(list, entry)
		}
		return nil
	})
	return list, err
}

// report logs a damaged record, once.
func (e *Engine) report(name []byte, err error) {
	if e.reported.First(string(name)) {
		e.log.Error("boltkv: a damaged record is skipped", "error", err)
	}
}

// view and update run f in a transaction. bbolt cannot be interrupted, so a context
// counts only until the transaction begins.

func (e *Engine) view(ctx context.Context, f func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.db.View(f)
}

func (e *Engine) update(ctx context.Context, f func(*bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.db.Update(f)
}

func join(namespace, key string) []byte {
	name := make([]byte, 0, len(namespace)+1+len(key))
	name = append(name, namespace...)
	name = append(name, 0)
	return append(name, key...)
}

func timed(unixMilli int64, name []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(name)), uint64(unixMilli)), name...)
}

// named returns the name in a key made by timed.
func named(at []byte) []byte { return at[min(8, len(at)):] }

// encode returns the stored form of an entry, without its name: its expiry (8
// bytes, 0 is never), the length of its version (1 byte), its version, its value.
func encode(e kv.Entry) []byte {
	var at uint64
	if !e.Expires.IsZero() {
		at = uint64(e.Expires.UnixMilli())
	}
	b := make([]byte, 0, 9+len(e.Version)+len(e.Value))
	b = binary.BigEndian.AppendUint64(b, at)
	b = append(b, byte(len(e.Version)))
	b = append(b, e.Version...)
	return append(b, e.Value...)
}

// head returns the part of a stored entry before its value.
func head(b []byte) []byte {
	if len(b) < 9 {
		return b // decode finds out
	}
	return b[:min(len(b), 9+int(b[8]))]
}

// decode copies, since bytes of bbolt are valid within the transaction only.
func decode(name, b []byte) (kv.Entry, error) {
	namespace, key, ok := bytes.Cut(name, []byte{0})
	if !ok || len(b) < 9 || len(b) < 9+int(b[8]) {
		return kv.Entry{}, fmt.Errorf("boltkv: the entry %.64q is damaged", name)
	}
	value := b[9+int(b[8]):]
	e := kv.Entry{
		Namespace: string(namespace),
		Key:       string(key),
		Value:     bytes.Clone(value),
		Version:   string(b[9 : 9+int(b[8])]),
	}
	if at := binary.BigEndian.Uint64(b); at != 0 {
		e.Expires = time.UnixMilli(int64(at))
	}
	return e, nil
}
