package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

const (
	annJoins    = `presence.join ann {}`
	annLeft     = `presence.leave ann {"reason":"left"}`
	annClosed   = `presence.leave ann {"reason":"closed"}`
	annTimedOut = `presence.leave ann {"reason":"timeout"}`
)

func firstSessionJoins(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "first")
	ann := with(s.session("ann", "1"), `{"name":"Ann"}`)
	s.join(ann)
	if events := s.events(); len(events) != 1 {
		s.fail("the first session caused %d events", len(events))
	} else {
		want := backend.JoinEvent(ann, time.UnixMilli(events[0].UnixMilli))
		if !reflect.DeepEqual(events[0], want) || want.UnixMilli <= 0 {
			s.fail("the first session caused %+v, not %+v", events[0], want)
		}
	}
	s.join(with(s.session("ann", "2"), `{"name":"Ann"}`))
	s.expect("second session")
	s.join(s.session("bob", "1"))
	s.expect("another user with the same session id", `presence.join bob {}`)
	s.expectMembers("three sessions", "ann", "bob")
	return s.end()
}

func changedMetadataIsAnUpdate(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "update")
	one, two := s.session("ann", "1"), s.session("ann", "2")
	s.join(with(one, `{"n":1}`))
	s.expect("first session", `presence.join ann {"metadata":{"n":1}}`)
	s.join(with(one, `{"n":1}`))
	s.expect("renewed as it was")
	s.join(with(one, `{"n":2}`))
	s.expect("renewed with other metadata", `presence.update ann {"metadata":{"n":2}}`)
	s.join(with(two, `{"n":3}`))
	s.expect("second session with other metadata", `presence.update ann {"metadata":{"n":3}}`)
	if got := s.members(); len(got) != 1 || string(got[0].Metadata) != `{"n":3}` {
		s.fail("the members are %q", got)
	}
	s.join(one)
	s.expect("renewed without metadata", `presence.update ann {}`)
	if got := s.members(); len(got) != 1 || len(got[0].Metadata) != 0 {
		s.fail("the members without metadata are %q", got)
	}
	return s.end()
}

func lastSessionLeaves(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "last")
	s.join(with(s.session("ann", "1"), `{"n":1}`), with(s.session("ann", "2"), `{"n":1}`), s.session("bob", "1"))
	s.events()
	s.leave("ann", "1", backend.ReasonClosed, 0)
	s.expect("one of two sessions")
	s.expectMembers("one of two sessions", "ann", "bob")
	s.leave("ann", "2", backend.ReasonLeft, 0)
	s.expect("the last session", `presence.leave ann {"metadata":{"n":1},"reason":"left"}`)
	s.expectMembers("the last session", "bob")
	s.join(s.session("ann", "2"))
	s.expect("joined again", annJoins)
	s.leave("ann", "2", backend.ReasonNode, 0)
	if events := s.events(); len(events) != 1 {
		s.fail("leaving again caused %d events", len(events))
	} else {
		want := backend.LeaveEvent(s.session("ann", "2"), backend.ReasonNode, time.UnixMilli(events[0].UnixMilli))
		if !reflect.DeepEqual(events[0], want) || want.UnixMilli <= 0 {
			s.fail("leaving again caused %+v, not %+v", events[0], want)
		}
	}
	return s.end()
}

func unknownSessionLeaves(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "unknown")
	s.leave("ann", "1", backend.ReasonLeft, 0)
	s.leave("ann", "1", backend.ReasonLeft, lease)
	s.join(s.session("ann", "1"))
	s.leave("ann", "2", backend.ReasonLeft, 0)
	s.expect("unknown sessions left", annJoins)
	s.pass(3 * lease / 2)
	s.sweep()
	s.expect("a session was scheduled to leave before it joined")
	s.leave("ann", "1", backend.ReasonLeft, 0)
	s.leave("ann", "1", backend.ReasonClosed, 0)
	s.expect("left twice", annLeft)
	return s.end()
}

func scheduledLeaveComes(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "scheduled")
	s.join(s.session("ann", "1"), s.session("bob", "1"), s.session("bob", "2"))
	s.events()
	for _, user := range []string{"ann", "bob"} {
		s.leave(user, "1", backend.ReasonClosed, lease)
	}
	s.sweep()
	s.expect("before it is time")
	s.expectMembers("before it is time", "ann", "bob")
	s.pass(3 * lease / 2)
	s.sweep()
	s.expect("when it is time", annClosed)
	s.expectMembers("when it is time", "bob")
	s.sweep()
	s.expect("later")
	return s.end()
}

func joinCallsLeaveOff(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "off")
	s.join(s.session("ann", "1"), s.session("ann", "2"), s.session("bob", "1"))
	s.leave("ann", "1", backend.ReasonClosed, lease)
	s.leave("ann", "2", backend.ReasonClosed, lease)
	s.leave("bob", "1", backend.ReasonClosed, lease)
	s.leave("bob", "1", backend.ReasonLeft, 0)
	s.events()
	s.join(s.session("ann", "1"), s.session("bob", "1"))
	s.expect("joined again", `presence.join bob {}`)
	s.pass(3 * lease / 2)
	s.sweep()
	s.expect("when it would have been time")
	s.leave("ann", "1", backend.ReasonLeft, 0)
	s.expect("the only session still there left", annLeft)
	return s.end()
}

func leaveIsNotPostponed(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "postponed")
	s.join(s.session("ann", "1"), s.session("bob", "1"), s.session("cid", "1"))
	s.leave("ann", "1", backend.ReasonClosed, lease)
	s.leave("ann", "1", backend.ReasonTimeout, 100*lease)
	s.leave("bob", "1", backend.ReasonTimeout, 100*lease)
	s.leave("bob", "1", backend.ReasonClosed, lease)
	s.leave("cid", "1", backend.ReasonTimeout, 100*lease)
	s.events()
	s.leave("cid", "1", backend.ReasonLeft, 0)
	s.expect("left at once", `presence.leave cid {"reason":"left"}`)
	s.pass(3 * lease / 2)
	s.sweep()
	s.expectSorted("the first of two scheduled leaves", annClosed, `presence.leave bob {"reason":"closed"}`)
	return s.end()
}

func ttlRunsOut(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "ttl")
	s.join(lasting(s.session("ann", "1"), lease), lasting(s.session("bob", "1"), lease), s.session("cid", "1"))
	s.events()
	s.sweep()
	s.expect("before the TTL ran out")
	s.pass(lease / 2)
	s.join(lasting(s.session("ann", "1"), 3*lease/2), s.session("bob", "1"))
	s.pass(lease)
	s.sweep()
	s.expect("renewed, with another TTL and without")
	s.pass(lease)
	s.sweep()
	s.expect("after the TTL ran out", annTimedOut)
	s.expectMembers("after the TTL ran out", "bob", "cid")
	return s.end()
}

func firstEndCounts(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "both")
	s.join(lasting(s.session("ann", "1"), lease), lasting(s.session("bob", "1"), 10*lease))
	s.leave("ann", "1", backend.ReasonClosed, 10*lease)
	s.leave("bob", "1", backend.ReasonClosed, lease)
	s.events()
	s.pass(3 * lease / 2)
	s.sweep()
	s.expectSorted("ended", annTimedOut, `presence.leave bob {"reason":"closed"}`)
	return s.end()
}

func deadNodeLeaves(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "node")
	dead, fresh := s.channel+"-dead", s.channel+"-fresh"
	s.try(func() error {
		_, err := b.Sweep(ctx, dead, lease)
		return err
	})
	s.join(
		on(s.session("ann", "1"), dead), on(s.session("ann", "2"), dead),
		lasting(on(s.session("bob", "1"), dead), 10*lease),
		on(s.session("cid", "1"), dead), on(s.session("cid", "2"), "backendtest-sweeper"),
		on(s.session("dan", "1"), fresh),
		on(s.session("eve", "1"), dead),
	)
	s.join(on(s.session("eve", "1"), "backendtest-sweeper")) // moved
	s.events()
	s.sweep()
	s.expect("while the node lives")
	s.pass(3 * lease / 2)
	s.sweep()
	s.expectSorted("after its lease ran out",
		`presence.leave ann {"reason":"node"}`, `presence.leave bob {"reason":"node"}`)
	s.expectMembers("after its lease ran out", "cid", "dan", "eve")
	s.sweep()
	s.expect("later")
	return s.end()
}

func manySweepsReapOnce(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "reap")
	var want []string
	for i := range 40 {
		user := fmt.Sprintf("user-%02d", i)
		s.join(lasting(s.session(user, "1"), lease/2), s.session(user, "2"))
		s.leave(user, "2", backend.ReasonTimeout, lease/2)
		want = append(want, fmt.Sprintf(`presence.leave %s {"reason":"timeout"}`, user))
	}
	s.events()
	s.pass(lease)
	s.try(func() error {
		return together(8, func(i int) error {
			_, err := b.Sweep(ctx, fmt.Sprintf("backendtest-sweeper-%d", i), 60*lease)
			return err
		})
	})
	s.expectSorted("8 sweeps at once", want...)
	s.expectMembers("8 sweeps at once")
	return s.end()
}

func sweepSaysWhen(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "when")
	within := func(step string, most time.Duration) {
		if next := s.sweep(); next < 0 || next > most {
			s.fail("%s: the next sweep is in %v, not within %v", step, next, most)
		}
	}
	const third = 60 * lease / 3
	within("nothing to come", third)
	s.join(lasting(s.session("ann", "1"), 4*lease))
	within("a TTL", 4*lease)
	s.join(s.session("bob", "1"))
	s.leave("bob", "1", backend.ReasonClosed, 2*lease)
	within("a scheduled leave", 2*lease)
	s.try(func() error {
		_, err := b.Sweep(ctx, s.channel+"-node", lease)
		return err
	})
	s.join(on(s.session("cid", "1"), s.channel+"-node"))
	within("a lease", lease)
	return s.end()
}

func membersAreOrdered(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "members")
	s.expectMembers("an empty channel")
	for _, user := range []string{"cid", "ann", "é", "bob", "Zoe", "ann2"} {
		s.join(with(s.session(user, "1"), `{"name":"`+user+`"}`))
	}
	s.expectMembers("six users", "Zoe", "ann", "ann2", "bob", "cid", "é")
	for _, m := range s.members() {
		if want := `{"name":"` + m.User + `"}`; string(m.Metadata) != want {
			s.fail("the metadata of %s is %s, not %s", m.User, m.Metadata, want)
		}
	}
	before := s.lastSeen("ann")
	s.pass(lease)
	s.join(with(s.session("ann", "1"), `{"name":"ann"}`))
	if after := s.lastSeen("ann"); !after.After(before) {
		s.fail("a renewed member was last seen at %v, before that at %v", after, before)
	}
	return s.end()
}

// touchMovesNothingElse leaves out how far LastSeen moves, which a driver may be
// coarse about.
func touchMovesNothingElse(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "touch")
	s.join(with(s.session("ann", "1"), `{"name":"ann"}`))
	before := s.lastSeen("ann")
	s.pass(lease)
	for _, user := range []string{"ann", "nobody"} {
		s.try(func() error { return b.Touch(ctx, s.channel, user) })
	}
	if after := s.lastSeen("ann"); after.Before(before) {
		s.fail("a touched member was last seen at %v, before that at %v", after, before)
	}
	s.expectMembers("after a touch", "ann")
	s.expect("a touch", `presence.join ann {"metadata":{"name":"ann"}}`)
	return s.end()
}

func (s *scene) lastSeen(user string) time.Time {
	members := s.members()
	i := slices.IndexFunc(members, func(m backend.Member) bool { return m.User == user })
	if i < 0 {
		s.fail("%s is no member", user)
		return time.Time{}
	}
	return members[i].LastSeen
}

func presentChannels(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "present")
	other := s.session("ann", "1")
	other.Channel += ":other"
	present := func(step string, want ...string) {
		var got []string
		s.try(func() (err error) {
			got, err = b.PresentChannels(ctx)
			return err
		})
		if !slices.IsSorted(got) {
			s.fail("%s: the channels are not ordered: %q", step, got)
		}
		got = slices.DeleteFunc(got, func(c string) bool { return c != s.channel && c != other.Channel })
		if !slices.Equal(got, want) {
			s.fail("%s: the channels are %q, not %q", step, got, want)
		}
	}
	present("before anyone joins")
	s.join(other, s.session("ann", "1"), s.session("bob", "1"))
	present("two channels with members", s.channel, other.Channel)
	s.leave("ann", "1", backend.ReasonLeft, 0)
	present("one member left", s.channel, other.Channel)
	s.leave("bob", "1", backend.ReasonLeft, 0)
	present("both members left", other.Channel)
	return s.end()
}

func joinsAndLeavesAlternate(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "alternate")
	users := []string{"ann", "bob", "cid"}
	s.try(func() error {
		return together(8, func(i int) error {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			var errs []error
			for range 40 {
				errs = append(errs, s.randomStep(random, users))
			}
			return errors.Join(errs...)
		})
	})
	there := map[string]bool{}
	for _, e := range s.events() {
		join := e.Type == "presence.join"
		if e.Type != "presence.update" && join == there[e.User] {
			s.fail("%s happened twice in a row for %s", e.Type, e.User)
		}
		there[e.User] = join || e.Type == "presence.update"
	}
	users = slices.DeleteFunc(users, func(user string) bool { return !there[user] })
	s.expectMembers("after the last event", users...)
	return s.end()
}

// randomStep may run concurrently, so it leaves s as it is.
func (s *scene) randomStep(random *rand.Rand, users []string) error {
	user, id := users[random.IntN(len(users))], fmt.Sprint(random.IntN(2))
	switch random.IntN(5) {
	case 0, 1:
		return s.b.Join(s.ctx, with(s.session(user, id), fmt.Sprint(random.IntN(2))))
	case 2, 3:
		return s.b.Leave(s.ctx, s.key(user, id), backend.Departure{Why: backend.ReasonLeft, In: time.Duration(random.IntN(2))})
	default:
		_, err := s.b.Sweep(s.ctx, "backendtest-sweeper", 60*lease)
		return err
	}
}

func presenceHasDepth(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "depth")
	deep := func(session backend.Session, depth int) backend.Session {
		session.Depth = depth
		return session
	}
	ann, bob := s.session("ann", "1"), s.session("bob", "1")
	s.join(deep(ann, 1), deep(with(ann, `{}`), 2), bob)
	s.try(func() error {
		return errors.Join(
			b.Leave(ctx, bob.SessionKey, backend.Departure{Why: backend.ReasonLeft, In: lease, Depth: 4}),
			b.Leave(ctx, ann.SessionKey, backend.Departure{Why: backend.ReasonLeft, Depth: 3}))
	})
	s.pass(lease)
	s.sweep()
	var depths []int
	s.try(func() error {
		records, err := s.tail.settled(ctx)
		for _, r := range records {
			if r.Event.Channel == s.channel {
				depths = append(depths, r.Depth)
			}
		}
		return err
	})
	if !slices.Equal(depths, []int{1, 2, 0, 3, 4}) {
		s.fail("the depths are %v", depths)
	}
	return s.end()
}
