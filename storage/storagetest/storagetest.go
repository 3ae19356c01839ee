// Package storagetest tests stores of objects against the rules of
// [storage.Objects].
//
// A store's test is one line:
//
//	func TestConformance(t *testing.T) { storagetest.Run(t, open) }
package storagetest

import (
	"context"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/conformance"
	"github.com/maravilla-realtime/realtime/storage"
)

var rules = conformance.Rules[storage.Objects]{
	{Name: "Open returns what was put", Check: openReturnsWhatWasPut},
	{Name: "a body is read to its end, however it comes", Check: bodiesAreRead},
	{Name: "what is not there is ErrNotFound", Check: unknownIsNotFound},
	{Name: "Put replaces, and says what it created", Check: putReplaces},
	{Name: "the version is another one when the content is", Check: versionsChange},
	{Name: "paths are kept as they are, and apart", Check: pathsAreKeptApart},
	{Name: "an object and a folder of one name do no harm", Check: foldersDoNoHarm},
	{Name: "nothing can be seen before the end of a body", Check: nothingIsSeenBefore},
	{Name: "a body that fails leaves what was", Check: failedBodyLeaves},
	{Name: "who reads gets one object, or an error", Check: readersGetOne},
	{Name: "Open can seek", Check: openSeeks},
	{Name: "Delete removes one object", Check: deleteRemoves},
	{Name: "List is the prefix in the order of bytes", Check: listIsInOrder},
	{Name: "List continues after a cursor", Check: listGoesOn},
	{Name: "calls do not disturb each other", Check: callsDoNotDisturb},
	{Name: "of those who write one path the last to end wins", Check: lastWins},
	{Name: "an ended context is honoured", Check: endedContextIsHonoured},
}

// Rules returns the names of all rules.
func Rules() []string { return rules.Names() }

// Check returns an error that says how o, which must be empty, breaks the named rule,
// or nil. It leaves its objects in o. ctx must have a deadline: a broken store may keep
// a rule waiting until then.
func Check(ctx context.Context, o storage.Objects, name string) error {
	return rules.Check(ctx, o, name)
}

// Run checks every rule in a subtest, each with an empty store that open must return.
// open must register the store's cleanup with [testing.T.Cleanup].
func Run(t *testing.T, open func(t *testing.T) storage.Objects) { rules.Run(t, open) }
