// Package storagetest proves stores of objects against the rules of
// [storage.Objects].
//
// A store's test is one line:
//
//	func TestConformance(t *testing.T) { storagetest.Run(t, open) }
package storagetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/storage"
)

// A rule is one sentence of the contract, and how to find out whether a store
// keeps it.
type rule struct {
	name  string
	check func(context.Context, storage.Objects) error
}

var rules = []rule{
	{"Open returns what was put", openReturnsWhatWasPut},
	{"a body is read to its end, however it comes", bodiesAreRead},
	{"what is not there is ErrNotFound", unknownIsNotFound},
	{"Put replaces, and says what it created", putReplaces},
	{"the version is another one when the content is", versionsChange},
	{"paths are kept as they are, and apart", pathsAreKeptApart},
	{"an object and a folder of one name do no harm", foldersDoNoHarm},
	{"nothing can be seen before the end of a body", nothingIsSeenBefore},
	{"a body that fails leaves what was", failedBodyLeaves},
	{"who reads gets one object, or an error", readersGetOne},
	{"Open can seek", openSeeks},
	{"Delete removes one object", deleteRemoves},
	{"List is the prefix in the order of bytes", listIsInOrder},
	{"List goes on behind a cursor", listGoesOn},
	{"calls do not disturb each other", callsDoNotDisturb},
	{"of those who write one path the last to end wins", lastWins},
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

// Check returns how o, which is empty, breaks the named rule, or nil. What it
// stores stays. A store that waits where it must not is found out when ctx ends.
func Check(ctx context.Context, o storage.Objects, name string) error {
	for _, r := range rules {
		if r.name != name {
			continue
		}
		if err := r.check(ctx, o); err != nil {
			return fmt.Errorf("broken: %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("storagetest: no rule is called %q", name)
}

// Run checks every rule in a subtest, each with an empty store that open returns
// and whose cleanup it leaves to [testing.T.Cleanup].
func Run(t *testing.T, open func(t *testing.T) storage.Objects) {
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
