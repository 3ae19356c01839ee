package growing_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// silent returns a node that sends nothing to others, and has open messages in a store.
func silent(t *testing.T, name string, store backend.Store) *growing.Growing {
	return growing.New(growing.Node{
		Name: func() string { return name }, Store: store, Running: t.Context(), Go: func(f func()) { go f() },
		Append: func(context.Context, backend.Entry) error { return nil }, Send: func() {},
		Limits: growing.Limits{Bytes: 1 << 20, Memory: 1 << 30, Open: 9, Channel: 9, Idle: time.Hour, Message: 1 << 20},
		Logger: slog.New(slog.DiscardHandler),
		Ended:  func(context.Context, growing.Key) (*backend.Event, error) { return nil, nil },
	})
}

// Who follows a message of another node waits until all is there that this node had when
// it was asked, in however many pieces that comes.
func TestFollowWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Limits{})
		writer, reader := silent(t, "a", store), silent(t, "b", store)
		k := growing.Key{Channel: "room", ID: "a1"}
		o, err := writer.Begin(t.Context(), growing.Begin{Key: k}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		var text *growing.Text
		var failed error
		done := make(chan struct{})
		go func() {
			defer close(done)
			text, failed = reader.Follow(t.Context(), k)
		}()
		piece := func(from, total int, content string) {
			synctest.Wait()
			select {
			case <-done:
				t.Errorf("followed before %q came", content)
			default:
			}
			reader.Live(&backend.Event{
				Type: growing.Piece, Channel: k.Channel, Key: k.ID, Version: o.Run, Data: growing.EncodePiece(from, total, wire.Text, []byte(content)),
			})
		}
		piece(0, 11, "hello")
		piece(5, 13, " w") // it has more by now
		piece(7, 20, "orld")
		<-done
		if failed != nil {
			t.Fatal(failed)
		}
		if v := text.From(0); string(v.Content) != "hello world" {
			t.Errorf("followed with %q", v.Content)
		}
	})
}

// A request to stop is for one run of a message, on the node that writes it.
func TestStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Limits{})
		writer := silent(t, "a", store)
		k := growing.Key{Channel: "room", ID: "a1"}
		o, err := writer.Begin(t.Context(), growing.Begin{Key: k}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		stop := func(key growing.Key, run string) error {
			writer.Stopped(&backend.Event{Type: growing.Stop, Channel: key.Channel, Key: key.ID, Version: run})
			synctest.Wait()
			_, err := o.Write([]byte("x"))
			return err
		}
		if err := stop(k, o.Run+"x"); err != nil {
			t.Errorf("stopped for another run: %v", err)
		}
		if err := stop(growing.Key{Channel: "room", ID: "a2"}, o.Run); err != nil {
			t.Errorf("stopped for another message: %v", err)
		}
		if err := stop(k, o.Run); err == nil {
			t.Error("not stopped")
		}
	})
}
