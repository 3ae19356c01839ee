package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// What is written at once may be more than nodes send each other in one piece. No client
// gets a part of a character or of a value.
func TestStreamOfLargeWrites(t *testing.T) {
	t.Parallel()
	bubble(t, "text", func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), &realtime.Options{Streams: realtime.StreamOptions{Bytes: 1 << 20}})
		s := hosts[0].stream("a1")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		text := "x" + strings.Repeat("ö€😀", 100_000) // no piece of 32 KiB ends with a character
		say(t, s, text)
		time.Sleep(time.Second)
		r.want(text, "streaming")
		late := hosts[1].socket(get("/realtime")).reads("a1")
		noError(t, s.Close())
		r.want(text, "complete")
		late.want(text, "complete")
	})
	bubble(t, "values", func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), &realtime.Options{Streams: realtime.StreamOptions{Bytes: 1 << 20}})
		s := hosts[0].stream("a1")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		value := strings.Repeat("y,", 150_000)
		for range 3 {
			noError(t, s.WriteJSON(value))
		}
		time.Sleep(time.Second)
		r.all()
		if len(r.items) != 3 || string(r.items[2]) != fmt.Sprintf("%q", value) {
			t.Errorf("%d values", len(r.items))
		}
	})
}

// A stop is for the message that is open, not for an earlier one with the same id that
// this node has not forgotten.
func TestStopOfAnIDUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := clustered(t, 3, open(), nil)
		s := hosts[0].stream("a1")
		hosts[2].socket(get("/realtime")).reads("a1")
		noError(t, s.Close())
		for i, from := range []int{0, 2} { // who has written the first one, and who has followed it
			s = hosts[1].stream("a1")
			hosts[from].socket(get("/realtime")).ok(stopOp("a1"))
			time.Sleep(time.Second)
			if err := s.Close(); !errors.Is(err, realtime.ErrStopped) {
				t.Errorf("%d: it ended with %v", i, err)
			}
			hosts[from].socket(get("/realtime")).ok(stopOp("a1")) // it has ended
		}
	})
}

// The beginning of a character is text.
func TestStreamOfHalfACharacter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.stream("a1")
		say(t, s, "\xc3")
		if err := s.WriteJSON(1); !errors.Is(err, realtime.ErrBadOption) {
			t.Errorf("a value: %v", err)
		}
		r := h.socket(get("/realtime")).reads("a1")
		noError(t, s.Close())
		r.want("�", "complete")
	})
}

// mute is a backend that does not say, from some time on, what it has of growing messages.
type mute struct {
	*nodeLink
	is atomic.Bool
}

func (d *mute) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if k.Kind == "stream" && d.is.Load() {
		<-ctx.Done()
		return backend.Item{}, ctx.Err()
	}
	return d.nodeLink.Get(ctx, k)
}

// Messages of a node grow at their pace while it asks in vain what has become of others.
func TestStreamWhileTheStoreIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, link := c.node(t, open())
		b := &mute{nodeLink: c.link()}
		h := start(t, open(), &realtime.Options{Backend: b})
		a.stream("a1")
		h.socket(get("/realtime")).reads("a1")
		s := h.stream("b1")
		r := h.socket(get("/realtime")).reads("b1")
		link.cut.Store(true)
		b.is.Store(true)
		time.Sleep(22 * time.Second)
		for range 60 {
			say(t, s, "x")
			time.Sleep(100 * time.Millisecond)
		}
		if r.want(strings.Repeat("x", 60), "streaming"); r.frames < 50 {
			t.Errorf("it came in %d frames", r.frames)
		}
		link.cut.Store(false)
		b.is.Store(false)
	})
}

// All that a node has of the messages of others is bounded as well.
func TestMemoryOfCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		a, _ := c.node(t, open())
		const memory = 5000
		b := start(t, open(), &realtime.Options{Backend: c.link(), Streams: realtime.StreamOptions{Bytes: 1000, Memory: memory}})
		ws := b.socket(get("/realtime"))
		var streams []*realtime.Stream
		for i := range 10 {
			id := fmt.Sprint("a", i)
			streams = append(streams, a.stream(id))
			ws.call(streamOp(id))
		}
		for range 100 {
			for _, s := range streams {
				say(t, s, strings.Repeat("x", 10))
			}
			time.Sleep(100 * time.Millisecond)
			if n := b.Stats().Streams.Bytes; n > memory+1000 {
				t.Fatalf("the node has %d bytes", n)
			}
		}
		var given []string
		for _, o := range ws.rest() {
			if o.Event == "unstreamed" && strings.Contains(o.raw, `"retry":true`) {
				given = append(given, grow(t, o).ID)
			}
		}
		if len(given) < 5 {
			t.Errorf("%d messages were given up", len(given))
		}
		for _, id := range given { // not in turn with the others
			if o := ws.call(streamOp(id)); o.Code != "unavailable" {
				t.Errorf("%s: %s", id, o.raw)
			}
		}
	})
}

// A node that was cut off does not go on writing what the others have ended, though the
// log has lost that.
func TestStreamThatOthersHaveEndedUnheard(t *testing.T) {
	for name, lose := range map[string]func(log *backendtest.Faulty, other *host){
		"with a new epoch": func(log *backendtest.Faulty, _ *host) { log.NewEpoch() },
		"evicted": func(_ *backendtest.Faulty, other *host) {
			for i := range 200 {
				other.publish("other", i)
			}
		},
	} {
		bubble(t, name, func(t *testing.T) {
			log := backendtest.NewFaulty(memory.New(memory.Limits{Records: 100}))
			c, hosts := clustered(t, 2, open(), &realtime.Options{Backend: log})
			s := hosts[0].stream("a1")
			c.Node(0).Cut()
			time.Sleep(time.Minute)
			lose(log, hosts[1])
			c.Node(0).Heal()
			hosts[1].publish("other", "x")
			time.Sleep(20 * time.Second)
			if _, err := s.WriteString("x"); !errors.Is(err, realtime.ErrStreamEnded) {
				t.Errorf("it writes on: %v", err)
			}
			time.Sleep(30 * time.Second)
			if s.Context().Err() == nil {
				t.Error("its context has not ended")
			}
			hosts[1].stream("a1")
		})
	}
}

// An id can be used again when Close has returned, on a node too that has not heard of the
// end yet.
func TestStreamIDAtOnceElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hosts := clustered(t, 2, open(), nil)
		s := hosts[0].stream("a1")
		say(t, s, "first")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		c.Log.Hold()
		time.AfterFunc(time.Second, c.Log.Release)
		ended := make(chan error, 1)
		go func() { ended <- s.Close() }()
		time.Sleep(100 * time.Millisecond)
		next, err := hosts[1].Stream(t.Context(), "room", "a1")
		noError(t, <-ended)
		if err != nil {
			t.Fatal(err)
		}
		r.want("first", "complete")
		say(t, next, "second")
		hosts[0].socket(get("/realtime")).reads("a1").want("second", "streaming")
	})
}
