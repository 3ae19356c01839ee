// Package realtime gives a Go web app live updates: channels with presence over
// WebSockets, and a stream of everything that changes (REN) over Server-Sent
// Events, with a browser SDK, in one import.
//
//	rt, err := realtime.New(realtime.Policy{
//		Authenticate: whoIsIt, // from the request's session cookie or token
//		Allow:        mayDo,   // subscribe, publish, join, upload
//		Grants:       maySee,  // of the REN stream
//	}, nil)
//	…
//	defer rt.Close(ctx)
//
//	mux.Handle("/api/maravilla/", rt.Handler()) // streams and the browser SDK
//	app := rt.Attribute(mux)                    // so that tabs know their own writes
//
// # Publish
//
// [Realtime.Publish] sends a message to a channel; [Realtime.Emit] announces a
// write, so that every page that shows what was written can read it anew;
// [Realtime.Presence] keeps who is where. All return once the event is in the
// log.
//
//	rt.Publish(ctx, "room:42", Message{Text: "hello"})
//	rt.Emit(ctx, realtime.KVPut("demo", "todo:1"))
//	rt.Presence().Join(ctx, "room:42", user.ID, Profile{Name: user.Name})
//
// The stores announce their writes by themselves: package kv (keys that expire),
// package storage (files, and uploads from pages), and package db, which announces
// what transactions of the host's own database commit.
//
// # Listen
//
// Browsers follow with RenClient and RealtimeClient from the SDK, or a bare
// EventSource; Go programs with package client. In the process itself,
// [Realtime.Events] is a loop over what happens, and [Realtime.WaitFor] waits for
// one thing.
//
// Handlers react: [Realtime.OnChannel], [Realtime.OnKVChange],
// [Realtime.OnDBChange], [Realtime.OnStorage], and [Realtime.OnEvent] for
// events of the host's own. Each gets an event at least once, in the order of its
// channel or key, and again if it fails. [Realtime.Group] gives them a name, under
// which several processes share the work.
//
// # One log
//
// Everything that happens is an event on one ordered log, and everything else is
// a view of it: all see the same order, and a reader that was away goes on from
// its cursor. Nobody misses anything silently: whoever was away longer than the
// history reaches is told so, and reads its data again.
//
// # Rights
//
// Nothing is allowed to a browser but what the [Policy] allows, and
// [Realtime.Authorize] asks it for routes of the host's own. [Realtime.Revoke] and
// [Realtime.Recheck] end rights. The Go API is the host's own and asks nobody.
//
// # Test
//
// Package realtimetest runs a host on a network in memory, in virtual time, with
// faults of network and log to switch on.
//
// # Outgrow one machine
//
// The log, presence and the progress of groups are in memory unless
// [Options].Backend says otherwise. Package backend is what an engine has to
// provide, and package backendtest proves that it does.
package realtime
