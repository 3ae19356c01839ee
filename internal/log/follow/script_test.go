package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

func pos(epoch, seq uint64) backend.Position { return backend.Position{Epoch: epoch, Seq: seq} }

// page returns one with the records of an epoch from one seq to another.
func page(first, head backend.Position, epoch, from, to uint64) backend.Page {
	p := backend.Page{First: first, Head: head}
	for seq := from; seq <= to; seq++ {
		p.Records = append(p.Records, backend.Record{Entry: event(fmt.Sprint(seq)), Pos: pos(epoch, seq)})
	}
	return p
}

var errScript = errors.New("not in the script")

// script is a log that answers as it is told, one call after another.
type script struct {
	mu      sync.Mutex
	pages   []any // each a Page or an error
	follows []func(sink func([]backend.Record)) error
	begun   []time.Time // calls of Follow
}

func (s *script) Read(context.Context, backend.Position, int) (backend.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pages) == 0 {
		return backend.Page{}, errScript
	}
	next := s.pages[0]
	s.pages = s.pages[1:]
	if err, is := next.(error); is {
		return backend.Page{}, err
	}
	return next.(backend.Page), nil
}

// Follow runs until its context ends, after what the script has.
func (s *script) Follow(ctx context.Context, _ backend.Position, sink func([]backend.Record)) error {
	s.mu.Lock()
	s.begun = append(s.begun, time.Now())
	var next func(func([]backend.Record)) error
	if len(s.follows) > 0 {
		next, s.follows = s.follows[0], s.follows[1:]
	}
	s.mu.Unlock()
	if next != nil {
		return next(sink)
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestStart(t *testing.T) {
	for _, c := range []struct {
		page any
		want backend.Position
		err  error
	}{
		{page: backend.Page{First: pos(1, 1), Head: pos(1, 10)}, want: pos(1, 6)},
		{page: backend.Page{First: pos(1, 1), Head: pos(1, 3)}, want: pos(1, 0)},
		{page: backend.Page{First: pos(1, 9), Head: pos(1, 10)}, want: pos(1, 8)},
		{page: backend.Page{First: pos(1, 9), Head: pos(2, 10)}, want: pos(2, 6)}, // those before are of an epoch that has ended
		{page: backend.Page{}},
		{page: errScript, err: errScript},
	} {
		if got, err := Start(t.Context(), &script{pages: []any{c.page}}, 4); got != c.want || err != c.err {
			t.Errorf("%+v: starts after %v, %v; want %v", c.page, got, err, c.want)
		}
	}
}

// Fill reads what is there, and tells what is gone, in as few reads as there are pages
// here: another one is an error.
func TestFill(t *testing.T) {
	for _, c := range []struct {
		name  string
		head  backend.Position // of the history
		pages []any
		want  string
		err   error
	}{
		{"an error", pos(1, 2), []any{errScript}, "", errScript},
		{"nothing new", pos(1, 2), []any{page(pos(1, 1), pos(1, 2), 1, 1, 0)}, "", nil},
		{"two pages", pos(1, 2), []any{page(pos(1, 1), pos(1, 5), 1, 3, 4), page(pos(1, 1), pos(1, 5), 1, 5, 5)}, "3 4 5", nil},
		{"more than was there", pos(1, 2), []any{page(pos(1, 1), pos(1, 3), 1, 3, 4)}, "3 4", nil},
		{"an empty page", pos(1, 2), []any{page(pos(1, 1), pos(1, 8), 1, 1, 0)}, "", nil},
		{"an old copy", pos(1, 5), []any{page(pos(1, 1), pos(1, 3), 1, 1, 0)}, "", errTail},
		{"another epoch", pos(1, 9), []any{page(pos(2, 1), pos(2, 3), 2, 3, 3), page(pos(2, 1), pos(2, 3), 2, 1, 3)}, "reset 1 2 3", nil},
		{"of which nothing is known", pos(1, 9), []any{page(pos(1, 4), pos(2, 3), 2, 1, 0)}, "reset", nil},
		{"of which nothing is there", pos(1, 9), []any{page(pos(2, 0), pos(2, 0), 2, 1, 0)}, "reset", nil},
		{"evicted", pos(1, 2), []any{page(pos(1, 6), pos(1, 7), 1, 6, 7), page(pos(1, 6), pos(1, 7), 1, 6, 7)}, "reset 6 7", nil},
		{"evicted by the time of the reading", pos(1, 2), []any{page(pos(1, 1), pos(1, 7), 1, 6, 7)}, "reset 6 7", nil},
		{"no records, and none to come", pos(1, 8), []any{page(pos(1, 12), pos(1, 8), 1, 1, 0)}, "", nil},
		{"a gap", pos(1, 2), []any{backend.Page{
			First: pos(1, 1), Head: pos(1, 6), Records: append(page(pos(1, 1), pos(1, 6), 1, 3, 4).Records, page(pos(1, 1), pos(1, 6), 1, 6, 6).Records...),
		}}, "3 4", errGap},
	} {
		h := &history{head: c.head}
		f := &Follower{Log: &script{pages: c.pages}, History: h, Logger: slog.New(slog.DiscardHandler)}
		err := f.Fill(t.Context())
		if got := strings.Join(h.said, " "); got != c.want || err != c.err {
			t.Errorf("%s: the history got %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// logs is what was logged, a line each.
type logs struct{ testkit.Logs }

// levels returns the levels of the lines since its last call.
func (l *logs) levels() (levels []string) {
	for line := range strings.Lines(l.Take()) {
		_, rest, _ := strings.Cut(line, "level=")
		level, _, _ := strings.Cut(rest, " ")
		levels = append(levels, level)
	}
	return levels
}

func (l *logs) logger() *slog.Logger { return l.Logger(slog.LevelInfo) }

// running runs a follower of a script whose history has read up to 1.3.
func running(t *testing.T, s *script, then func(h *history, f *Follower, l *logs, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, l := &history{head: pos(1, 3)}, &logs{}
		f := &Follower{Log: s, History: h, Logger: l.logger(), Control: func(backend.Event) {}}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { f.Run(ctx) })
		synctest.Wait()
		then(h, f, l, func() { cancel(); running.Wait() })
		cancel()
		running.Wait()
	})
}

func fails(err error) func(func([]backend.Record)) error {
	return func(func([]backend.Record)) error { return err }
}

func gives(seqs ...uint64) func(func([]backend.Record)) error {
	return func(sink func([]backend.Record)) error {
		for _, seq := range seqs {
			sink(page(pos(1, 1), pos(1, 9), 1, seq, seq).Records)
		}
		return errScript
	}
}

// What is missing is read back. Nobody is reset while it is not known to be gone.
func TestRecover(t *testing.T) {
	lost := func(epoch, seq uint64) func(func([]backend.Record)) error {
		return fails(&backend.LostError{Next: pos(epoch, seq)})
	}
	type follows = []func(func([]backend.Record)) error
	for _, c := range []struct {
		name    string
		follows follows
		pages   []any
		want    string
		levels  []string
	}{
		{"nothing happens", nil, nil, "", nil},
		{"an error", follows{fails(errScript)}, nil, "", []string{"ERROR"}},
		{"a gap", follows{gives(5)}, []any{page(pos(1, 1), pos(1, 5), 1, 4, 5)}, "4 5", []string{"INFO"}},
		{"a gap that cannot be read yet", follows{gives(5), gives(5)}, []any{errScript, page(pos(1, 1), pos(1, 5), 1, 4, 5)}, "4 5", []string{"INFO", "ERROR", "INFO"}},
		{"a gap that an old copy does not have", follows{gives(5)}, []any{page(pos(1, 1), pos(1, 3), 1, 1, 0)}, "", []string{"INFO"}},
		{"lost, but there", follows{lost(1, 5)}, []any{page(pos(1, 1), pos(1, 5), 1, 4, 5)}, "4 5", []string{"INFO"}},
		{"lost", follows{lost(1, 5)}, []any{page(pos(1, 1), pos(1, 3), 1, 1, 0)}, "reset", []string{"INFO", "WARN"}},
		{"lost, perhaps", follows{lost(1, 5), lost(1, 5)}, []any{errScript, page(pos(1, 1), pos(1, 5), 1, 4, 5)}, "4 5", []string{"INFO", "ERROR", "INFO"}},
		{"nothing is lost", follows{lost(1, 3)}, []any{page(pos(1, 1), pos(1, 3), 1, 1, 0)}, "", []string{"INFO"}},
		{"another epoch", follows{lost(2, 7)}, nil, "reset", []string{"WARN"}},
		{"a repetition", follows{gives(3, 4, 3, 4, 5)}, nil, "4 5", []string{"ERROR"}},
	} {
		s := &script{follows: c.follows, pages: c.pages}
		running(t, s, func(h *history, f *Follower, l *logs, stop func()) {
			time.Sleep(time.Minute)
			stop()
			levels := l.levels()
			if got := strings.Join(h.said, " "); got != c.want || !slices.Equal(levels, c.levels) || f.Stats().Failures != uint64(len(c.follows)) {
				t.Errorf("%s: the history got %q, want %q; logged %v; %d failures", c.name, got, c.want, levels, f.Stats().Failures)
			}
		})
	}
}

// Attempts come ever more rarely, until there is progress, and not after the end.
func TestPace(t *testing.T) {
	s := &script{}
	for range 30 {
		s.follows = append(s.follows, fails(errScript))
	}
	s.follows = append(s.follows, gives(4))
	for range 1000 {
		s.follows = append(s.follows, fails(errScript))
	}
	running(t, s, func(_ *history, _ *Follower, _ *logs, stop func()) {
		time.Sleep(5 * time.Minute)
		stop()
		wait := func(n int) time.Duration { return s.begun[n].Sub(s.begun[n-1]) }
		if wait(1) > leastWait || wait(29) < mostWait/2 || wait(31) > leastWait || wait(50) < mostWait/2 {
			t.Errorf("the waits are %v, %v, after progress %v, %v", wait(1), wait(29), wait(31), wait(50))
		}
		if last := s.begun[len(s.begun)-1]; !last.Before(time.Now()) {
			t.Error("one more attempt after the end")
		}
	})
}

func TestClosedBackend(t *testing.T) {
	s := &script{follows: []func(func([]backend.Record)) error{fails(backend.ErrClosed), gives(4)}}
	running(t, s, func(h *history, _ *Follower, l *logs, _ func()) {
		time.Sleep(time.Hour)
		if levels := l.levels(); !slices.Equal(levels, []string{"ERROR"}) || len(h.said) > 0 {
			t.Errorf("logged %v, and the history got %v", levels, h.said)
		}
	})
}

// The lag is that of events whose node said when it made them.
func TestStats(t *testing.T) {
	s := &script{follows: []func(func([]backend.Record)) error{func(sink func([]backend.Record)) error {
		for i, age := range []time.Duration{time.Second, 0} {
			p := backend.Payload{Event: backend.Event{Type: "kv.put", Resource: "kv"}}
			if age > 0 {
				p.Event.UnixMilli = time.Now().Add(-age).UnixMilli()
			}
			sink([]backend.Record{{Pos: pos(1, uint64(4+i)), Entry: backend.Entry{Data: p.Encode()}}})
		}
		return errScript
	}}}
	running(t, s, func(_ *history, f *Follower, _ *logs, _ func()) {
		count := uint64(0)
		for _, n := range f.Stats().Lag.Counts {
			count += n
		}
		if sum := f.Stats().Lag.Sum; count != 1 || sum < time.Second || sum > time.Second+time.Millisecond {
			t.Errorf("the lag of %d is %v", count, sum)
		}
	})
}

// kept is a history that keeps the kinds of live messages.
type kept struct {
	history
	live []string
}

func (k *kept) Put(recs []*backend.Logged) {
	if len(recs) == 0 {
		k.said = append(k.said, "nothing")
	}
	for _, r := range recs {
		for _, l := range r.Live {
			k.live = append(k.live, l.Kind)
		}
	}
	k.history.Put(recs)
}

// Messages with a key, and live records that are no messages, tell of growing messages.
// Live messages stand with their record. That one cannot be read is said once.
func TestUnshownRecords(t *testing.T) {
	var l logs
	h := &kept{history: history{head: pos(1, 0)}}
	var growing, control []string
	f := &Follower{
		History: h, Logger: l.logger(),
		Growing: func(ev *backend.Event) { growing = append(growing, ev.Key) },
		Control: func(ev backend.Event) { control = append(control, ev.Key) },
	}
	message := backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "room", Key: "typing"}
	batch := live.Encode([]backend.Payload{{Event: message}, {Event: backend.Event{Resource: backend.Control, Key: "grows"}}})
	record := func(seq uint64, ev backend.Event) backend.Record {
		p := backend.Payload{Event: ev}
		return backend.Record{Pos: pos(1, seq), Entry: backend.Entry{Data: p.Encode()}}
	}
	recs := []backend.Record{
		record(1, backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "room"}),
		record(2, backend.Event{Resource: "kv", Type: "kv.put", Key: "k"}),
		record(3, backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "room", Key: "begins"}),
		record(4, backend.Event{Resource: backend.Control, Type: "x", Key: "c", Data: []byte("{}")}),
		record(5, backend.Event{Resource: backend.Control, Type: live.Type, Data: batch}),
	}
	for range 2 { // again: it is known
		if err := f.put(recs, h.Put, f.Control); err != nil || len(l.levels()) > 0 {
			t.Error(err, &l)
		}
	}
	if slices.Contains(h.said, "nothing") {
		t.Error("the history got nothing")
	}
	if got := fmt.Sprint(growing, control, h.live); got != "[begins grows] [c] [typing]" {
		t.Errorf("told %s", got)
	}
	bad := record(6, backend.Event{Resource: backend.Control, Type: live.Type, Data: append(batch, 0x80)})
	if err := f.put([]backend.Record{bad}, h.Put, f.Control); err != nil || !slices.Equal(l.levels(), []string{"ERROR"}) || len(h.live) != 2 {
		t.Errorf("%v, live %v", err, h.live)
	}
	bad.Pos = pos(1, 7)
	if err := f.put([]backend.Record{bad}, h.Put, f.Control); err != nil || len(l.levels()) > 0 || len(h.live) != 3 {
		t.Errorf("the next one: %v, live %v", err, h.live)
	}
	f.Growing = nil // as while the history is filled
	again := recs[2]
	again.Pos = pos(1, 8)
	if err := f.put([]backend.Record{again}, h.Put, f.Control); err != nil {
		t.Error(err)
	}
}
