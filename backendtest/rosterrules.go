package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// membersAgreeWithTheLog asks for the members while they come and go.
func membersAgreeWithTheLog(ctx context.Context, b backend.Backend) error {
	s := newScene(ctx, b, "agree")
	var looks []look
	s.try(func() error {
		return together(5, func(i int) error {
			if i == 4 {
				return s.look(50, &looks)
			}
			return s.comeAndGo(fmt.Sprint("user-", i), 100)
		})
	})
	var records []*backend.Record
	s.try(func() (err error) {
		records, err = s.tail.settled(ctx)
		return err
	})
	records = slices.DeleteFunc(records, func(r *backend.Record) bool { return r.Event.Channel != s.channel })
	for i := range 4 {
		user := fmt.Sprint("user-", i)
		for _, l := range looks {
			if got, may := l.state(user), l.may(records, user); !slices.Contains(may, got) {
				s.fail("between %v and %v %s was %q, in the log %q", l.from, l.to, user, got, may)
			}
		}
	}
	return s.end()
}

// A look is what Members returned between two heads of the log.
type look struct {
	from, to backend.Position
	members  []backend.Member
}

// look may run beside others, so it leaves s as it is.
func (s *scene) look(n int, looks *[]look) error {
	for range n {
		var l look
		var errs [3]error
		l.from, errs[0] = head(s.ctx, s.b)
		l.members, errs[1] = s.b.Members(s.ctx, s.channel)
		l.to, errs[2] = head(s.ctx, s.b)
		if err := errors.Join(append(errs[:], pass(s.ctx, time.Millisecond))...); err != nil {
			return err
		}
		*looks = append(*looks, l)
	}
	return nil
}

// comeAndGo may run beside others, so it leaves s as it is.
func (s *scene) comeAndGo(user string, steps int) error {
	for i := range steps {
		err := s.b.Join(s.ctx, with(s.session(user, "1"), fmt.Sprint(i)))
		if i%3 == 2 {
			err = errors.Join(err, s.b.Leave(s.ctx, s.key(user, "1"), backend.Departure{Why: backend.ReasonLeft}))
		}
		if err = errors.Join(err, pass(s.ctx, 300*time.Microsecond)); err != nil {
			return err
		}
	}
	return nil
}

// state returns the data of an event that would make the user what it was found
// to be: "" for nobody.
func (l *look) state(user string) string {
	for _, m := range l.members {
		if m.User == user {
			return string(backend.JoinEvent(backend.Session{Metadata: m.Metadata}, time.Time{}).Data)
		}
	}
	return ""
}

// may returns what state may return by the log.
func (l *look) may(records []*backend.Record, user string) []string {
	states := []string{""}
	for _, r := range records {
		if r.Event.User != user || r.Pos.Compare(l.to) > 0 {
			continue
		}
		state := string(r.Event.Data)
		if r.Event.Type == "presence.leave" {
			state = ""
		}
		if r.Pos.Compare(l.from) <= 0 {
			states = states[:0]
		}
		states = append(states, state)
	}
	return states
}
