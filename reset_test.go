package realtime_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// A stream has one cursor for all its domains, so what all of them have missed is
// told once.
func TestDomainsResetAtOnce(t *testing.T) {
	for _, domains := range []string{"kv", "kv,db", "kv,db,realtime,presence", "*"} {
		for _, event := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s, with an event after it: %v", domains, event), func(t *testing.T) {
				b := backendtest.NewFaulty(realtime.NewMemory())
				h := start(t, open(), &realtime.Options{Backend: b})
				h.emit(realtime.KVPut("n", "before"))
				synctest.Wait() // or it is perhaps news to the stream
				s := h.ren(get("/ren?s=" + domains))
				b.NewEpoch()
				want := []string{"ren.reset"}
				if event {
					h.emit(realtime.KVPut("n", "after"))
					want = append(want, "after")
				} else {
					h.emit(realtime.RenEvent{Resource: "other", Type: "t"})
					if domains == "*" {
						want = append(want, "")
					}
				}
				var got []string
				var cursor string
				for _, ev := range s.rest() {
					if ev.Name == "message" {
						got = append(got, ev.Key)
						continue
					}
					got, cursor = append(got, ev.Name), ev.Cursor
					if ev.Reason != "epoch" || ev.ID != ev.Cursor {
						t.Errorf("%s", ev.Raw)
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("told %q, want %q", got, want)
				}
				if again := h.ren(get("/ren?s="+domains, "Last-Event-ID", cursor)); again.hello.State != "resumed" || len(again.rest()) != len(want)-1 {
					t.Errorf("from the cursor of the reset: %s", again.hello.Raw)
				}
			})
		}
	}
}

// A reset of a channel comes with who is there now, if the client shows presence
// there, and alone otherwise.
func TestResetComesWithItsRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		h.join("room", "ada", nil)
		synctest.Wait()
		s := h.socket(get("/realtime"))
		s.ask(subscribe("room") + `,"presence":true`)
		s.want("subscribed")
		if o := s.want("presence.state"); len(o.Members) != 1 {
			t.Fatalf("%s", o.raw)
		}
		s.ok(subscribe("alone"))
		b.NewEpoch()
		h.publish("room", 1)
		h.publish("alone", 2)
		time.Sleep(time.Second) // what is read back may end before it, and the log is then followed after a wait
		var told []string
		for _, o := range s.rest() {
			told = append(told, o.Event+" "+o.Channel)
			if o.Event == "presence.state" && (len(o.Members) != 1 || o.Members[0].UserID != "ada") {
				t.Errorf("%s", o.raw)
			}
		}
		at := make(map[string]int)
		for i, what := range told {
			at[what] = i + 1
		}
		if len(told) != 5 || len(at) != 5 || at["reset room"] == 0 || at["reset room"] >= at["presence.state room"] ||
			at["presence.state room"] >= at["message room"] || at["reset alone"] == 0 || at["reset alone"] >= at["message alone"] {
			t.Errorf("told %q", told)
		}
	})
}

// A refused subscribe delivers nothing.
func TestRefusedSubscribeDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		may := &rights{}
		may.take("room", errNotAllowed)
		h := start(t, may.policy(), &realtime.Options{Limits: realtime.Limits{Channels: 1}})
		s := h.socket(get("/realtime", "Authorization", asAda))
		for _, c := range []struct{ op, code string }{
			{subscribe("room"), "forbidden"},
			{subscribe("room") + `,"presence":true`, "forbidden"},
			{since("room", string(h.Cursor())), "forbidden"},
			{subscribe("$own"), "bad_channel"},
			{subscribe("lobby"), ""},
			{subscribe("too many"), "channel_limit"},
			{subscribe("too many") + `,"presence":true`, "channel_limit"},
			{since("too many", string(h.Cursor())), "channel_limit"},
		} {
			if o := s.call(c.op); o.Code != c.code {
				t.Errorf("%s: %s, want %q", c.op, o.raw, c.code)
			}
		}
		for _, channel := range []string{"room", "too many"} {
			h.publish(channel, "secret")
			h.join(channel, "bob", nil)
		}
		s.nothing()
		h.publish("lobby", "open")
		if got := s.data(1); got != `"open"` {
			t.Errorf("got %s", got)
		}
	})
}
