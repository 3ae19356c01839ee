// Package kv is a small key-value store whose writes are events: every page that
// shows a key learns that it changed, and reads it anew.
//
//	store := kv.New(rt, nil) // in memory; or &kv.Options{Engine: …}
//	defer store.Close()
//
//	version, err := store.Put(ctx, "demo", "todolist:1:item:abc", value, kv.TTL(time.Hour))
//	entry, err := store.Get(ctx, "demo", "todolist:1:item:abc")
//	page, err := store.List(ctx, "demo", kv.ListOptions{Prefix: "todolist:1:item:"})
//	err = store.Delete(ctx, "demo", "todolist:1:item:abc")
//
// A put emits "kv.put", a deletion "kv.delete", and a key whose time is over
// "kv.expired"; a deletion of what is not there emits nothing. A write and its
// event happen under a lock of the key, so that the events of a key come in the
// order of its writes, each with a greater version. Requests that came through
// [realtime.Realtime.Attribute] attribute them.
//
// # Engines
//
// A [Store] keeps its entries in an [Engine]: in memory unless it is given
// another one. Package boltkv, a module of its own, keeps them in a file. To keep
// them in a database that is there anyway is a page of code: the five methods of
// Engine, proven by package kvtest. examples/sqlite has one for database/sql.
//
// # What can be lost
//
// Whoever stores first and announces then can crash in between: a value is then
// stored and was not announced. Where the log is in memory that makes no
// difference, since all clients are reset by the restart. Expiry has no such gap:
// an entry is deleted after it was announced.
//
// Order is kept among the writes through one Store. Of two processes that share
// an engine and write the same key at the same moment, the events can come in the
// other order. Whoever reads the key at each event still ends with what is stored.
package kv
