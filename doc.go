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
// [Realtime.Publish] sends a message to a channel. [Realtime.Emit] announces a
// write, so that every page that shows the data can read it again.
// [Realtime.Presence] keeps the users that are present in each channel. All of them
// return when the event is in the log.
//
//	rt.Publish(ctx, "room:42", Message{Text: "hello"})
//	rt.Emit(ctx, realtime.KVPut("demo", "todo:1"))
//	rt.Presence().Join(ctx, "room:42", user.ID, Profile{Name: user.Name})
//
// The stores announce their writes by themselves: package kv (keys that expire),
// package storage (files, and uploads from pages), and package db (transactions of
// the host's own database, after the commit).
//
// [Realtime.Stream] is for a message that grows, such as the answer of a language model:
// every client that follows it has the same text, also one that comes late or comes back,
// and a client with the right to do so can stop it.
//
// # Listen
//
// Browsers follow with RenClient and RealtimeClient from the SDK, or a bare
// EventSource; Go programs with package client. In the process itself,
// [Realtime.Events] is a loop over events, and [Realtime.WaitFor] waits for one
// event.
//
// Handlers react: [Realtime.OnChannel], [Realtime.OnKVChange],
// [Realtime.OnDBChange], [Realtime.OnStorage], and [Realtime.OnEvent] for
// events of the host's own. Each gets an event at least once, in the order of its
// channel or key, and again if it fails. [Realtime.Group] gives handlers a name, by
// which several processes share the work.
//
// # One log
//
// Everything that happens is an event on one ordered log, and everything else is
// a view of it. All readers see the same order, and a reader that was away continues
// from its cursor. No gap is silent: a reader that was away for longer than the
// history is told so, and must read its data again.
//
// # Rights
//
// A browser may do only what the [Policy] allows. [Realtime.Authorize] asks the policy
// for routes of the host's own. [Realtime.Revoke] and [Realtime.Recheck] end rights.
// The Go API is for the host's own code and does not ask the policy.
//
// # Test
//
// Package realtimetest runs a host on a network in memory, in virtual time, and can
// inject faults of the network and the log.
//
// # Outgrow one machine
//
// The log, presence and the progress of groups are in memory unless
// [Options].Backend names an engine. Package backend is the contract of an engine, and
// package backendtest tests a backend against it.
package realtime
