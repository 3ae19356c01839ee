// Package client follows a Maravilla Realtime server from a Go program, over the
// network, as the browser SDK does from a page.
//
//	ren, err := client.NewRen("https://app.example/api/maravilla/ren", nil)
//	…
//	for ev, err := range ren.Events(ctx) {
//		…                             // data was written on the server
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
// Both clients reconnect by themselves when a connection is lost, after a random wait
// that grows, and continue after the last event they saw. If the server no longer has
// the events in between, loops yield a [*realtime.ResetError] and continue: the program
// must read its data again. If the server refuses something for good, the loop that
// asked for it, or every loop, ends with an [*Error]. The same happens if the server
// ends a right; the program may then ask again. If the server could not decide, the
// client asks again by itself.
//
// With [RealtimeOptions.Token] credentials are renewed before they expire: over the open
// connection, or on REN by another stream that continues where the first one is. For
// this the server must set [realtime.Identity.Expires].
//
// Messages larger than 8 MiB are not read. The loops over their channel get a
// [*realtime.ResetError] with the reason "too_large". If a roster is too large, the
// loops over changes end with an [*Error] with that code. Everything else continues.
//
// A program inside the server's process needs none of this: it has
// [realtime.Realtime.Events].
package client
