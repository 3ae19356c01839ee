// Package kvtest tests engines against the rules of [kv.Engine].
//
// An engine's test is one line:
//
//	func TestConformance(t *testing.T) { kvtest.Run(t, open) }
package kvtest

import (
	"context"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/conformance"
	"github.com/maravilla-realtime/realtime/kv"
)

var rules = conformance.Rules[kv.Engine]{
	{Name: "Get returns what was put", Check: getReturnsWhatWasPut},
	{Name: "what is not there is ErrNotFound", Check: unknownIsNotFound},
	{Name: "Put replaces everything", Check: putReplaces},
	{Name: "Delete removes, if there is anything", Check: deleteRemoves},
	{Name: "names are any text and are kept apart", Check: namesAreKeptApart},
	{Name: "slices are not shared", Check: slicesAreNotShared},
	{Name: "List is the prefix in the order of bytes", Check: listIsInOrder},
	{Name: "List continues after a key", Check: listGoesOn},
	{Name: "Expiring is what expires, the soonest first", Check: expiringIsInOrder},
	{Name: "what was replaced or deleted does not expire", Check: replacedDoesNotExpire},
	{Name: "what has expired is still there", Check: expiredIsThere},
	{Name: "calls do not disturb each other", Check: callsDoNotDisturb},
	{Name: "an ended context is honoured", Check: endedContextIsHonoured},
}

// Rules returns the names of all rules.
func Rules() []string { return rules.Names() }

// Check returns an error that says how e, which must be empty, breaks the named rule,
// or nil. It leaves its entries in e.
func Check(ctx context.Context, e kv.Engine, name string) error { return rules.Check(ctx, e, name) }

// Run checks every rule in a subtest, each with an empty engine that open must return.
// open must register the engine's cleanup with [testing.T.Cleanup].
func Run(t *testing.T, open func(t *testing.T) kv.Engine) { rules.Run(t, open) }
