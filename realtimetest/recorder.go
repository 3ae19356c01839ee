package realtimetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// Recorder keeps all events that match, in log order, until its server ends.
// Next, Wait, Expect and None read on from where the last of them stopped; they
// belong to the goroutine of the test.
//
// Where events were missed, which a test of faults may bring about, that is
// recorded in their place: see [Reset].
type Recorder struct {
	t       TB
	timeout time.Duration
	read    int // how many events were read

	mu     sync.Mutex
	events []realtime.RenEvent
	ended  error
	came   chan struct{} // has room for one
}

// Record begins to record what happens from now on. Outside of a bubble that
// includes what is on its way through the log at the moment.
func (s *Server) Record(match realtime.EventMatch) *Recorder {
	s.t.Helper()
	matches(s.t, match, realtime.RenEvent{})
	settle()
	r := &Recorder{t: s.t, timeout: s.timeout, came: make(chan struct{}, 1)}
	start := s.Realtime.Cursor()
	s.running.Go(func() {
		for ev, err := range s.Realtime.EventsAfter(context.Background(), match, start) { // until Close
			r.put(ev, err)
		}
	})
	return r
}

// resets is the resource of what is recorded for a [realtime.ResetError]. The
// library reserves names that begin with '$'.
const resets = "$reset"

// Reset matches what is recorded where events were missed: an event whose type
// is the reason. The reason is that of [realtime.ResetError]; "" for any.
func Reset(reason string) realtime.EventMatch {
	return realtime.EventMatch{Resource: resets, Type: reason}
}

func (r *Recorder) put(ev realtime.RenEvent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var reset *realtime.ResetError
	switch {
	case err == nil:
		r.events = append(r.events, ev)
	case errors.As(err, &reset):
		r.events = append(r.events, realtime.RenEvent{Resource: resets, Type: reset.Reason})
	default:
		r.ended = err
	}
	select {
	case r.came <- struct{}{}:
	default:
	}
}

// All returns everything recorded so far, read or not. It reads nothing.
func (r *Recorder) All() []realtime.RenEvent {
	settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Next waits for the next event and returns it.
func (r *Recorder) Next() realtime.RenEvent {
	r.t.Helper()
	ev, err := r.next(time.After(r.timeout))
	if err != nil {
		r.t.Fatalf("Next: %v", err)
	}
	return ev
}

// Wait waits for the next event that matches, and returns it. It skips the events before
// it.
func (r *Recorder) Wait(match realtime.EventMatch) realtime.RenEvent {
	r.t.Helper()
	var skipped strings.Builder
	for late := time.After(r.timeout); ; {
		ev, err := r.next(late)
		if err != nil {
			r.t.Fatalf("Wait for %s: %v\n%s", describe(match, ""), err, &skipped)
		}
		if matches(r.t, match, ev) {
			return ev
		}
		fmt.Fprintf(&skipped, "  skipped  %s\n", describeEvent(ev))
	}
}

// Expect waits for the next len(want) events, which have to match, one each and
// in this order, and returns them. None may come in between.
func (r *Recorder) Expect(want ...realtime.EventMatch) []realtime.RenEvent {
	r.t.Helper()
	var got []realtime.RenEvent
	for late := time.After(r.timeout); len(got) < len(want); {
		ev, err := r.next(late)
		if err != nil {
			r.t.Fatalf("Expect: event %d of %d: %v\n%s", len(got)+1, len(want), err, difference(want, got, nil))
		}
		if !matches(r.t, want[len(got)], ev) {
			settle()
			r.t.Fatalf("Expect: event %d of %d is another one (-want +got):\n%s", len(got)+1, len(want),
				difference(want, got, append([]realtime.RenEvent{ev}, r.rest()...)))
		}
		got = append(got, ev)
	}
	return got
}

// None fails the test if there is anything left to read, and reads it.
//
// In a bubble it waits until everything else waits: if nothing has come then,
// nothing will without another cause or the passing of time. Outside nobody can
// know that. There it waits for 50 ms, which finds what is common and proves
// nothing; waiting for a later event instead does, since there is one order.
func (r *Recorder) None() {
	r.t.Helper()
	if !settle() {
		time.Sleep(quiet)
	}
	if rest := r.rest(); len(rest) > 0 {
		r.t.Errorf("None: %d unexpected:\n%s", len(rest), difference(nil, nil, rest))
	}
}

const quiet = 50 * time.Millisecond

// next reads the next event.
func (r *Recorder) next(late <-chan time.Time) (realtime.RenEvent, error) {
	for {
		if ev, ok, err := r.take(); ok || err != nil {
			return ev, err
		}
		select {
		case <-r.came:
		case <-late:
			return realtime.RenEvent{}, fmt.Errorf("nothing came within %v", r.timeout)
		}
	}
}

func (r *Recorder) take() (ev realtime.RenEvent, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read == len(r.events) {
		return ev, false, r.ended
	}
	r.read++
	return r.events[r.read-1], true, nil
}

// rest reads what there is.
func (r *Recorder) rest() []realtime.RenEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := r.events[r.read:]
	r.read = len(r.events)
	return slices.Clone(rest)
}

func matches(t TB, match realtime.EventMatch, ev realtime.RenEvent) bool {
	t.Helper()
	ok, err := match.Match(ev)
	if err != nil {
		t.Fatalf("%s: %v", describe(match, ""), err)
	}
	return ok
}

// difference lists what came as wanted, then what is wanted still (-), and what
// came instead (+).
func difference(want []realtime.EventMatch, as, instead []realtime.RenEvent) string {
	var b strings.Builder
	for i, ev := range as {
		fmt.Fprintf(&b, "  %3d  %s\n", i+1, describeEvent(ev))
	}
	n := len(as)
	for i := range max(len(want)-n, len(instead)) {
		if n+i < len(want) {
			fmt.Fprintf(&b, "- %3d  %s\n", n+i+1, describe(want[n+i], ""))
		}
		if i < len(instead) {
			fmt.Fprintf(&b, "+ %3d  %s\n", n+i+1, describeEvent(instead[i]))
		}
	}
	return b.String()
}

func describeEvent(ev realtime.RenEvent) string {
	const most = 120 // characters of data
	rest := ""
	if ev.User != "" {
		rest += " User=" + ev.User
	}
	if data := string(ev.Data); len(data) > most {
		rest += fmt.Sprintf(" Data=%.*s… (%d bytes)", most, data, len(data))
	} else if data != "" {
		rest += " Data=" + data
	}
	return describe(realtime.EventMatch{
		Resource: ev.Resource, Type: ev.Type, Namespace: ev.Namespace, Key: ev.Key, Channel: ev.Channel,
	}, rest)
}

// describe shows an event and a match alike, so that they can be compared.
func describe(m realtime.EventMatch, rest string) string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{
		{"Resource", m.Resource}, {"Type", m.Type}, {"Namespace", m.Namespace}, {"Key", m.Key}, {"Channel", m.Channel},
	} {
		if f.value != "" {
			fmt.Fprintf(&b, " %s=%s", f.name, f.value)
		}
	}
	if b.WriteString(rest); b.Len() == 0 {
		return "any event"
	}
	return b.String()[1:]
}
