package growing_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/memory"
)

// pair returns a node that writes and one that reads, of one store, both running. What one
// sends the other one gets at once.
func pair(t *testing.T) (writer, reader *growing.Growing) {
	store := memory.New(memory.Limits{})
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
			Limits: growing.Limits{Bytes: 1 << 20, Memory: 1 << 30, Open: 9, Channel: 9, Idle: time.Hour, Message: 1 << 20},
			Closed: context.Canceled, Logger: slog.New(slog.DiscardHandler),
			Ended: func(context.Context, growing.Key) (*backend.Event, error) { return nil, nil },
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

// A client whose connection is slow may begin to follow a copy when it is forgotten. It is
// told so, and asks again.
func TestFollowWhatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer, reader := pair(t)
		k := growing.Key{Channel: "room", ID: "a1"}
		o, err := writer.Begin(t.Context(), growing.Begin{Key: k}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		copied, err := reader.Follow(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second) // nobody has read it yet
		copied.Follow(func() {})
		if _, err := o.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := copied.From(0); v.End == nil || v.End.State != "" {
			t.Errorf("it seems to go on: %+v", v)
		}
		if copied, err = reader.Follow(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if v := copied.From(0); string(v.Content) != "text" || v.End != nil {
			t.Errorf("again: %+v", v)
		}
	})
}
