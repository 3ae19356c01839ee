package realtime_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A caller may reuse its slice after Publish or Emit has returned.
func TestPublishedDataIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, nil)
		after := rt.Cursor()
		data := []byte(`{ "a" : 1 }`)
		if err := rt.Emit(t.Context(), realtime.RenEvent{Type: "x", Resource: "custom", Data: data}); err != nil {
			t.Fatal(err)
		}
		copy(data, "xxxxxxxxxxx")
		ev, err := rt.WaitFor(t.Context(), realtime.EventMatch{}, after)
		if err != nil || string(ev.Data) != `{"a":1}` {
			t.Errorf("%s %v", ev.Data, err)
		}
	})
}

func TestWithID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren"))
		h.publish("room", 1, realtime.WithID("a"))
		h.publish("room", 2, realtime.WithID("a"))
		h.emit(realtime.KVPut("n", "k"), realtime.WithID("a"))
		h.publish("room", 3, realtime.WithID("b"))
		time.Sleep(2*time.Minute + 1)
		h.publish("room", 4, realtime.WithID("a"))
		if got := s.keys(3); got != "1 3 4" {
			t.Error(got)
		}
		s.nothing()
	})
}

// library is host code that can be tested against anything smaller.
type library struct {
	realtime.Publisher
	realtime.Joiner
	realtime.Leaver
	realtime.MemberLister
}

func TestInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, nil)
		after := rt.Cursor()
		lib := library{rt, rt.Presence(), rt.Presence(), rt.Presence()}
		if err := lib.Publish(t.Context(), "room", 1); err != nil {
			t.Error(err)
		}
		if err := lib.Join(t.Context(), "room", "ada", nil); err != nil {
			t.Error(err)
		}
		if m, err := lib.Members(t.Context(), "room"); err != nil || len(m) != 1 || m[0].Metadata != nil {
			t.Errorf("%+v %v", m, err)
		}
		if err := lib.Leave(t.Context(), "room", "ada"); err != nil {
			t.Error(err)
		}
		if _, err := rt.WaitFor(t.Context(), realtime.EventMatch{Type: "presence.leave"}, after); err != nil {
			t.Error(err)
		}
	})
}
