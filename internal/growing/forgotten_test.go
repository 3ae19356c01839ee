package growing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// pair returns a node that writes and one that reads, of one store, both running. What one
// sends the other one gets at once.
func pair(t *testing.T, store backend.Store, most int64) (writer, reader *growing.Growing) {
	return loggingPair(t, store, most, slog.New(slog.DiscardHandler))
}

func loggingPair(t *testing.T, store backend.Store, most int64, log *slog.Logger) (writer, reader *growing.Growing) {
	nodes := make(map[string]*growing.Growing)
	start := func(name, peer string) *growing.Growing {
		g := growing.New(growing.Node{
			Name: func() string { return name }, Store: store, Running: t.Context(), Go: func(f func()) { go f() },
			Append: func(context.Context, backend.Entry) error { return nil },
			Send: func() {
				go func() {
					batch, _ := nodes[name].Outgoing(1 << 20)
					for _, p := range batch {
						nodes[peer].Live(&p.Event)
					}
				}()
			},
			Limits: growing.Limits{Bytes: 1 << 20, Memory: most, Open: 9, Channel: 9, Idle: time.Hour, Message: 1 << 20},
			Logger: log,
			Ended:  func(context.Context, growing.Key) (*backend.Event, error) { return nil, nil },
		})
		nodes[name] = g
		return g
	}
	writer, reader = start("a", "b"), start("b", "a")
	for _, g := range nodes {
		go g.Run(t.Context())
	}
	return writer, reader
}

// copied begins a message on one node, and a copy of it on the other.
func copied(t *testing.T, writer, reader *growing.Growing, k growing.Key) (*growing.Own, *growing.Text) {
	t.Helper()
	o, err := writer.Begin(t.Context(), growing.Begin{Key: k}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	text, err := reader.Follow(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return o, text
}

// A node that is taken for dead may have written more than the log has at the end. Who comes
// later has what the log has, on all nodes.
func TestContentIsThatOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer, reader := pair(t, memory.New(memory.Limits{}), 1<<30)
		k := growing.Key{Channel: "room", ID: "a1"}
		o, copied := copied(t, writer, reader, k)
		defer copied.Follow(func() {}).Close()
		if _, err := o.Write([]byte("hello world")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := copied.From(0); string(v.Content) != "hello world" {
			t.Fatalf("the copy is %q", v.Content)
		}
		data := wire.StreamData{Stream: k.ID, Run: o.Run, State: string(growing.Failed)}
		data.SetContent(wire.Text, []byte("hello"))
		ended := backend.Event{
			Type: backend.Message, Resource: backend.Realtime, Channel: k.Channel, Key: k.ID, Version: data.State, Data: data.Encode(),
		}
		for name, g := range map[string]*growing.Growing{"writer": writer, "reader": reader} {
			g.Logged(&ended)
			late, err := g.Follow(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			for _, place := range []int{0, 8} { // of who had more
				v := late.From(place)
				if string(v.Content) != "hello" || v.Next != 5 || v.End == nil || v.End.State != growing.Failed || v.End.Partial {
					t.Errorf("%s, from %d: %q, %d, %+v", name, place, v.Content, v.Next, v.End)
				}
			}
			if frame, next, end := late.Frame(11); frame != nil || next != 11 || end == nil {
				t.Errorf("%s: who had all gets %s, %d, %v", name, frame, next, end)
			}
			if n := g.Bytes(); n != 5 {
				t.Errorf("%s: %d bytes", name, n)
			}
		}
		if _, err := o.Write([]byte("!")); !errors.Is(err, growing.ErrEnded) {
			t.Errorf("a write after the end: %v", err)
		}
	})
}

// A node that is taken for dead may also have announced more than the log has at the end.
// Those who wait for it get what the log has.
func TestContentThatNeverComes(t *testing.T) {
	for _, came := range []string{"", "hel", "hello", "hello wo"} {
		t.Run(came, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				writer, reader := pair(t, memory.New(memory.Limits{}), 1<<30)
				k := growing.Key{Channel: "room", ID: "a1"}
				o, copied := copied(t, writer, reader, k)
				defer copied.Follow(func() {}).Close()
				reader.Live(&backend.Event{
					Type: growing.Piece, Channel: k.Channel, Key: k.ID, Version: o.Run,
					Data: growing.EncodePiece(0, len("hello world"), wire.Text, []byte(came)),
				})
				data := wire.StreamData{Stream: k.ID, Run: o.Run, State: string(growing.Failed)}
				data.SetContent(wire.Text, []byte("hello"))
				reader.Logged(&backend.Event{
					Type: backend.Message, Resource: backend.Realtime, Channel: k.Channel, Key: k.ID, Version: data.State, Data: data.Encode(),
				})
				if v := copied.From(0); string(v.Content) != "hello" || v.End == nil || v.End.Partial {
					t.Errorf("after %q: %q, %+v", came, v.Content, v.End)
				}
			})
		})
	}
}

// A client whose connection is slow may begin to follow a copy when it is forgotten. It is
// told so, and asks again.
func TestFollowWhatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer, reader := pair(t, memory.New(memory.Limits{}), 1<<30)
		k := growing.Key{Channel: "room", ID: "a1"}
		o, copied := copied(t, writer, reader, k)
		time.Sleep(40 * time.Second) // nobody has read it yet
		copied.Follow(func() {})
		if _, err := o.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := copied.From(0); v.End == nil || v.End.State != "" {
			t.Errorf("it seems to go on: %+v", v)
		}
		copied, err := reader.Follow(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if v := copied.From(0); string(v.Content) != "text" || v.End != nil {
			t.Errorf("again: %+v", v)
		}
	})
}

// sluggish is a store that does not answer to a Delete, as long as it is.
type sluggish struct {
	backend.Store
	is    atomic.Bool
	calls atomic.Int32
}

func (s *sluggish) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	s.calls.Add(1)
	if s.is.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Delete(ctx, k, rev, e)
}

// Records of messages that have ended are deleted later, if the store does not answer; what
// else there is to mend does not wait for them.
func TestRecordsStayWhileTheStoreIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sluggish{Store: memory.New(memory.Limits{})}
		writer, _ := pair(t, store, 1<<30)
		store.is.Store(true)
		const messages = 9
		for i := range messages {
			o, err := writer.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: fmt.Sprint(i)}}, func(error) {})
			if err != nil {
				t.Fatal(err)
			}
			if err := o.End(t.Context(), growing.End{State: growing.Complete}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Minute)
		if n := store.calls.Load(); n != 1 {
			t.Errorf("%d calls of a store that does not answer", n)
		}
		store.is.Store(false)
		time.Sleep(4 * time.Minute)
		for it, err := range store.List(t.Context(), "stream", "") {
			t.Errorf("%v is left: %v", it.Key, err)
		}
	})
}

// Followers may go in any order. Those who stay are woken.
func TestFollowersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer, _ := pair(t, memory.New(memory.Limits{}), 1<<30)
		o, err := writer.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: "a1"}}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		const n = 20
		woken := make([]atomic.Int32, n)
		followers := make([]*growing.Follower, n)
		for i := range n {
			followers[i] = o.Follow(func() { woken[i].Add(1) })
		}
		for gone, i := range rand.Perm(n) {
			if _, err := o.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if times := int(woken[i].Load()); times != gone+1 {
				t.Errorf("%d was woken %d times of %d", i, times, gone+1)
			}
			followers[i].Close()
			if left := writer.Stats().Followers; left != n-gone-1 {
				t.Errorf("%d are left of %d", left, n-gone-1)
			}
		}
	})
}

// Messages that have ended do not keep those from growing that are open.
func TestMemoryOfEndedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer, _ := pair(t, memory.New(memory.Limits{}), 1000)
		for i := range 5 {
			o, err := writer.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: fmt.Sprint(i)}}, func(error) {})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Write(make([]byte, 300)); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if err := o.End(t.Context(), growing.End{State: growing.Complete}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
		}
	})
}
