package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

func TestEphemeral(t *testing.T) {
	bubble(t, "it comes live, and a loop that lags gets the newest", ephemeralToALaggingLoop)
	bubble(t, "it is refused, and never sent again", ephemeralRefused)
}

func ephemeralToALaggingLoop(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := rt.PublishEphemeral(ctx, "room", map[string]any{"type": "first"}); err != nil && !errors.Is(err, realtime.ErrClosed) {
		t.Error(err) // nobody is there yet
	}
	loop := rt.Subscribe(ctx, "room")
	time.Sleep(time.Second)
	var want []string
	for i := range 600 { // more than wait for a loop
		must(t, h.Publish(ctx, "room", map[string]any{"type": fmt.Sprint(i % 200), "n": i}, realtime.Ephemeral()))
		if i%100 == 0 {
			h.publish("room", fmt.Sprint(i))
			want = append(want, fmt.Sprintf("%q", fmt.Sprint(i)))
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, rt.PublishEphemeral(ctx, "room", map[string]any{"type": "last"}))
	var got []string
	live := map[string]int{}
	time.Sleep(time.Second)
	time.AfterFunc(time.Second, cancel)
	for m, err := range loop {
		switch {
		case ctx.Err() != nil:
		case err != nil:
			t.Error(err)
		case m.Ephemeral != (m.Cursor == ""):
			t.Errorf("%+v", m)
		case m.Ephemeral:
			var data struct{ Type string }
			must(t, json.Unmarshal(m.Data, &data))
			if live[data.Type]++; live[data.Type] > 1 {
				t.Errorf("another one of type %s", data.Type)
			}
		default:
			got = append(got, string(m.Data))
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
	if len(live) > 256 || len(live) < 100 {
		t.Errorf("%d ephemeral messages", len(live))
	}
}

func ephemeralRefused(t *testing.T) {
	n := newNetwork(t, script(func(connection int, o operation) string {
		if connection == 1 && string(o.Data) == "1" {
			return fmt.Sprintf(`{"event":"error","ref":%d,"code":"forbidden","message":"no","retry":false}`, o.Ref)
		}
		if connection > 1 {
			t.Errorf("sent again: %+v", o)
		}
		return "" // no answer ever
	}))
	rt := n.realtime(nil)
	var refused *client.Error
	if err := rt.PublishEphemeral(t.Context(), "room", 1); !errors.As(err, &refused) || refused.Code != "forbidden" {
		t.Errorf("%v", err)
	}
	lost := later(func() error { return rt.PublishEphemeral(t.Context(), "room", 2) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := rt.PublishEphemeral(ctx, "room", 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := <-lost; err != nil { // after a minute of silence the connection is given up
		t.Errorf("when the connection was lost: %v", err)
	}
	time.Sleep(time.Minute)
	rt.Close()
	if err := rt.PublishEphemeral(t.Context(), "room", 4); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
