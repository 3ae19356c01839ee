package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// A scene is a script of presence in one channel, checked against the log. The
// first thing that goes wrong is kept in err, and ends the script.
type scene struct {
	ctx     context.Context
	b       backend.Backend
	channel string
	tail    *tail
	err     error
}

func newScene(ctx context.Context, b backend.Backend, channel string) *scene {
	s := &scene{ctx: ctx, b: b, channel: "backendtest:" + channel}
	s.tail, s.err = followHead(ctx, b)
	return s
}

// end stops the scene and returns what went wrong.
func (s *scene) end() error {
	if s.tail != nil {
		s.tail.stop()
	}
	return s.err
}

func (s *scene) try(f func() error) {
	if s.err == nil {
		s.err = f()
	}
}

func (s *scene) fail(format string, args ...any) {
	s.try(func() error { return fmt.Errorf(format, args...) })
}

func (s *scene) key(user, id string) backend.SessionKey {
	return backend.SessionKey{Channel: s.channel, User: user, ID: id}
}

// session returns a session that lasts: its node never sweeps.
func (s *scene) session(user, id string) backend.Session {
	return backend.Session{SessionKey: s.key(user, id), Node: "backendtest-" + s.channel, Source: "tab-" + id}
}

func (s *scene) join(sessions ...backend.Session) {
	for _, session := range sessions {
		s.try(func() error { return s.b.Join(s.ctx, session) })
	}
}

func (s *scene) leave(user, id string, why backend.Reason, in time.Duration) {
	s.try(func() error { return s.b.Leave(s.ctx, s.key(user, id), backend.Departure{Why: why, In: in}) })
}

// sweep sweeps as a node that lives on, and returns when to sweep next.
func (s *scene) sweep() (next time.Duration) {
	s.try(func() (err error) {
		next, err = s.b.Sweep(s.ctx, "backendtest-sweeper", 60*lease)
		return err
	})
	return next
}

// pass lets time pass.
func (s *scene) pass(d time.Duration) {
	s.try(func() error { return pass(s.ctx, d) })
}

func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// events returns what was stored for the channel since the last call.
func (s *scene) events() (events []backend.Event) {
	s.try(func() error {
		records, err := s.tail.settled(s.ctx)
		for _, r := range records {
			if r.Event.Channel == s.channel {
				events = append(events, r.Event)
			}
		}
		return err
	})
	return events
}

// expect compares the events since the last call with want, in the form of line.
func (s *scene) expect(step string, want ...string) {
	var got []string
	for _, e := range s.events() {
		got = append(got, line(e))
	}
	if !slices.Equal(got, want) {
		s.fail("%s: the events are %q, not %q", step, got, want)
	}
}

// expectSorted is expect for events whose order is open.
func (s *scene) expectSorted(step string, want ...string) {
	var got []string
	for _, e := range s.events() {
		got = append(got, line(e))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.fail("%s: the events are %q, not %q", step, got, want)
	}
}

func line(e backend.Event) string {
	return fmt.Sprintf("%s %s %s", e.Type, e.User, e.Data)
}

func (s *scene) members() (members []backend.Member) {
	s.try(func() (err error) {
		members, err = s.b.Members(s.ctx, s.channel)
		return err
	})
	return members
}

// expectMembers compares the users in the channel with want.
func (s *scene) expectMembers(step string, want ...string) {
	var got []string
	for _, m := range s.members() {
		got = append(got, m.User)
	}
	if !slices.Equal(got, want) {
		s.fail("%s: the members are %q, not %q", step, got, want)
	}
}

func with(s backend.Session, metadata string) backend.Session {
	s.Metadata = json.RawMessage(metadata)
	return s
}

func lasting(s backend.Session, ttl time.Duration) backend.Session {
	s.TTL = ttl
	return s
}

func on(s backend.Session, node string) backend.Session {
	s.Node = node
	return s
}
