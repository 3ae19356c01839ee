package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/storage"
)

// A handler gets the messages of all rooms that have a certain type. Close lets it
// finish.
func ExampleRealtime_OnChannel() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)

	must(rt.OnChannel(realtime.ChannelMatch{Channel: "room:*", Type: "order"}, func(_ context.Context, ev realtime.RenEvent) error {
		fmt.Println(ev.Channel, string(ev.Data))
		return nil
	}))
	must(rt.Publish(ctx, "room:42", map[string]string{"type": "order", "dish": "soup"}))
	must(rt.Publish(ctx, "room:42", map[string]string{"type": "typing"}))
	must(rt.Close(ctx))
	// Output: room:42 {"dish":"soup","type":"order"}
}

// A flag that says whether a group is in a call, derived from who is present in
// its channel. The flag ends by itself, should nobody be left to end it.
func ExampleRealtime_OnChannel_presence() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	store := kv.New(rt, nil)
	defer store.Close() // after rt, whose handlers write to it
	defer rt.Close(ctx)

	reflectHuddleCall := func(ctx context.Context, ev realtime.RenEvent) error {
		flag := "huddle-active:" + strings.TrimPrefix(ev.Channel, "huddle:")
		members, err := rt.Presence().Members(ctx, ev.Channel)
		switch {
		case err != nil:
			return err // it is called again
		case len(members) == 0:
			return store.Delete(ctx, "demo", flag)
		}
		_, err = store.Put(ctx, "demo", flag, []byte("1"), kv.TTL(5*time.Minute))
		return err
	}
	must(rt.OnChannel(realtime.ChannelMatch{Channel: "huddle:*", Type: "presence"}, reflectHuddleCall))

	start := rt.Cursor()
	must(rt.Presence().Join(ctx, "huddle:family", "ada", nil))
	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Resource: "kv", Key: "huddle-active:*"}, start)
	fmt.Println(ev.Type, ev.Key, err)

	must(rt.Presence().Leave(ctx, "huddle:family", "ada"))
	ev, err = rt.WaitFor(ctx, realtime.EventMatch{Type: "kv.delete", Key: "huddle-active:*"}, start)
	fmt.Println(ev.Type, ev.Key, err)
	// Output:
	// kv.put huddle-active:family <nil>
	// kv.delete huddle-active:family <nil>
}

// A summary that a dashboard shows, counted again whenever an item of its list has
// changed. With a Concurrency of 1 the last count is the one that stays.
func ExampleRealtime_OnKVChange() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	store := kv.New(rt, nil)
	defer store.Close()
	defer rt.Close(ctx)

	rollupTodoStats := func(ctx context.Context, ev realtime.RenEvent) error {
		list := strings.Split(ev.Key, ":")[1] // todolist:LIST:item:ID
		page, err := store.List(ctx, "demo", kv.ListOptions{Prefix: "todolist:" + list + ":item:", Limit: 1000})
		if err != nil {
			return err
		}
		stats := map[string]int{}
		for _, item := range page.Entries {
			stats[string(item.Value)]++
		}
		value, err := json.Marshal(stats)
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, "demo", "stats:"+list, value)
		return err
	}
	must(rt.Group("stats", &realtime.GroupOptions{Concurrency: 1}, func(g *realtime.Group) error {
		return g.OnKVChange(realtime.KVMatch{Namespace: "demo", Key: "todolist:*:item:*"}, rollupTodoStats)
	}))

	start := rt.Cursor()
	for id, state := range []string{"open", "open", "done"} {
		_, err := store.Put(ctx, "demo", fmt.Sprintf("todolist:42:item:%d", id), []byte(state))
		must(err)
	}
	n := 0
	for _, err := range rt.EventsAfter(ctx, realtime.EventMatch{Type: "kv.put", Key: "stats:42"}, start) {
		must(err)
		if n++; n == 3 {
			break
		}
	}
	stats, err := store.Get(ctx, "demo", "stats:42")
	fmt.Println(string(stats.Value), err)
	// Output: {"done":1,"open":2} <nil>
}

// Mail about new orders, once they are committed: package db announces what a
// transaction has written after its commit.
func ExampleRealtime_OnDBChange() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)

	must(rt.OnDBChange(realtime.DBMatch{Collection: "orders", Op: "created"}, func(_ context.Context, ev realtime.RenEvent) error {
		fmt.Println("mail about order", ev.Key)
		return nil
	}))
	must(rt.Emit(ctx, realtime.DocumentCreated("orders", "7"))) // db.Tx.Emit, in an app
	must(rt.Emit(ctx, realtime.DocumentUpdated("orders", "7")))
	must(rt.Close(ctx))
	// Output: mail about order 7
}

// A thumbnail for each picture, which pages see appear.
func ExampleRealtime_OnStorage() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)
	folder, err := os.MkdirTemp("", "objects")
	must(err)
	defer os.RemoveAll(folder)
	dir, err := storage.OpenDir(folder)
	must(err)
	defer dir.Close()
	store := storage.New(rt, dir, nil)

	must(rt.OnStorage(realtime.StorageMatch{Key: "photos/*", Op: "created"}, func(ctx context.Context, ev realtime.RenEvent) error {
		picture, _, err := store.Open(ctx, ev.Key)
		if errors.Is(err, storage.ErrNotFound) {
			return nil // it is gone already
		} else if err != nil {
			return err
		}
		defer picture.Close()
		_, _, err = store.Put(ctx, "thumbs/"+strings.TrimPrefix(ev.Key, "photos/"), "image/png", picture) // smaller, in an app
		return err
	}))

	start := rt.Cursor()
	_, _, err = store.Put(ctx, "photos/cat.png", "image/png", strings.NewReader("…"))
	must(err)
	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Resource: "storage", Key: "thumbs/*"}, start)
	fmt.Println(ev.Type, ev.Key, err)
	// Output: storage.object.created thumbs/cat.png <nil>
}

// Events of the host's own: any resource that is not one of the library's.
func ExampleRealtime_OnEvent() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)

	match := realtime.EventMatch{Resource: "custom", Namespace: "jobs", Type: "priority:high"}
	must(rt.OnEvent(match, func(_ context.Context, ev realtime.RenEvent) error {
		fmt.Println("at once:", ev.Key)
		return nil
	}))
	must(rt.Emit(ctx, realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:low", Key: "tidy up"}))
	must(rt.Emit(ctx, realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:high", Key: "put the fire out"}))
	must(rt.Close(ctx))
	// Output: at once: put the fire out
}

// The handler gets its data decoded. What cannot be decoded is not tried again.
func ExampleTyped() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Groups: realtime.GroupOptions{
		DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
			fmt.Println("not handled:", string(d.Event.Data), errors.Is(d.Err, realtime.ErrPermanent))
		},
	}})
	must(err)

	type order struct {
		Dish  string `json:"dish"`
		Count int    `json:"count"`
	}
	must(rt.OnChannel(realtime.ChannelMatch{Channel: "kitchen"}, realtime.Typed(
		func(_ context.Context, _ realtime.RenEvent, o order) error {
			fmt.Println(o.Count, o.Dish)
			return nil
		})))
	must(rt.Publish(ctx, "kitchen", order{"soup", 2}))
	must(rt.Publish(ctx, "kitchen", "what is good today?"))
	must(rt.Close(ctx))
	// Output:
	// 2 soup
	// not handled: "what is good today?" true
}

// A handler that fails is called again, and what it fails with for good goes to
// the dead letters. The events of one key wait for each other meanwhile, as here.
func ExampleRealtime_Group() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)

	opts := &realtime.GroupOptions{
		Attempts: 3,
		Backoff:  time.Millisecond,
		DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
			fmt.Printf("given up after %d: %s: %v\n", d.Delivery.Attempt, d.Event.Data, d.Err)
		},
	}
	must(rt.Group("mailer", opts, func(g *realtime.Group) error {
		return g.OnChannel(realtime.ChannelMatch{Channel: "mail"}, realtime.Typed(
			func(ctx context.Context, _ realtime.RenEvent, to string) error {
				d, _ := realtime.DeliveryOf(ctx)
				switch {
				case to == "nobody":
					return fmt.Errorf("%w: no such mailbox", realtime.ErrPermanent)
				case to == "bob", d.Attempt < 2:
					return errors.New("the mail server is busy")
				}
				fmt.Printf("sent to %s in attempt %d\n", to, d.Attempt)
				return nil
			}))
	}))
	for _, to := range []string{"ada", "bob", "nobody"} {
		must(rt.Publish(ctx, "mail", to))
	}
	must(rt.Close(ctx))
	// Output:
	// sent to ada in attempt 2
	// given up after 3: "bob": the mail server is busy
	// given up after 1: "nobody": realtime: permanent failure: no such mailbox
}

// A handler is called at least once for each event. Where twice would be wrong, it
// remembers the name of the event, in the transaction of what it does, if it can.
func ExampleDeliveryOf() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Groups: realtime.GroupOptions{Backoff: time.Millisecond}})
	must(err)

	account, booked := 0, map[realtime.Cursor]bool{} // of one channel: handled one after another
	must(rt.OnChannel(realtime.ChannelMatch{Channel: "account:ada"}, realtime.Typed(
		func(ctx context.Context, _ realtime.RenEvent, amount int) error {
			d, _ := realtime.DeliveryOf(ctx)
			if !booked[d.Cursor] {
				booked[d.Cursor] = true
				account += amount
			}
			if d.Attempt == 1 {
				return errors.New("the connection broke") // after the booking
			}
			return nil
		})))
	must(rt.Publish(ctx, "account:ada", 100))
	must(rt.Publish(ctx, "account:ada", -30))
	must(rt.Close(ctx))
	fmt.Println(account)
	// Output: 70
}
