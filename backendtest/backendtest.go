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
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// lease is the time unit of the rules in which time has to pass. It is as short
// as an engine across a network can be asked to keep to.
const lease = 500 * time.Millisecond

// A rule is one sentence of the contract, and how to find out whether a backend
// keeps it. A rule gets along with whatever the backend held before.
type rule struct {
	name  string
	check func(context.Context, backend.Backend) error
}

var rules = []rule{
	{"Append numbers records without gaps", appendIsDense},
	{"Append stores an id once", idIsStoredOnce},
	{"Append stores an id once under concurrency", idIsStoredOnceConcurrently},
	{"records are stored byte for byte", recordsAreUnchanged},
	{"all followers see one order", followersSeeOneOrder},
	{"Follow joins history and live without a gap", historyJoinsLive},
	{"Follow skips nothing for a slow sink", slowSinkMissesNothing},
	{"Follow tells what was evicted", evictionIsTold},
	{"Follow refuses a foreign epoch", foreignEpochIsLost},
	{"Follow refuses a position from the future", futureIsLost},
	{"Follow ends with its context", followEndsWithContext},
	{"Read returns the newest records and the head", readReturnsNewest},
	{"an ended context is honoured", endedContextIsHonoured},
	{"Close ends everything", closeEndsEverything},

	{"the first session joins", firstSessionJoins},
	{"changed metadata is an update", changedMetadataIsAnUpdate},
	{"the last session leaves", lastSessionLeaves},
	{"an unknown session leaves without a trace", unknownSessionLeaves},
	{"a scheduled leave comes when it is time", scheduledLeaveComes},
	{"joining again calls a scheduled leave off", joinCallsLeaveOff},
	{"a scheduled leave is never postponed", leaveIsNotPostponed},
	{"a session outlives its TTL only if renewed", ttlRunsOut},
	{"the first of TTL and scheduled leave counts", firstEndCounts},
	{"the sessions of a dead node end", deadNodeLeaves},
	{"many sweeps reap once", manySweepsReapOnce},
	{"Sweep says when to come back", sweepSaysWhen},
	{"Members are ordered and up to date", membersAreOrdered},
	{"Members agree with the log", membersAgreeWithTheLog},
	{"Touch moves nothing but LastSeen", touchMovesNothingElse},
	{"PresentChannels lists the channels with members", presentChannels},
	{"joins and leaves alternate under concurrency", joinsAndLeavesAlternate},
	{"presence has the depth of its cause", presenceHasDepth},

	{"a group begins with nothing done", groupBegins},
	{"one node at a time holds a group", oneNodeHolds},
	{"a hold lasts as long as it is renewed", holdRunsOut},
	{"ReleaseGroup frees a group at once", releaseFrees},
	{"CommitGroup adds to the progress", commitAddsUp},
	{"only the holder commits", onlyHolderCommits},
	{"the floor never goes back", floorNeverGoesBack},
	{"groups are independent", groupsAreApart},
}

// Rules returns the names of all rules.
func Rules() []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.name
	}
	return names
}

// Check returns how b breaks the named rule, or nil. Some rules take a second;
// in a bubble of testing/synctest none takes any. ctx must have an end: a broken
// backend may keep a rule waiting until then. "Close ends everything" leaves b
// closed.
func Check(ctx context.Context, b backend.Backend, name string) error {
	for _, r := range rules {
		if r.name != name {
			continue
		}
		if err := r.check(ctx, b); err != nil {
			return fmt.Errorf("broken: %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("backendtest: no rule is called %q", name)
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
