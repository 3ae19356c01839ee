package realtime_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestWSPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s, other := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		other.ok(subscribe("room"))
		ref := s.ask(publish("room", ` { "text" : "hi\n" } `))
		if o := s.answer(ref); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
		o := other.want("message")
		if string(o.Data) != `{"text":"hi\n"}` || o.From != wire.Tag(tab1) || o.UserID != "ada" || o.ID == "" || o.TS == 0 {
			t.Errorf("%s", o.raw)
		}
		for _, data := range []string{"null", "0", `""`, "[]", "{}", "false", `{"a":1,"a":2}`} {
			other.ok(`"op":"ping"`)
			s.answer(s.ask(publish("room", data)))
			if got := other.data(1); got != data {
				t.Errorf("published %s, got %s", data, got)
			}
		}
		if o := other.call(`"op":"publish","channel":"room"`); o.Code != "bad_request" {
			t.Errorf("without data: %s", o.raw)
		}
	})
}

func TestWSOwnMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		s.ask(publish("room", "1"))
		s.ask(publish("room", `2,"cid":"`+tab2+`"`))
		from := map[string]string{}
		for _, o := range s.rest() {
			if o.Event == "message" {
				from[string(o.Data)] = o.From
			}
		}
		if from["1"] != wire.Tag(tab1) || from["2"] != wire.Tag(tab2) {
			t.Errorf("from: %v", from)
		}
	})
}

// A client need not wait for the answer to its subscribe before it publishes.
func TestWSOwnMessagesFromTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := open()
		policy.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
			if ev.Channel == "busy" {
				time.Sleep(time.Millisecond) // so that the writer lags
			}
			return true
		}
		h := start(t, policy, nil)
		s := h.socket(get("/realtime"))
		s.ok(`"op":"subscribe","channel":"busy"`)
		h.publish("busy", 1)
		synctest.Wait()
		subscribe := s.ask(`"op":"subscribe","channel":"room"`)
		publish := s.ask(`"op":"publish","channel":"room","data":2`)
		s.want("message")
		if o := s.answer(subscribe); o.Event != "subscribed" {
			t.Fatalf("answer to subscribe: %s", o.raw)
		}
		var got []string
		for range 2 {
			o := s.next()
			if got = append(got, o.Event); o.Event == "ok" && *o.Ref != publish {
				t.Errorf("unexpected %s", o.raw)
			}
		}
		if slices.Sort(got); !slices.Equal(got, []string{"message", "ok"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestWSPublishIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		a, b := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime", "Authorization", "Bearer ada"))
		reader := h.socket(get("/realtime"))
		reader.ok(subscribe("room"))
		a.ok(publish("room", `1,"id":"p1"`), publish("room", `1,"id":"p1"`), publish("room", `2,"id":"p2"`))
		b.ok(publish("room", `1,"id":"p1"`)) // the same client came back
		a.ok(publish("room", `3,"id":"p1","cid":"`+tab2+`"`), publish("room", `4,"id":"`+strings.Repeat("x", 64)+`"`))
		if o := a.call(publish("room", `5,"id":"`+strings.Repeat("x", 65)+`"`)); o.Code != "too_large" {
			t.Errorf("long id: %s", o.raw)
		}
		if got := reader.data(4); got != "1 2 3 4" {
			t.Error(got)
		}
		time.Sleep(2*time.Minute + time.Second)
		a.ok(publish("room", `6,"id":"p1"`))
		if got := reader.data(1); got != "6" {
			t.Error(got)
		}
		reader.nothing()
	})
}
