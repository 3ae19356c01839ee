// Package backendtest tests backends against the rules of package backend. Its
// [Faulty] is a backend that breaks or bends these rules on command, to test the
// layer above.
//
// A backend's test is one line:
//
//	func TestConformance(t *testing.T) { backendtest.Run(t, open) }
package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/conformance"
)

// A rule must not depend on an empty backend. L rules are about the log, S rules
// about the store, E rules about how calls end.
var rules = conformance.Rules[backend.Backend]{
	{Name: "L1 Append numbers records without gaps", Check: appendIsDense},
	{Name: "L2 Append stores an id once", Check: idIsStoredOnce},
	{Name: "L3 Append stores an id once under concurrency", Check: idIsStoredOnceConcurrently},
	{Name: "L4 records are stored byte for byte", Check: recordsAreUnchanged},
	{Name: "L5 all followers see one order", Check: followersSeeOneOrder},
	{Name: "L6 Follow joins history and live without a gap", Check: historyJoinsLive},
	{Name: "L7 Follow skips nothing for a slow sink", Check: slowSinkMissesNothing},
	{Name: "L8 Follow tells what was evicted", Check: evictionIsTold},
	{Name: "L9 Follow refuses a foreign epoch", Check: foreignEpochIsLost},
	{Name: "L10 Follow refuses a position from the future", Check: futureIsLost},
	{Name: "L11 Follow ends with its context", Check: followEndsWithContext},
	{Name: "L12 Read returns the oldest records after a position", Check: readReturnsOldest},
	{Name: "L13 Read reaches the head page by page", Check: readReachesHead},
	{Name: "L14 the head is fresh", Check: headIsFresh},

	{Name: "S1 Put and Delete check the revision", Check: putChecksTheRevision},
	{Name: "S2 a revision is never used again", Check: revisionsAreNeverUsedAgain},
	{Name: "S3 one of many writes of a revision wins", Check: oneOfManyWritesWins},
	{Name: "S4 keys are apart, whatever their bytes", Check: keysAreApart},
	{Name: "S5 List yields all records of a group, and no others", Check: listYieldsAll},
	{Name: "S6 values are stored byte for byte", Check: valuesAreUnchanged},
	{Name: "S7 a write and its entry are one step", Check: stepsAreOne},
	{Name: "S8 what a record shows is in the log", Check: stepsAreSeenInTheLog},
	{Name: "S9 a step that fails leaves no trace", Check: failedStepsLeaveNoTrace},
	{Name: "S10 List yields records that are written meanwhile", Check: listYieldsWhatChanges},

	{Name: "E1 an ended context is honoured", Check: endedContextIsHonoured},
	{Name: "E2 Close ends everything", Check: closeEndsEverything},
}

// Rules returns the names of all rules.
func Rules() []string { return rules.Names() }

// Check returns an error that says how b breaks the named rule, or nil. ctx must have
// a deadline: a broken backend may keep a rule waiting until then. "E2 Close ends
// everything" leaves b closed.
func Check(ctx context.Context, b backend.Backend, name string) error {
	return rules.Check(ctx, b, name)
}

// ruleTime is how long a rule may take in [Run]: seconds, or minutes where the machine has
// much else to do.
const ruleTime = 5 * time.Minute

// Run checks every rule in a parallel subtest, each with a backend that open
// returns and Run closes. The backend must retain at least 1,000 records and 32 MiB.
// The rule on eviction tests something only if the backend retains fewer than 1,500
// records.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, name := range Rules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), ruleTime)
			defer cancel()
			b := open(t)
			defer b.Close(ctx)
			if err := Check(ctx, b, name); err != nil {
				t.Error(err)
			}
		})
	}
}
