package kv

import (
	"context"
	"time"
)

// Entry is the value of a key, with its version and expiry.
type Entry struct {
	Namespace string
	Key       string
	Value     []byte
	// Version is opaque and grows with each write of the key: the later of two is
	// the greater string. It is the version of the event of that write.
	Version string
	// Expires is when the key ends, in whole milliseconds. Zero: never.
	Expires time.Time
}

func (e *Entry) expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires)
}

// Engine keeps the entries of a [Store]: a map with an order by key and an order by
// expiry. It is simple on purpose. The Store checks names and sizes, assigns
// versions, hides and deletes expired entries, and makes one write of a key at a
// time. An engine only stores.
//
// All methods may be called concurrently, may block, and must return the error of
// ctx once that has ended. Arguments and results belong to the caller: an engine must
// copy the bytes that it keeps. Names are valid UTF-8 of 1 to 255 bytes without
// control characters, versions are at most 32 bytes of ASCII. Strings are compared
// byte by byte. A panic in a method is an error of the call.
//
// If an engine can detect a damaged entry, Get must return an error, and List and
// Expiring must skip the entry.
//
// Package kvtest tests an engine against these rules.
type Engine interface {
	// Get returns the entry of the key, expired or not, or [ErrNotFound].
	Get(ctx context.Context, namespace, key string) (Entry, error)

	// Put stores the entry, and replaces an earlier one of its key, expiry included.
	// When it returns nil, the entry is as safe as the engine can make it.
	Put(ctx context.Context, e Entry) error

	// Delete removes the entry of the key. To delete a key without one is not an
	// error.
	Delete(ctx context.Context, namespace, key string) error

	// List returns the entries of the namespace whose key begins with prefix and is
	// greater than after, in the order of their keys: the first limit of them, or
	// all if they are fewer. prefix and after may be empty.
	List(ctx context.Context, namespace, prefix, after string, limit int) ([]Entry, error)

	// Expiring returns the entries of all namespaces that expire, the soonest first:
	// the first limit of them, or all if they are fewer. It may leave out their
	// values.
	Expiring(ctx context.Context, limit int) ([]Entry, error)
}
