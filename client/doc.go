// Package client follows a Maravilla Realtime server from a Go program, over the
// network, as the browser SDK does from a page.
//
//	ren, err := client.NewRen("https://app.example/api/maravilla/ren", nil)
//	…
//	for ev, err := range ren.Events(ctx) {
//		…                             // something was written over there
//	}
//
//	rt, err := client.NewRealtime("https://app.example/api/maravilla/realtime", nil)
//	…
//	rt.Connect()
//	defer rt.Close()
//
//	err = rt.Publish(ctx, "room:42", Message{Text: "hello"})
//	for msg, err := range rt.Subscribe(ctx, "room:42") {
//		…                             // somebody published
//	}
//	room := rt.Presence("room:42")
//	err = room.Join(ctx, "ada", Profile{Name: "Ada"})
//	for change, err := range room.Events(ctx) {
//		…                             // somebody came, changed or left
//	}
//
// Both come back by themselves when a connection is lost, after a random wait
// that grows, and go on after the last event they saw. Where that cannot be
// done, loops yield a [*realtime.ResetError], after which what they show has to
// be read again, and go on. What a server refuses for good is an [*Error] and ends
// the loop that asked, or all of them; so does a right that the server takes
// away, after which the program may ask again. What the server could not decide
// for the moment the client asks for again by itself.
//
// With [RealtimeOptions.Token] credentials are renewed before they expire, over
// the connection that is open, or on REN by another stream that goes on where the
// first one is. The server must say how long they last: [realtime.Identity.Expires].
//
// What is larger than 8 MiB is not read. It costs the loops over its channel a
// [*realtime.ResetError] with the reason "too_large"; where it is a roster, the
// loops over changes end with an [*Error] with that code. Everything else goes on.
//
// A program inside the server's process needs none of this: it has
// [realtime.Realtime.Events].
package client
