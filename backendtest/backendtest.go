// Package backendtest proves drivers against the rules of package backend, and
// provides [Faulty], a backend that breaks or bends them on command, to prove
// the layer above.
//
// A driver's test is one line:
//
//	func TestConformance(t *testing.T) { backendtest.Run(t, open) }
package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conformance"
)

// lease is the time unit of the rules in which time has to pass. It is as short
// as an engine across a network can be asked to keep to.
const lease = 500 * time.Millisecond

// A rule gets along with whatever the backend held before.
var rules = conformance.Rules[backend.Backend]{
	{Name: "Append numbers records without gaps", Check: appendIsDense},
	{Name: "Append stores an id once", Check: idIsStoredOnce},
	{Name: "Append stores an id once under concurrency", Check: idIsStoredOnceConcurrently},
	{Name: "records are stored byte for byte", Check: recordsAreUnchanged},
	{Name: "all followers see one order", Check: followersSeeOneOrder},
	{Name: "Follow joins history and live without a gap", Check: historyJoinsLive},
	{Name: "Follow skips nothing for a slow sink", Check: slowSinkMissesNothing},
	{Name: "Follow tells what was evicted", Check: evictionIsTold},
	{Name: "Follow refuses a foreign epoch", Check: foreignEpochIsLost},
	{Name: "Follow refuses a position from the future", Check: futureIsLost},
	{Name: "Follow ends with its context", Check: followEndsWithContext},
	{Name: "Read returns the newest records and the head", Check: readReturnsNewest},
	{Name: "an ended context is honoured", Check: endedContextIsHonoured},
	{Name: "Close ends everything", Check: closeEndsEverything},

	{Name: "the first session joins", Check: firstSessionJoins},
	{Name: "changed metadata is an update", Check: changedMetadataIsAnUpdate},
	{Name: "the last session leaves", Check: lastSessionLeaves},
	{Name: "an unknown session leaves without a trace", Check: unknownSessionLeaves},
	{Name: "a scheduled leave comes when it is time", Check: scheduledLeaveComes},
	{Name: "joining again calls a scheduled leave off", Check: joinCallsLeaveOff},
	{Name: "a scheduled leave is never postponed", Check: leaveIsNotPostponed},
	{Name: "a session outlives its TTL only if renewed", Check: ttlRunsOut},
	{Name: "the first of TTL and scheduled leave counts", Check: firstEndCounts},
	{Name: "the sessions of a dead node end", Check: deadNodeLeaves},
	{Name: "many sweeps reap once", Check: manySweepsReapOnce},
	{Name: "Sweep says when to come back", Check: sweepSaysWhen},
	{Name: "Members are ordered and up to date", Check: membersAreOrdered},
	{Name: "Members agree with the log", Check: membersAgreeWithTheLog},
	{Name: "Touch moves nothing but LastSeen", Check: touchMovesNothingElse},
	{Name: "PresentChannels lists the channels with members", Check: presentChannels},
	{Name: "joins and leaves alternate under concurrency", Check: joinsAndLeavesAlternate},
	{Name: "presence has the depth of its cause", Check: presenceHasDepth},

	{Name: "a group begins with nothing done", Check: groupBegins},
	{Name: "one node at a time holds a group", Check: oneNodeHolds},
	{Name: "a hold lasts as long as it is renewed", Check: holdRunsOut},
	{Name: "ReleaseGroup frees a group at once", Check: releaseFrees},
	{Name: "CommitGroup adds to the progress", Check: commitAddsUp},
	{Name: "only the holder commits", Check: onlyHolderCommits},
	{Name: "the floor never goes back", Check: floorNeverGoesBack},
	{Name: "groups are independent", Check: groupsAreApart},
}

// Rules returns the names of all rules.
func Rules() []string { return rules.Names() }

// Check returns how b breaks the named rule, or nil. Some rules take a second;
// in a bubble of testing/synctest none takes any. ctx must have an end: a broken
// backend may keep a rule waiting until then. "Close ends everything" leaves b
// closed.
func Check(ctx context.Context, b backend.Backend, name string) error {
	return rules.Check(ctx, b, name)
}

// Run checks every rule in a parallel subtest, each with a backend that open
// returns and Run closes. The backend must retain at least 1,000 records; for
// the rule on eviction to bite it should not retain 1,500.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	runRules(t, Rules(), open)
}

func runRules(t *testing.T, names []string, open func(t *testing.T) backend.Backend) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b := open(t)
			defer b.Close(ctx)
			if err := Check(ctx, b, name); err != nil {
				t.Error(err)
			}
		})
	}
}
