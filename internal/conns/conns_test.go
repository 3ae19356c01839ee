package conns

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

func nobody(*Handshake) bool { return false }

// opened is a connection with what has happened to it.
type opened struct {
	*Conn
	ctx     context.Context
	dropped atomic.Int32
}

func prepare() *opened {
	o := &opened{Conn: &Conn{}}
	o.ctx, o.Cancel = context.WithCancelCause(context.Background())
	o.OnAbort(func() { o.dropped.Add(1) })
	return o
}

// open lets a user in.
func open(t *testing.T, cs *Conns, user string) *opened {
	t.Helper()
	o, h := prepare(), cs.Begin()
	defer h.End()
	if err := h.Add(o.Conn, user); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	return o
}

func unlimited() *Conns { return New(Limits{Connections: 100, Pace: Rate{1, 2}, Flood: Rate{4, 8}}) }

// A user has at most so many connections; each that ends, or turns out to be
// somebody else's, makes room.
func TestLimitOfAUser(t *testing.T) {
	cs := New(Limits{Connections: 2})
	refused := func(user string) bool {
		h := cs.Begin()
		defer h.End()
		c := prepare()
		err := h.Add(c.Conn, user)
		if err == nil {
			cs.Remove(c.Conn)
		} else if err != ErrTooMany {
			t.Errorf("%s: %v", user, err)
		}
		return err != nil
	}
	first, second := open(t, cs, "ada"), open(t, cs, "ada")
	for range 5 {
		open(t, cs, "")
	}
	open(t, cs, "bob")
	if !refused("ada") || refused("bob") || refused("") {
		t.Error("two of ada, one of bob, many of nobody: not ada alone is refused")
	}
	cs.Remove(first.Conn)
	if refused("ada") {
		t.Error("the room of one that ended is not given")
	}
	h := cs.Begin()
	defer h.End()
	if err := h.Identify(second.Conn, "ada"); err != nil {
		t.Errorf("the same user again: %v", err)
	}
	if err := h.Identify(second.Conn, "carol"); err != nil {
		t.Errorf("another user: %v", err)
	}
	open(t, cs, "ada")
	open(t, cs, "ada")
	if err := h.Identify(second.Conn, "ada"); err != ErrTooMany {
		t.Errorf("a third one of ada: %v", err)
	}
	if got := cs.Invalidate("carol", nobody); len(got) != 1 || got[0] != second.Conn {
		t.Errorf("who could not become ada is not carol any longer: %v", got)
	}
}

// The connections of one user share a pace; who is anonymous has none.
func TestPaceOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := unlimited()
		a, b, other, anonymous := open(t, cs, "ada"), open(t, cs, "ada"), open(t, cs, "bob"), open(t, cs, "")
		got := []bool{a.AllowOperation(), b.AllowOperation(), a.AllowOperation(), other.AllowOperation(), anonymous.AllowOperation()}
		if want := []bool{true, true, false, true, true}; !slices.Equal(got, want) {
			t.Errorf("operations: %v, want %v", got, want)
		}
		frames := 0
		for a.AllowFrame() {
			frames++
		}
		if frames != 8 || b.AllowFrame() || !other.AllowFrame() || !anonymous.AllowFrame() {
			t.Errorf("%d frames", frames)
		}
		time.Sleep(time.Second)
		if !b.AllowOperation() || a.AllowOperation() {
			t.Error("a second later not one operation more is allowed")
		}
	})
}

// If the rights of a user change while a client is being let in, we learn only afterwards
// whether the client is that user. It is then refused, unless letting it in made the
// change.
func TestInvalidate(t *testing.T) {
	cs := unlimited()
	here, other := open(t, cs, "ada"), open(t, cs, "bob")
	early, spared := cs.Begin(), cs.Begin()
	if got := cs.Invalidate("ada", func(h *Handshake) bool { return h == spared }); len(got) != 1 || got[0] != here.Conn {
		t.Errorf("%v is open", got)
	}
	late := cs.Begin()
	for name, c := range map[string]struct {
		h    *Handshake
		user string
		want error
	}{
		"begun before":           {early, "ada", ErrInvalidated},
		"begun before, another":  {early, "carol", nil},
		"begun before, nobody":   {early, "", nil},
		"within the change":      {spared, "ada", nil},
		"begun after the change": {late, "ada", nil},
	} {
		if err := c.h.Add(prepare().Conn, c.user); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.h.Identify(prepare().Conn, c.user); err != c.want {
			t.Errorf("%s, as the hello says: %v", name, err)
		}
	}
	early.End()
	early.End()
	if other.ctx.Err() != nil || here.ctx.Err() != nil {
		t.Error("Invalidate ends what it returns only")
	}
}

// It is not known of each connection whose it is: such a one is not that of an anonymous
// client before its client has said so.
func TestInvalidateUnknown(t *testing.T) {
	cs := unlimited()
	c := prepare()
	c.Unknown = true
	begin := func() *Handshake {
		h := cs.Begin()
		t.Cleanup(h.End)
		return h
	}
	early := begin()
	anonymous := func(when string, want ...*Conn) {
		t.Helper()
		if got := cs.Invalidate("", nobody); !slices.Equal(got, want) {
			t.Errorf("%s: %v are anonymous, want %v", when, got, want)
		}
	}
	if err := begin().Add(c.Conn, ""); err != nil {
		t.Fatal(err)
	}
	anonymous("before the hello")
	if err := early.Identify(c.Conn, ""); err != ErrInvalidated {
		t.Errorf("asked before the change: %v", err)
	}
	anonymous("after a hello that was refused")
	if err := begin().Identify(c.Conn, ""); err != nil {
		t.Error(err)
	}
	anonymous("after the hello", c.Conn)
}

// A registry that is closed lets nobody in, and goes on with those who are.
func TestClose(t *testing.T) {
	cs := unlimited()
	c, h := open(t, cs, "ada"), cs.Begin()
	cs.Close()
	if err := h.Add(prepare().Conn, "bob"); err != ErrClosing || !cs.IsClosed() || c.ctx.Err() != nil {
		t.Errorf("%v; closed: %v; the open one: %v", err, cs.IsClosed(), c.ctx.Err())
	}
	if err := h.Identify(c.Conn, "bob"); err != nil {
		t.Errorf("who is in may still say who it is: %v", err)
	}
}

// Drain ends everybody with the rest, aborts those who do not come to an end, and
// waits for them no longer than it may.
func TestDrain(t *testing.T) {
	rest := backend.Position{Epoch: 1, Seq: 9}
	for name, c := range map[string]struct {
		end  func(cs *Conns, o *opened) // what a connection does
		want error
		took time.Duration
	}{
		"ends by itself": {func(cs *Conns, o *opened) {
			<-o.ctx.Done()
			time.Sleep(2 * time.Second)
			cs.Remove(o.Conn)
		}, nil, 2 * time.Second},
		"ends when aborted": {func(cs *Conns, o *opened) {
			for o.dropped.Load() == 0 {
				time.Sleep(time.Second / 4)
			}
			cs.Remove(o.Conn)
		}, context.DeadlineExceeded, 10 * time.Second},
		"never ends": {func(*Conns, *opened) {}, context.DeadlineExceeded, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cs := unlimited()
				o, began := open(t, cs, "ada"), time.Now()
				go c.end(cs, o)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				late, giveUp := Outlast(ctx, 2*time.Second)
				defer giveUp()
				err := cs.Drain(ctx, late, rest)
				if took := time.Since(began); !errors.Is(err, c.want) || took/time.Second != c.took/time.Second {
					t.Errorf("%v after %v", err, took)
				}
				if cs.Users() > 0 {
					cs.Remove(o.Conn) // Await's goroutine waits for it
				}
				var why *Ending
				if !errors.As(context.Cause(o.ctx), &why) || why.Reason != "closing" || why.Rest != rest || why.Retry >= 10*time.Second {
					t.Errorf("it ends with %v", context.Cause(o.ctx))
				}
			})
		})
	}
}

// End tells the client, and drops it where that takes long.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := unlimited()
		quick, slow := open(t, cs, "ada"), open(t, cs, "ada")
		for _, o := range []*opened{quick, slow} {
			o.End(Revoked)
			if context.Cause(o.ctx) != Revoked || !o.IsEnding() || o.IsAborted() {
				t.Errorf("%v, ending: %v, aborted: %v", context.Cause(o.ctx), o.IsEnding(), o.IsAborted())
			}
		}
		cs.Remove(quick.Conn)
		<-quick.Done()
		time.Sleep(time.Second)
		if quick.dropped.Load() != 0 || slow.dropped.Load() != 1 || !slow.IsAborted() {
			t.Errorf("dropped %d and %d times", quick.dropped.Load(), slow.dropped.Load())
		}
		again := 0
		slow.OnAbort(func() { again++ })
		if again != 1 {
			t.Error("what comes after the abort is not dropped")
		}
	})
}

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := unlimited()
		ends, stays, never := open(t, cs, "ada"), open(t, cs, "ada"), open(t, cs, "ada")
		ends.Expire(time.Now().Add(time.Minute))
		stop := stays.Expire(time.Now().Add(time.Minute))
		if !stop() || never.Expire(time.Time{})() {
			t.Error("what stop reports is not what it stopped")
		}
		time.Sleep(2 * time.Minute)
		if context.Cause(ends.ctx) != Expired || stays.ctx.Err() != nil || never.ctx.Err() != nil {
			t.Errorf("%v, %v, %v", context.Cause(ends.ctx), stays.ctx.Err(), never.ctx.Err())
		}
	})
}

// Either the writer does what it is given, or the connection ends or has ended. A slow
// machine is not an error.
func TestRunOnWriter(t *testing.T) {
	for name, c := range map[string]struct {
		play func(cs *Conns, o *opened, f func())
		want bool
		took time.Duration
		end  error
	}{
		"at once":                 {func(_ *Conns, _ *opened, f func()) { f() }, true, 0, nil},
		"a slow machine":          {func(_ *Conns, _ *opened, f func()) { time.Sleep(3 * time.Second); f() }, true, 3 * time.Second, nil},
		"a slow client":           {func(_ *Conns, o *opened, _ func()) { o.Writing.Store(true) }, false, KickTimeout, Rotated},
		"a slow function":         {func(_ *Conns, o *opened, f func()) { o.Rendering.Store(true); time.Sleep(3 * time.Second); f() }, true, 3 * time.Second, nil},
		"a writer that ended":     {func(_ *Conns, o *opened, _ func()) { o.Silence() }, false, KickTimeout, nil},
		"a connection that ended": {func(cs *Conns, o *opened, _ func()) { time.Sleep(time.Second); cs.Remove(o.Conn) }, false, time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cs := unlimited()
				o, ran, began := open(t, cs, "ada"), false, time.Now()
				got := o.RunOnWriter(func(f func()) { go c.play(cs, o, f) }, func() { ran = true })
				if took := time.Since(began); got != c.want || ran != c.want || took != c.took || context.Cause(o.ctx) != c.end {
					t.Errorf("%v after %v, ran: %v, ended: %v", got, took, ran, context.Cause(o.ctx))
				}
			})
		})
	}
}
