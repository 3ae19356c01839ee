package client_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

func TestHistory(t *testing.T) {
	bubble(t, "pages", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.realtime(nil)
		for i := range 7 {
			h.publish("room", fmt.Sprint(i))
		}
		var all []string
		for before := realtime.Cursor(""); ; {
			p, err := rt.History(t.Context(), "room", before, 3)
			must(t, err)
			var page []string
			for _, m := range p.Messages {
				page = append(page, string(m.Data))
			}
			all = append(all, strings.Join(page, " "))
			if before = p.Before; p.End != "" {
				if p.End != realtime.HistoryStart {
					t.Errorf("end %q", p.End)
				}
				break
			}
		}
		if got := strings.ReplaceAll(strings.Join(all, ","), `"`, ""); got != "4 5 6,1 2 3,0" {
			t.Errorf("pages %s", got)
		}
	})

	bubble(t, "refused, and given up", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.realtime(nil)
		for _, n := range []int{-1, 101} {
			if _, err := rt.History(t.Context(), "room", "", n); code(err) != "bad_request" {
				t.Errorf("%d: %v", n, err)
			}
		}
		if _, err := rt.History(t.Context(), "room", "garbage", 1); code(err) != "bad_request" {
			t.Errorf("%v", err)
		}
		must(t, rt.Close())
		if _, err := rt.History(t.Context(), "room", "", 1); err == nil {
			t.Error("a closed client answers")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		idle, err := client.NewRealtime(realtimeURL, &client.RealtimeOptions{HTTPClient: h.http})
		must(t, err)
		if _, err := idle.History(ctx, "room", "", 1); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("%v", err)
		}
		must(t, idle.Close())
	})
}

// rewinding records what a subscription is told.
func rewinding(t *testing.T, rt *client.Realtime, opts ...client.SubscribeOption) *tape {
	return record(t, func(ctx context.Context) iter.Seq2[client.Message, error] {
		return rt.Subscribe(ctx, "room", opts...)
	}, wordOfMessage)
}

// Loops begin with the last messages, each with its own, and go on without a gap.
func TestRewind(t *testing.T) {
	bubble(t, "each loop", rewindEachLoop)
	// What asks for the last messages must not begin another subscription where the
	// server has taken it away meanwhile: the other loops go on where they were.
	bubble(t, "while the subscription is taken away", rewindTakenAway)
}

func rewindEachLoop(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	for i := range 5 {
		h.publish("room", fmt.Sprint(i))
	}
	rt := h.realtime(nil)
	plain, two := rewinding(t, rt), rewinding(t, rt, client.Rewind(2))
	synctest.Wait()
	h.publish("room", "5")
	synctest.Wait()
	late := rewinding(t, rt, client.Rewind(3))
	bad := rewinding(t, rt, client.Rewind(0))
	synctest.Wait()
	h.publish("room", "6")
	plain.want(t, "5 6")
	two.want(t, "3 4 5 6")
	late.want(t, "3 4 5 6")
	bad.want(t, `error:client: bad_request: "rewind" must be 1 to 100`)
}

func rewindTakenAway(t *testing.T) {
	var h *host
	var phase atomic.Int32
	policy := realtime.AllowAll()
	policy.Allow = func(ctx context.Context, _ realtime.Identity, a realtime.Action) error {
		if a.Verb == realtime.VerbSubscribe && phase.Load() == 2 {
			return realtime.ErrTemporary
		}
		if a.Verb == realtime.VerbSubscribe && phase.CompareAndSwap(1, 2) {
			if err := h.Recheck(ctx, ""); err != nil {
				t.Error(err)
			}
			phase.Store(3)
			h.publish("room", "2", "3")
		}
		return nil
	}
	h = start(t, policy, nil)
	rt := h.realtime(nil)
	plain := rewinding(t, rt)
	synctest.Wait()
	h.publish("room", "1")
	synctest.Wait()
	phase.Store(1)
	late := rewinding(t, rt, client.Rewind(2))
	synctest.Wait()
	h.publish("room", "4")
	time.Sleep(time.Minute)
	h.publish("room", "5")
	if phase.Load() != 3 {
		t.Error("nothing was taken away")
	}
	plain.want(t, "1 2 3 4 5")
	late.want(t, "3 4 5")
}
