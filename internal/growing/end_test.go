package growing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
)

// The end that counts is that of the newest message with the id, however much was said
// since; but who asks does not look through all of a large history.
func TestEndIn(t *testing.T) {
	history := ring.New(ring.Limits{Records: 1 << 14, Bytes: 64 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	say := func(channel, id string, state growing.State) {
		history.Put([]*backend.Logged{{Pos: history.Head().Next(), Event: backend.Event{
			Type: backend.Message, Resource: backend.Realtime, Channel: channel, Key: id, Version: string(state),
		}}})
	}
	ends := func(want string) {
		t.Helper()
		got := "none"
		if ev := growing.EndIn(history, growing.Key{Channel: "room", ID: "a"}); ev != nil {
			got = fmt.Sprint(ev.Channel, " ", ev.Key, " ", ev.Version)
		}
		if got != want {
			t.Errorf("the end is %q, want %q", got, want)
		}
	}
	ends("none")
	say("room", "a", growing.Streaming)
	say("room", "b", growing.Complete)
	say("lobby", "a", growing.Complete)
	ends("none")
	say("room", "a", growing.Failed)
	ends("room a failed")
	for range 100 {
		say("room", "", "")
	}
	say("room", "a", growing.Streaming)
	say("room", "a", growing.Complete)
	for range 3000 {
		say("room", "", "")
	}
	ends("room a complete")
	for range 1095 {
		say("room", "", "")
	}
	ends("room a complete")
	say("room", "", "")
	ends("none") // after 4,096 messages
}
