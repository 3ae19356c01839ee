package handle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// past is a log that has one record.
type past struct {
	backend.Log
	record backend.Record
	err    error
}

func (p *past) Read(_ context.Context, after backend.Position, _ int) (page backend.Page, err error) {
	if after.Seq < p.record.Pos.Seq {
		page.Records = []backend.Record{p.record}
	}
	return page, p.err
}

func at(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }

// A handler is called once more for an event that the history has, or else the log. What
// cannot be called says why.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		log := new(past)
		s.node.Log = log
		var c calls
		errNo := errors.New("no")
		s.group("mailer", Options{}, func(ctx context.Context, d Delivery) error {
			if d.Event.Key == "bad" {
				return errNo
			}
			return c.handle(ctx, d)
		})
		s.put("a")
		c.expect(t, "a/1")
		retry := func(group string, seq uint64, handler int) error {
			return s.Retry(t.Context(), group, Again{Pos: at(seq), Handler: handler, Attempt: 7})
		}
		if err := retry("mailer", 1, 0); err != nil {
			t.Error(err)
		}
		c.expect(t, "a/7")
		payload := func(key string) []byte {
			return (&backend.Payload{Event: backend.Event{Resource: "kv", Type: "kv.put", Key: key}}).Encode()
		}
		for _, o := range []struct {
			name    string
			group   string
			seq     uint64
			handler int
			record  backend.Record
			read    error
			want    error
		}{
			{"of no group", "other", 1, 0, backend.Record{}, nil, ErrHeld},
			{"for no handler", "mailer", 1, 1, backend.Record{}, nil, ErrNoHandler},
			{"of the log", "mailer", 9, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("old")}}, nil, nil},
			{"that fails", "mailer", 9, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("bad")}}, nil, errNo},
			{"evicted from the log", "mailer", 8, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("old")}}, nil, ErrGone},
			{"after the log", "mailer", 10, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("old")}}, nil, ErrGone},
			{"before the log", "mailer", 0, 0, backend.Record{Pos: at(0), Entry: backend.Entry{Data: payload("old")}}, nil, ErrGone},
			{"malformed", "mailer", 9, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: []byte{0xff}}}, nil, ErrGone},
			{"of a log that is down", "mailer", 9, 0, backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("old")}}, errDown, errDown},
		} {
			log.record, log.err = o.record, o.read
			if err := retry(o.group, o.seq, o.handler); !errors.Is(err, o.want) {
				t.Errorf("%s: %v, want %v", o.name, err, o.want)
			}
		}
		c.expect(t, "old/7")
		var failed *FailedError
		log.record, log.err = backend.Record{Pos: at(9), Entry: backend.Entry{Data: payload("bad")}}, nil
		if err := retry("mailer", 9, 0); !errors.As(err, &failed) {
			t.Errorf("what a handler returned is %T", err)
		}
		s.close()
		if err := retry("mailer", 1, 0); !errors.Is(err, ErrHeld) {
			t.Errorf("of a group that was given up: %v", err)
		}
	})
}

// A retry waits for its turn in the lane of its key, one at a time for each event. One whose
// caller has given up by then calls nobody, and so does one whose group is given up.
func TestRetryThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		release := make(chan struct{})
		var c calls
		s.group("mailer", Options{}, func(ctx context.Context, d Delivery) error {
			if d.Attempt == 1 {
				<-release
			}
			return c.handle(ctx, d)
		})
		s.put("a")
		retry := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() { done <- s.Retry(ctx, "mailer", Again{Pos: at(1), Attempt: 7}) }()
			synctest.Wait()
			return done
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := retry(brief)
		if err := <-retry(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("a second retry of the event: %v", err)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a retry that waits: %v", err)
		}
		close(release)
		c.expect(t, "a/1")
		if err := <-retry(t.Context()); err != nil {
			t.Error(err)
		}
		c.expect(t, "a/7")

		release = make(chan struct{})
		s.put("a")
		last := retry(t.Context())
		s.stop()
		if err := <-last; !errors.Is(err, ErrHeld) {
			t.Errorf("a retry of a group that is given up: %v", err)
		}
		close(release)
		s.close()
		c.expect(t, "a/1")
	})
}

// A node that refuses what handlers cause calls none for a retry either, and says that it
// does not hold the group.
func TestRetryWhileTheNodeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var c calls
		s.group("mailer", Options{}, c.handle)
		s.put("a")
		c.expect(t, "a/1")
		s.node.Ending = func() bool { return true }
		if err := s.Retry(t.Context(), "mailer", Again{Pos: at(1), Attempt: 7}); !errors.Is(err, ErrHeld) {
			t.Error(err)
		}
		s.put("b") // the next holder handles it
		c.expect(t)
		s.close()
		if p := s.progress("mailer"); p.Floor.Seq != 1 || len(p.Done) > 0 {
			t.Errorf("the progress is %+v", p)
		}
	})
}
