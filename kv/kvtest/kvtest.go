// Package kvtest proves engines against the rules of [kv.Engine].
//
// An engine's test is one line:
//
//	func TestConformance(t *testing.T) { kvtest.Run(t, open) }
package kvtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
)

// A rule is one sentence of the contract, and how to find out whether an engine
// keeps it.
type rule struct {
	name  string
	check func(context.Context, kv.Engine) error
}

var rules = []rule{
	{"Get returns what was put", getReturnsWhatWasPut},
	{"what is not there is ErrNotFound", unknownIsNotFound},
	{"Put replaces everything", putReplaces},
	{"Delete removes, if there is anything", deleteRemoves},
	{"names are any text and are kept apart", namesAreKeptApart},
	{"slices are not shared", slicesAreNotShared},
	{"List is the prefix in the order of bytes", listIsInOrder},
	{"List goes on behind a key", listGoesOn},
	{"Expiring is what expires, the soonest first", expiringIsInOrder},
	{"what was replaced or deleted does not expire", replacedDoesNotExpire},
	{"what has expired is still there", expiredIsThere},
	{"calls do not disturb each other", callsDoNotDisturb},
	{"an ended context is honoured", endedContextIsHonoured},
}

// Rules returns the names of all rules.
func Rules() []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.name
	}
	return names
}

// Check returns how e, which is empty, breaks the named rule, or nil. What it
// stores stays.
func Check(ctx context.Context, e kv.Engine, name string) error {
	for _, r := range rules {
		if r.name != name {
			continue
		}
		if err := r.check(ctx, e); err != nil {
			return fmt.Errorf("broken: %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("kvtest: no rule is called %q", name)
}

// Run checks every rule in a subtest, each with an empty engine that open returns
// and whose cleanup it leaves to [testing.T.Cleanup].
func Run(t *testing.T, open func(t *testing.T) kv.Engine) {
	for _, name := range Rules() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := Check(ctx, open(t), name); err != nil {
				t.Error(err)
			}
		})
	}
}
