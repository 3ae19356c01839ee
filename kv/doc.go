// Package kv is a small key-value store whose writes are events: every page that
// shows a key is told that it changed, and reads it again.
//
//	store := kv.New(rt, nil) // in memory; or &kv.Options{Engine: …}
//	defer store.Close()
//
//	version, err := store.Put(ctx, "demo", "todolist:1:item:abc", value, kv.TTL(time.Hour))
//	entry, err := store.Get(ctx, "demo", "todolist:1:item:abc")
//	page, err := store.List(ctx, "demo", kv.ListOptions{Prefix: "todolist:1:item:"})
//	err = store.Delete(ctx, "demo", "todolist:1:item:abc")
//
// A put emits "kv.put", a deletion "kv.delete", and a key whose TTL ends
// "kv.expired". The deletion of a key that does not exist emits nothing. A write and
// its event happen under a lock of the key, so that the events of a key come in the
// order of its writes, each with a greater version. In requests that came through
// [realtime.Realtime.Attribute], the events are attributed to the client.
//
// # Engines
//
// A [Store] keeps its entries in an [Engine]: in memory unless it is given
// another one. Package boltkv, a module of its own, keeps them in a file. To keep
// them in your own database, write the five methods of Engine, and test them with
// package kvtest. examples/sqlite has an engine for database/sql, in a page of code.
//
// # What can be lost
//
// A Store stores first and announces afterwards. If the process crashes in between,
// a value is stored without an event. If the log is in memory this does no harm,
// since the restart resets all clients. Expiry has no such gap: an entry is deleted
// after it was announced.
//
// Order is kept among the writes through one Store. If two processes share an engine
// and write the same key at the same moment, the events may come in the other order.
// A client that reads the key at each event still ends with the stored value.
package kv
