package realtimetest_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// countTodos is the host's own: a handler that counts a list each time that one of its
// items changes.
func countTodos(rt *realtime.Realtime, store *kv.Store) error {
	return rt.OnKVChange(realtime.KVMatch{Namespace: "todos", Key: "item:*"}, func(ctx context.Context, _ realtime.RenEvent) error {
		page, err := store.List(ctx, "todos", kv.ListOptions{Prefix: "item:"})
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, "todos", "count", []byte(strconv.Itoa(len(page.Entries))))
		return err
	})
}

// A handler is called when the event has come through the log. In a bubble the test
// waits for what it causes, not for a time.
func TestCountFollowsTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store *kv.Store
		t.Cleanup(func() { store.Close() }) // after the server, which is closed first
		srv := realtimetest.New(t, realtime.AllowAll(), nil)
		store = kv.New(srv.Realtime, nil)
		must(t, countTodos(srv.Realtime, store))
		counts := srv.Record(realtime.EventMatch{Type: "kv.put", Key: "count"})

		_, err := store.Put(t.Context(), "todos", "item:milk", []byte("1 l"))
		must(t, err)
		counts.Expect(realtime.EventMatch{Key: "count"})
		if entry, err := store.Get(t.Context(), "todos", "count"); err != nil || string(entry.Value) != "1" {
			t.Errorf("count is %s, %v", entry.Value, err)
		}
	})
}

// A handler that fails is called again, and then the event is a dead letter. Eight
// attempts take half a minute, which is no time here.
func TestMailThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), nil)
		attempts, dead := 0, 0
		group := &realtime.GroupOptions{DeadLetter: func(context.Context, realtime.DeadLetter) { dead++ }}
		must(t, srv.Realtime.Group("mailer", group, func(g *realtime.Group) error {
			return g.OnDBChange(realtime.DBMatch{Collection: "orders", Op: "created"}, func(context.Context, realtime.RenEvent) error {
				attempts++
				return errors.New("no mail server")
			})
		}))
		must(t, srv.Realtime.Emit(t.Context(), realtime.DocumentCreated("orders", "42")))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if attempts != 8 || dead != 1 {
			t.Errorf("%d attempts, %d dead letters", attempts, dead)
		}
	})
}
