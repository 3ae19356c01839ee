package backend

import (
	"context"
	"time"
)

// Groups keeps how far each group of handlers has come, so that an event is
// handled once per group, however many nodes there are and whichever of them
// dies. One node at a time holds a group and handles its events, which it reads
// from the log like everyone else.
type Groups interface {
	// ClaimGroup makes node the holder of group for ttl from now, or goes on to hold it,
	// and returns what was committed for the group: the zero Progress if nothing
	// was. While another node's hold lasts it returns [ErrHeld].
	ClaimGroup(ctx context.Context, group, node string, ttl time.Duration) (Progress, error)

	// CommitGroup adds to the progress of a group. It returns [ErrHeld], and changes
	// nothing, where node does not hold the group (any more).
	//
	// Floor never goes back, and what it has passed is forgotten; so is all of an
	// earlier epoch. A driver may forget positions behind Floor when there are
	// more than 4,096 of them: those events are then handled again after a change
	// of holders.
	CommitGroup(ctx context.Context, group, node string, p Progress) error

	// ReleaseGroup ends the hold of node, so that another one can have the group at
	// once. Where node does not hold it, it does nothing.
	ReleaseGroup(ctx context.Context, group, node string) error
}

// Progress is how far a group has come.
type Progress struct {
	Floor  Position       // everything up to here is done
	Done   []uint64       // what is done behind Floor, in its epoch, in any order
	Failed map[uint64]int // of what is not done behind Floor, how often it was tried in vain
}

// SingleProcess is what a [Backend] implements that serves one process only. The
// handlers of its only node need no name for their group.
type SingleProcess interface {
	SingleProcess() bool
}
