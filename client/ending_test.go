package client_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

func TestSlowLoop(t *testing.T) {
	bubble(t, "messages", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.realtime(nil)
		slow := rt.Subscribe(t.Context(), "room")
		quick := messages(t, rt, "room")
		quick.take()
		for i := range 2000 {
			h.publish("room", fmt.Sprint(i))
			synctest.Wait()
		}
		if n := len(strings.Fields(quick.take())); n != 2000 {
			t.Errorf("the quick loop was told %d", n)
		}
		var got []string
		for m, err := range slow {
			if err != nil {
				got = append(got, err.Error())
				continue
			}
			if got = append(got, wordOfMessage(m)); got[len(got)-1] == "1999" {
				break
			}
		}
		if len(got) != 977 || got[0] != "realtime: events were missed: evicted" || got[1] != "1024" {
			t.Errorf("%d pairs, %.80q", len(got), got)
		}
	})

	bubble(t, "bytes", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.realtime(nil)
		slow := rt.Subscribe(t.Context(), "room")
		synctest.Wait()
		for range 12 {
			h.publish("room", strings.Repeat("x", 1000<<10))
			synctest.Wait()
		}
		pairs, bytes := 0, 0
		for m, err := range slow {
			pairs++
			if err == nil {
				bytes += len(m.Data)
			}
			if bytes >= 4*1000<<10 {
				break
			}
		}
		if pairs != 5 { // eight fit, and the ninth is the first of the last four
			t.Errorf("%d pairs", pairs)
		}
	})
}

// Close and contexts end whatever is under way, and leave no goroutine: the
// bubble would not end.
func TestEndings(t *testing.T) {
	for name, prepare := range map[string]func(h *host){
		"open":        func(*host) {},
		"cut":         func(h *host) { h.listen.Cut() },
		"stalled":     func(h *host) { h.listen.Stall() },
		"unavailable": func(h *host) { h.serve(answer(503, "")); h.listen.Cut() },
		"dialing":     func(h *host) { h.listen.Cut(); h.listen.Stall(); time.Sleep(10 * time.Second) },
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, realtime.AllowAll(), nil)
			defer h.listen.Resume()
			rt := h.realtime(nil)
			loop, who := messages(t, rt, "room"), changes(t, rt, "room")
			must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
			synctest.Wait()
			prepare(h)
			published := later(func() error { return rt.Publish(context.Background(), "room", 1) })
			joined := later(func() error { return rt.Presence("hall").Join(context.Background(), "ada", nil) })
			ctx, cancel := context.WithCancel(context.Background())
			given := later(func() error { return rt.Publish(ctx, "room", 1) })
			updated := later(func() error { return rt.Presence("room").Update(ctx, 1) })
			cancel()
			<-given
			<-updated
			left := later(func() error { return rt.Presence("room").Leave(context.Background()) })
			begun := time.Now()
			must(t, rt.Close())
			must(t, rt.Close())
			if d := time.Since(begun); d > 2*time.Second {
				t.Errorf("Close took %v", d)
			}
			<-published
			<-joined
			must(t, <-left)
			if !loop.ended() || !who.ended() {
				t.Error("a loop goes on")
			}
			if err := rt.Publish(t.Context(), "room", 1); err != realtime.ErrClosed {
				t.Errorf("publish after Close: %v", err)
			}
			if got := messages(t, rt, "room").take(); got != "error:"+realtime.ErrClosed.Error() {
				t.Errorf("subscribe after Close: %q", got)
			}
			changes(t, rt, "room").take()
			rt.Connect()
		})
	}
}
