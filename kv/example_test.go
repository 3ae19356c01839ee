package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// Clients that show a key are told that it changed.
func Example() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)
	store := kv.New(rt, nil)
	defer store.Close()

	start := rt.Cursor()
	version, err := store.Put(ctx, "demo", "todolist:1:item:abc", []byte(`{"title":"milk"}`), kv.TTL(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Resource: "kv", Key: "todolist:1:*"}, start)
	if err != nil {
		log.Fatal(err)
	}
	entry, err := store.Get(ctx, ev.Namespace, ev.Key)
	fmt.Println(ev.Type, ev.Key, ev.Version == version)
	fmt.Println(string(entry.Value), entry.Version == version, err)
	// Output:
	// kv.put todolist:1:item:abc true
	// {"title":"milk"} true <nil>
}

// All keys below a prefix, page by page.
func ExampleStore_List() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)
	store := kv.New(rt, nil)
	defer store.Close()
	for i := range 5 {
		if _, err := store.Put(ctx, "demo", fmt.Sprintf("item:%d", i), []byte("x")); err != nil {
			log.Fatal(err)
		}
	}

	opts := kv.ListOptions{Prefix: "item:", Limit: 2}
	for {
		page, err := store.List(ctx, "demo", opts)
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range page.Entries {
			fmt.Println(e.Key)
		}
		if opts.Cursor = page.Cursor; opts.Cursor == "" {
			break
		}
	}
	// Output:
	// item:0
	// item:1
	// item:2
	// item:3
	// item:4
}

// A write that could not be announced has happened all the same.
func ExampleStore_Put() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	store := kv.New(rt, nil)
	defer store.Close()
	rt.Close(ctx) // too early: the Store is closed first

	_, err = store.Put(ctx, "demo", "a", []byte("1"))
	fmt.Println(errors.Is(err, kv.ErrUnannounced), errors.Is(err, realtime.ErrClosed))
	entry, err := store.Get(ctx, "demo", "a")
	fmt.Println(string(entry.Value), err)
	// Output:
	// true true
	// 1 <nil>
}
