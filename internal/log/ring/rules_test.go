package ring

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

func message(seq uint64, channel string) *backend.Logged {
	l := record(seq, backend.Realtime, channel)
	l.Event.Type = backend.Message
	return l
}

// Wait returns when the ring is at the place, or past it, and no later than its context.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(roomy)
		r.fill(message(1, "a"), message(2, "a"))
		ended, end := context.WithCancel(t.Context())
		end()
		for _, c := range []struct {
			seq  uint64
			want error
		}{{1, nil}, {2, nil}, {3, context.Canceled}} {
			if err := r.Wait(ended, *at(c.seq)); err != c.want {
				t.Errorf("for %d of 2: %v, want %v", c.seq, err, c.want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Wait(ctx, *at(3)); err != context.DeadlineExceeded {
			t.Errorf("past the deadline: %v", err)
		}
		go func() {
			for seq := uint64(3); seq <= 5; seq++ {
				time.Sleep(time.Second)
				r.fill(message(seq, "b"))
			}
		}()
		if err := r.Wait(t.Context(), *at(5)); err != nil {
			t.Error(err)
		}
		if n := len(r.topics[Topic{}].subs); n > 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// The end of the past of a channel says whether messages may have been there before:
// presence does not count, and after a loss nobody knows.
func TestEndOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expect := func(what string, r *Ring, messages int, want End) {
			t.Helper()
			if found, end := r.Before("a", Newest, 10); len(found) != messages || end != want {
				t.Errorf("%s: %d messages, %q; want %d, %q", what, len(found), end, messages, want)
			}
		}
		few := Limits{Records: 2, Bytes: 1 << 30, Age: time.Hour}
		r := newRing(few)
		join := record(1, backend.Presence, "a")
		join.Event.Type = backend.PresenceJoin
		r.fill(join, message(2, "a"), message(3, "a"))
		expect("presence was evicted", r, 2, Beginning)
		r.fill(message(4, "b"))
		expect("a message was evicted", r, 1, Gone)

		r = newRing(few)
		r.fill(message(1, "a"))
		time.Sleep(time.Hour)
		expect("just young enough", r, 1, Beginning)
		time.Sleep(time.Nanosecond)
		expect("too old, and nothing came since", r, 0, Gone)

		r = newRing(few)
		r.Reset(*at(0))
		r.fill(message(1, "a"))
		expect("after a loss", r, 1, Gone)
	})
}

// A channel counts as used since its newest message; presence does not count.
func TestChannelsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRing(roomy)
		r.fill(message(1, "a"), message(2, "b"), message(3, "c"))
		time.Sleep(time.Minute)
		since := time.Now()
		join := record(5, backend.Presence, "b")
		join.Event.Type = backend.PresenceJoin
		r.fill(message(4, "a"), join)
		names := r.Channels(since)
		if slices.Sort(names); !slices.Equal(names, []string{"a"}) {
			t.Errorf("used now: %q", names)
		}
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("c"))
		names = r.Channels(since.Add(time.Second))
		r.NewReader().Subscribe(nil, Topic{}, Domain("realtime"))
		if !slices.Equal(names, r.Followed()) {
			t.Errorf("followed: %q", r.Followed())
		}
		if !slices.Equal(names, []string{"c"}) || r.Stats().Subscriptions != 1 || r.Stats().Channels != 1 {
			t.Errorf("followed: %q, %+v", names, r.Stats())
		}
		rd.Unsubscribe(Channel("c"))
		if names = r.Channels(since.Add(time.Second)); len(names) > 0 || r.Stats().Subscriptions != 0 || r.Stats().Channels != 0 {
			t.Errorf("in the end: %q, %+v", names, r.Stats())
		}
		rd.Close()
	})
}

// What is unread is as old as the oldest of it, in whichever order it came to be unread.
// What is live only does not count, nor does what was unsubscribed.
func TestOldestUnread(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRing(roomy)
			rd := r.NewReader()
			defer rd.Close()
			began := time.Now()
			for i, name := range []string{"a", "b"} {
				r.fill(message(uint64(i+1), name))
				time.Sleep(time.Second)
			}
			rd.Subscribe(at(0), Channel("left"), Channel("live"))
			for _, name := range order {
				rd.Subscribe(at(0), Channel(name))
			}
			r.fill(message(3, "left"), batch(4, [3]string{"live", "ada", "typing"}))
			rd.Unsubscribe(Channel("left"))
			if n, oldest := rd.Unread(); n != 2 || !oldest.Equal(began) {
				t.Errorf("%v: %d are unread, the oldest came after %v", order, n, oldest.Sub(began))
			}
		})
	}
}
