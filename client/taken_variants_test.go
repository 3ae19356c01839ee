package client_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// What is taken away while the client is away ends its loops when it is back.
func TestTakenWhileAway(t *testing.T) {
	bubble(t, "for good", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		loop, who := messages(t, rt, "room"), changes(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		synctest.Wait()
		who.take()
		h.listen.Cut()
		h.set(errTaken)
		time.Sleep(20 * time.Second)
		if got := loop.take(); !strings.HasPrefix(got, forbidden) || !loop.ended() {
			t.Errorf("the loop was told %q", got)
		}
		if got := who.take(); !strings.Contains(got, forbidden) || !who.ended() {
			t.Errorf("the watcher was told %q", got)
		}
		if n := len(rt.Presence("room").Members()); n > 0 {
			t.Errorf("%d members are known", n)
		}
		h.set(nil)
		again := messages(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		synctest.Wait()
		h.publish("room", "x")
		again.want(t, "x")
	})
	bubble(t, "after it was away for a while", func(t *testing.T) {
		h := startWithRights(t)
		loop := messages(t, h.ada(), "room")
		synctest.Wait()
		h.set(realtime.ErrTemporary)
		time.Sleep(5 * time.Second)
		h.listen.Cut()
		h.set(errTaken)
		time.Sleep(30 * time.Second)
		if got := loop.take(); !strings.HasPrefix(got, forbidden) || !loop.ended() {
			t.Errorf("the loop was told %q", got)
		}
	})
}

// A right that is taken away and given back between two pings was taken away: its loops
// have ended, and the others miss nothing that comes after they began.
func TestTakenAndGivenBack(t *testing.T) {
	bubble(t, "at once", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		loop, who := messages(t, rt, "room"), changes(t, rt, "room")
		synctest.Wait()
		h.publish("room", "a")
		loop.want(t, "a")
		h.set(errTaken)
		h.publish("room", "b")
		h.set(nil)
		h.publish("room", "c")
		if got := loop.take(); !strings.HasPrefix(got, forbidden) || !loop.ended() {
			t.Errorf("the loop was told %q", got)
		}
		if got := who.take(); !strings.HasPrefix(got, forbidden) || !who.ended() {
			t.Errorf("the watcher was told %q", got)
		}
		again := messages(t, rt, "room")
		synctest.Wait()
		h.publish("room", "d")
		again.want(t, "d")
		h.listen.Cut()
		h.publish("room", "e")
		time.Sleep(10 * time.Second)
		again.want(t, "e")
	})
}

// A policy that cannot be asked, again and again and with the connection cut as
// well, costs no message.
func TestTakenForAWhileAgain(t *testing.T) {
	bubble(t, "five times", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		loop, who := messages(t, rt, "room"), changes(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", 1))
		synctest.Wait()
		h.publish("room", "a")
		loop.want(t, "a")
		var want []string
		for i := range 5 {
			h.set(realtime.ErrTemporary)
			h.publish("room", fmt.Sprint("x", i))
			h.listen.Cut()
			time.Sleep(3 * time.Second)
			h.publish("room", fmt.Sprint("y", i))
			h.set(nil)
			time.Sleep(30 * time.Second)
			want = append(want, fmt.Sprint("x", i), fmt.Sprint("y", i))
		}
		loop.want(t, strings.Join(want, " "))
		if who.ended() {
			t.Errorf("the watcher was told %q", who.take())
		}
		if n := len(rt.Presence("room").Members()); n != 1 {
			t.Errorf("%d members are known", n)
		}
	})
}
