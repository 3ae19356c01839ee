package kv

import (
	"context"
	"time"
)

// Entry is what a key holds.
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

// Engine is what keeps the entries of a [Store]: a map with an order by key and
// an order by time. It is dumb on purpose. The Store checks names and sizes,
// gives out versions, hides what has expired and deletes it, and lets one call at
// a time write a key; an engine stores what it is told.
//
// All methods may be called concurrently, may block, and return the error of ctx
// once that has ended. What they are given belongs to the caller: an engine copies
// what it keeps. What they return belongs to the caller likewise. Names are valid
// UTF-8 of 1 to 255 bytes without control characters, versions are at most 32
// bytes of ASCII. Strings are compared byte by byte.
//
// Where an engine can find an entry damaged, Get returns an error, and List and
// Expiring leave the entry out, so that it harms no other.
//
// Package kvtest proves an engine against these rules.
type Engine interface {
	// Get returns what the key holds, expired or not, or [ErrNotFound].
	Get(ctx context.Context, namespace, key string) (Entry, error)

	// Put stores the entry in the place of what its key held, the time it expires
	// included. When it returns nil, the entry is as safe as the engine can make it.
	Put(ctx context.Context, e Entry) error

	// Delete removes what the key holds. There may be nothing.
	Delete(ctx context.Context, namespace, key string) error

	// List returns the entries of the namespace whose key begins with prefix and is
	// greater than after, in the order of their keys: the first limit of them, or
	// all if they are fewer. prefix and after may be empty.
	List(ctx context.Context, namespace, prefix, after string, limit int) ([]Entry, error)

	// Expiring returns those entries of all namespaces that have a time to expire,
	// the soonest first: the first limit of them, or all if they are fewer. It may
	// leave out their values.
	Expiring(ctx context.Context, limit int) ([]Entry, error)
}
