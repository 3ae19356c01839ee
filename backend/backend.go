// Package backend is the contract between the library and the engine that keeps
// its data: an ordered log and a small store of records, both of bytes. What the
// bytes mean, who is present and who handles what is decided above, once for all
// engines.
//
// # Words
//
// An engine is what keeps data: NATS JetStream, Redis, Postgres, or the memory of
// this process. A backend speaks to an engine and implements [Backend]. A node is a
// process that uses a backend. All nodes of a deployment share one log and one
// store.
//
// # Rules for every method
//
// Methods may be called concurrently. They honour ctx: a method must return soon
// after ctx ends, whatever the engine does. A backend must also bound each request
// to the engine, and repeat it while ctx lasts: an engine may leave a request
// without an answer (JetStream does while a stream has no leader).
//
// Neither side changes byte slices after they were passed, so a backend may keep
// what it is given, and may share what it returns between callers.
//
// Errors may be wrapped. After Close: [ErrClosed]. If ctx ended before anything was
// sent: its error. If a change was perhaps made, because the connection broke or
// ctx ended while the backend waited for the answer, or because the engine does not
// know: [ErrMaybeStored]. Any other error of a change means that nothing was changed and
// nothing will be. A backend that cannot be sure must say ErrMaybeStored.
//
// A backend may repeat a change by itself only if the repetition cannot take effect
// twice: an Append with an ID, or a Put, of which the second one conflicts.
//
// # What is linearizable, and what may be stale
//
// Put and Delete are linearizable per key: each takes effect at one moment between
// call and return, at most one of those that name the same revision succeeds, and
// none succeeds against a revision that is not the newest. This holds during a
// partition, across changes of leader, and across clients. The library relies on
// nothing stronger.
//
// Get and List return what the newest finished Put stored. A replica that may lag
// must not answer them: if any replica may answer, the backend must ask the leader,
// or compare with what the leader says is newest. An engine that is cut off from
// its majority may answer with what it has; changes that are based on that fail
// with [ErrConflict], so no harm is done.
//
// List is no snapshot: each item is what it was at some moment during the call.
//
// Read is as fresh as Get: its Head must include every Append that returned before
// the call, so it must come from the sequencer and not from a lagging replica.
// Follow may lag.
package backend

import (
	"context"
	"errors"
)

// Backend is everything that an engine provides.
type Backend interface {
	Log
	Store

	// Close releases the engine. Calls under way end with [ErrClosed], or with
	// [ErrMaybeStored] if they are changes that wait for an answer. It may block until
	// ctx ends. Closing again does nothing.
	Close(ctx context.Context) error
}

// SingleProcess is implemented by a [Backend] that serves one process only. Groups
// of handlers need no name there, since no other process can share their work.
type SingleProcess interface {
	SingleProcess() bool
}

// The errors of a backend. All may be wrapped.
var (
	// ErrClosed: the backend was closed.
	ErrClosed = errors.New("backend: closed")
	// ErrMaybeStored: the backend does not know whether the change was made.
	ErrMaybeStored = errors.New("backend: the change may have been stored")
	// ErrConflict: the record does not have the revision that the change names.
	ErrConflict = errors.New("backend: the record has another revision")
	// ErrTooLarge: the engine takes no entry or value of this size. Nothing was
	// changed.
	ErrTooLarge = errors.New("backend: too large")
)
