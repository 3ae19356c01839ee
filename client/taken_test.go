package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// rights are those to the channel "room", which the test takes and gives.
type rights struct {
	*host
	mu  sync.Mutex
	why error // they are taken, else nil
}

func startWithRights(t *testing.T) *rights {
	r := &rights{}
	policy := byToken()
	policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if a.Name != "room" {
			return nil
		}
		return r.why
	}
	r.host = start(t, policy, nil)
	return r
}

func (r *rights) set(why error) {
	r.t.Helper()
	r.mu.Lock()
	r.why = why
	r.mu.Unlock()
	must(r.t, r.Recheck(context.Background(), "ada"))
	synctest.Wait()
}

func (r *rights) ada() *client.Realtime {
	return r.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
}

var errTaken = errors.New("no longer")

const forbidden = "error:client: forbidden: "

func TestTaken(t *testing.T) {
	bubble(t, "all loops over a channel end, and others begin on the same connection", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		first, second, who, other := messages(t, rt, "room"), messages(t, rt, "room"), changes(t, rt, "room"), messages(t, rt, "hall")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		h.publish("room", "a")
		first.want(t, "a")
		second.want(t, "a")
		who.want(t, "join:ada")
		for range 2 { // twice in a row
			h.set(errTaken)
		}
		for _, loop := range []*tape{first, second, who} {
			// The watcher may have seen ada go before.
			if got := strings.TrimPrefix(loop.take(), "leave:ada/closed "); !strings.HasPrefix(got, forbidden) || !loop.ended() {
				t.Errorf("a loop was told %q", got)
			}
		}
		if n := len(rt.Presence("room").Members()); n > 0 {
			t.Errorf("%d members are known", n)
		}
		if err := rt.Presence("room").Update(t.Context(), 1); code(err) != "not_joined" {
			t.Errorf("update: %v", err)
		}
		if err := rt.Presence("room").Join(t.Context(), "ada", nil); code(err) != "forbidden" {
			t.Errorf("join: %v", err)
		}
		if got := messages(t, rt, "room").take(); !strings.HasPrefix(got, forbidden) {
			t.Errorf("a loop that begins was told %q", got)
		}
		h.publish("room", "b")
		h.publish("hall", "x")
		time.Sleep(time.Hour)
		h.set(nil)
		again, back := messages(t, rt, "room"), changes(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		h.publish("room", "c")
		again.want(t, "c")
		back.want(t, "join:ada")
		other.want(t, "x")
		h.listen.Cut()
		h.publish("room", "d")
		time.Sleep(5 * time.Second)
		again.want(t, "d")
		if n := len(h.asked()); n != 2 {
			t.Errorf("%d connections", n)
		}
	})

}

func TestTakenAfterReconnect(t *testing.T) {
	bubble(t, "after a reconnect", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		loop := messages(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		h.listen.Cut()
		time.Sleep(5 * time.Second)
		h.set(errTaken)
		if got := loop.take(); !strings.HasPrefix(got, forbidden) {
			t.Errorf("the loop was told %q", got)
		}
		h.set(nil)
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		if members, err := h.Presence().Members(t.Context(), "room"); err != nil || len(members) != 1 {
			t.Errorf("%d members, %v", len(members), err)
		}
	})

}

func TestTakenForAWhile(t *testing.T) {
	bubble(t, "a policy that cannot be asked for a while costs nothing", func(t *testing.T) {
		h := startWithRights(t)
		rt := h.ada()
		loop, who := messages(t, rt, "room"), changes(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", 1))
		who.want(t, "join:ada1")
		h.publish("room", "a")
		loop.want(t, "a")
		h.set(fmt.Errorf("the database is away: %w", realtime.ErrTemporary))
		for i := range 60 {
			h.publish("room", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		loop.want(t, "")
		h.set(nil)
		time.Sleep(20 * time.Second)
		if got := strings.Fields(loop.take()); len(got) != 60 || got[0] != "0" || got[59] != "59" {
			t.Errorf("the loop was told %q", got)
		}
		if got := who.take(); strings.Contains(got, "error") {
			t.Errorf("the watcher was told %q", got)
		}
		if members, err := h.Presence().Members(t.Context(), "room"); err != nil || len(members) != 1 {
			t.Errorf("%d members, %v", len(members), err)
		}
	})
}

// A refusal is for those who were there when it was asked for.
func TestRefusedBefore(t *testing.T) {
	bubble(t, "a loop that begins while the answer is due", func(t *testing.T) {
		asked := 0
		n := newNetwork(t, script(func(_ int, o operation) string {
			if asked++; asked == 1 {
				time.Sleep(time.Second)
				return fmt.Sprintf(`{"event":"error","ref":%d,"code":"forbidden","message":"no","retry":false}`, o.Ref)
			}
			return agree(o) + "\n" + `{"event":"message","channel":"room","data":"a","id":"1.2"}`
		}))
		rt := n.realtime(nil)
		first := messages(t, rt, "room")
		synctest.Wait()
		second := messages(t, rt, "room")
		time.Sleep(2 * time.Second)
		if got := first.take(); !strings.HasPrefix(got, forbidden) {
			t.Errorf("the first loop was told %q", got)
		}
		second.want(t, "a")
	})
}

// A loop that goes on misses nothing untold, whatever the rights, the network and
// the program do, and in the end gets what is published.
func TestTakenByChance(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			h := startWithRights(t)
			rt := h.ada()
			var loops []*tape
			n := 0
			say := func() {
				n++
				h.publish("room", strconv.Itoa(n))
			}
			for range 120 {
				switch rng.IntN(12) {
				case 0:
					loops = append(loops, messages(t, rt, "room"))
				case 1:
					changes(t, rt, "room")
				case 2:
					go rt.Presence("room").Join(context.Background(), "ada", n)
				case 3:
					go rt.Presence("room").Update(context.Background(), n)
				case 4:
					go rt.Presence("room").Leave(context.Background())
				case 5:
					h.listen.Cut()
				case 6:
					h.set(errTaken)
				case 7:
					h.set(realtime.ErrTemporary)
				case 8, 9:
					h.set(nil)
				default:
					say()
				}
				if rng.IntN(3) > 0 {
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
				}
			}
			h.set(nil)
			time.Sleep(time.Minute)
			loops = append(loops, messages(t, rt, "room"))
			synctest.Wait()
			say()
			must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
			for i, loop := range loops {
				checkLoop(t, i, strings.Split(strings.ReplaceAll(loop.take(), "error:client: ", "error:"), " "), loop.ended(), n)
			}
		})
	}
}

// checkLoop checks that the numbers a loop was told go up by one, but where it was
// told of a reset, and that one that has not ended has the last of them.
func checkLoop(t *testing.T, loop int, words []string, ended bool, last int) {
	t.Helper()
	before := 0
	for _, word := range words {
		n, err := strconv.Atoi(word)
		switch {
		case strings.HasPrefix(word, "reset:"):
			before = 0
		case err != nil:
			if !ended {
				t.Errorf("loop %d was told %q, and goes on", loop, word)
			}
			return
		case before > 0 && n != before+1:
			t.Errorf("loop %d was told %d after %d", loop, n, before)
			before = n
		default:
			before = n
		}
	}
	if before != last {
		t.Errorf("loop %d was told %v, and not %d", loop, words, last)
	}
}
