// Package realtime gives a Go web app live updates: channels with presence over
// WebSockets, and a stream of everything that changes (REN) over Server-Sent
// Events, with a browser SDK, in one import.
//
//	rt, err := realtime.New(realtime.Policy{
//		Authenticate: whoIsIt, // from the request's session cookie or token
//		Allow:        mayDo,   // subscribe, publish, join
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
// # Listen
//
// Browsers follow with RenClient and RealtimeClient from the SDK, or a bare
// EventSource. In Go, [Realtime.Events] is a loop over what happens, and
// [Realtime.WaitFor] waits for one thing.
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
// Nothing is allowed to a browser but what the [Policy] allows. The Go API is
// the host's own and asks nobody.
//
// # Outgrow one machine
//
// The log and presence are in memory unless [Options].Backend says otherwise.
// Package backend is what an engine has to provide, and package backendtest
// proves that it does.
package realtime
