// Package client follows a Maravilla Realtime server from a Go program, over the
// network, as the browser SDK does from a page.
//
//	ren := client.NewRen("https://app.example/api/maravilla/ren", nil)
//	for ev, err := range ren.Events(ctx) {
//		…                             // something was written over there
//	}
//
//	rt := client.NewRealtime("https://app.example/api/maravilla/realtime", nil)
//	rt.Connect()
//	defer rt.Close()
//
//	err := rt.Publish(ctx, "room:42", Message{Text: "hello"})
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
// that grows, and go on behind the last event they saw. Where that cannot be
// done, loops yield a [*realtime.ResetError], after which what they show has to
// be read anew, and go on. What a server refuses for good is an [*Error] and ends
// the loop that asked, or all of them.
//
// A program inside the server's process needs none of this: it has
// [realtime.Realtime.Events].
package client
