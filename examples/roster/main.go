// Roster shows who is here, and whether they are in a call, live:
//
//	go run ./examples/roster
//
// The page asks the server to have its user present in a room, again every minute,
// and to end that when it goes (roster.go, page/app.js). Everybody's list follows
// the presence events of a REN stream. A call, in contrast, is joined by the page
// itself, over its WebSocket; a handler follows who does, and keeps a flag in a
// kv.Store, which pages see change (handlers.go).
//
// Everybody may do everything here, under any name; a real app puts its own
// [realtime.Policy] in the place of AllowAll, as examples/embed does.
package main

import (
	"context"
	"errors"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

func main() { web.Main("roster", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(realtime.AllowAll(), web.Options())
	if err != nil {
		return err
	}
	store := kv.New(rt, nil)
	defer store.Close() // after rt, whose handlers write to it
	ro := &roster{rt: rt, store: store}
	if err := ro.register(); err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	return web.Serve(ctx, "The roster", addr, rt, ro.handler())
}
