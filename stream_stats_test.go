package realtime_test

import (
	"errors"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

var streamCauses = []cause{
	{"a message grows", "Streams.Open=1 Streams.Opened=1 Streams.Appends=2 Streams.Written=10 Streams.Bytes=10 Streams.Followers=1",
		withSocket(open(), nil, func(h *host, s *socket) {
			stream := h.stream("a1")
			s.ask(streamOp("a1"))
			say(h.t, stream, "Hello")
			say(h.t, stream, "again")
		})},
	{"messages end", "Streams.Opened=3 Streams.Ended.complete=1 Streams.Ended.failed=1 Streams.Ended.cancelled=1", withSocket(open(), nil, func(h *host, s *socket) {
		noError(h.t, h.stream("a1").Close())
		noError(h.t, h.stream("a2").Fail(errors.New("x")))
		h.stream("a3")
		s.ask(stopOp("a3"))
		time.Sleep(time.Second)
	})},
	{"a message of another node is followed", "Streams.Copies=1 Streams.Followers=1 Streams.Bytes=5", func(t *testing.T) (*host, func()) {
		c := newCluster()
		writer, _ := c.node(t, open())
		h, _ := c.node(t, open())
		return h, func() {
			say(t, writer.stream("a1"), "Hello")
			h.socket(get("/realtime")).reads("a1")
		}
	}},
}

// What is not needed any longer is forgotten.
func TestStreamsAreForgotten(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		h := start(t, open(), nil)
		testForgotten(t, h, h)
	})
	bubble(t, "of another node", func(t *testing.T) {
		c := newCluster()
		writer, _ := c.node(t, open())
		h, _ := c.node(t, open())
		testForgotten(t, writer, h)
	})
}

func testForgotten(t *testing.T, writer, h *host) {
	for _, id := range []string{"a1", "a2", "a1"} {
		stream := writer.stream(id)
		say(t, stream, "Hello")
		a, b := h.socket(get("/realtime")).reads(id), h.socket(get("/realtime")).reads(id)
		a.drop()
		noError(t, stream.Close())
		b.want("Hello", "complete")
	}
	open := writer.stream("a3")
	gone := h.socket(get("/realtime")).reads("a3")
	gone.ok(`"op":"unstream","channel":"room","id":"a3"`)
	say(t, open, "Hello")
	time.Sleep(time.Minute)
	gone.nothing()
	noError(t, open.Close())
	time.Sleep(time.Minute)
	for _, s := range []realtime.StreamStats{writer.Stats().Streams, h.Stats().Streams} {
		if s.Open+s.Copies+s.Followers != 0 || s.Bytes != 0 {
			t.Errorf("%+v", s)
		}
	}
}
