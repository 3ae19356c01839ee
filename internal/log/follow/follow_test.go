package follow

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// history is one that tells what happens to it: "key", or "reset".
type history struct {
	mu   sync.Mutex
	head backend.Position
	said []string
}

func (h *history) Head() backend.Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
}

func (h *history) Put(recs []*backend.Logged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range recs {
		if r.Pos != h.head.Next() {
			h.said = append(h.said, fmt.Sprintf("%v after %v", r.Pos, h.head))
		}
		h.head = r.Pos
		if r.Event.Resource == "" {
			h.said = append(h.said, "-")
		} else {
			h.said = append(h.said, r.Event.Key)
		}
	}
}

func (h *history) Fill(recs []*backend.Logged) { h.Put(recs) }

func (h *history) Reset(pos backend.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.head, h.said = pos, append(h.said, "reset")
}

// world is a log with faults, followed into a history.
type world struct {
	t *testing.T
	b *backendtest.Faulty
	h *history
	n int
}

func following(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, b: backendtest.NewFaulty(memory.New(memory.Limits{Records: 100})), h: &history{}}
		w.append(3)
		ctx, stop := context.WithCancel(t.Context())
		start, err := Start(ctx, w.b, 2)
		if err != nil {
			t.Fatal(err)
		}
		w.h.head = start
		fo := &Follower{Log: w.b, History: w.h, Logger: slog.New(slog.DiscardHandler), Control: func(ev backend.Event) {
			w.h.mu.Lock()
			defer w.h.mu.Unlock()
			w.h.said = append(w.h.said, "control "+ev.Key)
		}}
		if err := fo.Fill(ctx); err != nil {
			t.Fatal(err)
		}
		w.said("at the start", "2 3")
		done := make(chan struct{})
		go func() { fo.Run(ctx); close(done) }()
		synctest.Wait()
		f(w)
		stop()
		<-done
	})
}

func event(key string) backend.Entry {
	p := backend.Payload{Event: backend.Event{Type: "kv.put", Resource: "kv", Key: key}}
	return backend.Entry{Data: p.Encode()}
}

func (w *world) append(n int) {
	w.t.Helper()
	for range n {
		w.n++
		if _, err := w.b.Append(w.t.Context(), event(fmt.Sprint(w.n))); err != nil {
			w.t.Fatal(err)
		}
	}
}

// said compares what happened to the history with want, once all has settled.
func (w *world) said(step, want string) {
	w.t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if got := strings.Join(w.h.said, " "); got != want {
		w.t.Errorf("%s: the history got %q, want %q", step, got, want)
	}
	w.h.said = nil
}

func TestFollow(t *testing.T) {
	following(t, func(w *world) {
		w.append(2)
		w.said("live", "4 5")
	})
}

// Records that a backend left out are read back, and nobody is reset.
func TestGapIsReadBack(t *testing.T) {
	following(t, func(w *world) {
		w.b.Skip(2)
		w.append(4)
		w.said("a gap", "4 5 6 7")
		w.append(1)
		w.said("after it", "8")
	})
}

func TestRepetitionIsDropped(t *testing.T) {
	following(t, func(w *world) {
		w.append(2)
		w.said("live", "4 5")
		w.b.Repeat(2)
		w.append(1)
		w.said("a repetition", "6")
	})
}

// Records that a lagging follower missed are read back while they are there. Otherwise
// the loss is reported.
func TestEvictionIsTold(t *testing.T) {
	following(t, func(w *world) {
		w.b.Hold()
		w.append(20)
		w.b.FailFollow(1, &backend.LostError{Next: w.h.Head()})
		w.b.Release()
		var want []string
		for i := 4; i <= 23; i++ {
			want = append(want, fmt.Sprint(i))
		}
		w.said("lost, but retained", strings.Join(want, " "))
	})
}

func TestTailLossIsTold(t *testing.T) {
	following(t, func(w *world) {
		w.append(4)
		w.said("live", "4 5 6 7")
		w.b.LoseTail(2)
		w.append(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.h.mu.Lock()
		got := slices.Clone(w.h.said)
		w.h.said = nil
		w.h.mu.Unlock()
		if len(got) == 0 || got[0] != "reset" || slices.Contains(got[1:], "reset") {
			t.Errorf("after the tail was lost: %q", got)
		}
		w.append(1)
		w.said("after it", "10")
	})
}

func TestNewEpochIsTold(t *testing.T) {
	following(t, func(w *world) {
		w.b.NewEpoch()
		w.append(2)
		w.said("a log made again", "reset 4 5")
	})
}

func TestErrorsAreRetried(t *testing.T) {
	following(t, func(w *world) {
		w.b.FailFollow(3, fmt.Errorf("boom"))
		w.append(2)
		w.said("after errors", "4 5")
	})
}

// A follower gets control records from when it begins to follow. No history shows them.
func TestControl(t *testing.T) {
	following(t, func(w *world) {
		p := backend.Payload{Event: backend.Event{Type: "x", Resource: backend.Control, Key: "k"}}
		w.b.Skip(1)
		for range 2 {
			if _, err := w.b.Append(t.Context(), backend.Entry{Data: p.Encode()}); err != nil {
				t.Fatal(err)
			}
		}
		w.said("control records, one of them read back", "control k control k - -")
		fo := &Follower{Log: w.b, History: w.h, Logger: slog.New(slog.DiscardHandler), Control: func(backend.Event) { t.Error("told of what was before") }}
		w.h.head.Seq--
		if err := fo.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A record that this release cannot read keeps its place and is not shown, nor is an
// event of a member that comes after a newer one.
func TestUnshown(t *testing.T) {
	var d decoder
	var l logs
	log := l.logger()
	member := func(user string, cause backend.Revision, late bool) *backend.Logged {
		p := backend.Payload{Event: backend.Event{Type: backend.PresenceJoin, Resource: backend.Presence, Channel: "room", User: user}}
		return d.record(&backend.Record{Entry: backend.Entry{Data: p.Encode()}, Cause: cause}, late, log)
	}
	for range 3 {
		r := d.record(&backend.Record{Entry: backend.Entry{Data: []byte{99}}, Pos: backend.Position{Epoch: 1, Seq: 2}, Cause: 1}, true, log)
		if r.Event.Resource != "" || r.Pos.Seq != 2 {
			t.Errorf("an unreadable record became %+v", r)
		}
	}
	if levels := l.levels(); !slices.Equal(levels, []string{"ERROR"}) { // once
		t.Errorf("logged %v", levels)
	}
	for _, c := range []struct {
		user  string
		cause backend.Revision
		late  bool // events may come late
		shown bool
	}{
		{"ada", 5, true, true}, {"ada", 7, true, true}, {"ada", 6, true, false}, {"ada", 7, true, false}, {"ada", 8, true, true},
		{"bob", 6, true, true}, {"ada", 3, false, true},
	} {
		r := member(c.user, c.cause, c.late)
		if (r.Event.Resource != "") != c.shown || (len(l.levels()) > 0) == c.shown {
			t.Errorf("%+v: shown is %v", c, !c.shown)
		}
	}
	for i := range maxMembers + 1 {
		d.stale(recordID{backend.Presence, "other", fmt.Sprint(i)}, 9)
	}
	if len(d.causes) != maxMembers {
		t.Errorf("%d members are remembered", len(d.causes))
	}
}
