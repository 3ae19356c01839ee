// Dashboard shows to-do lists, and figures about them, that are live in every tab
// without polling:
//
//	go run ./examples/dashboard
//
// Items are kept in a kv.Store, whose writes are events: pages follow them as a
// REN stream and read again what has changed (dashboard.go, page/app.js). A
// handler follows them, too, and keeps a summary of each list, which is a key like
// any other, so that pages see it change (handlers.go). Items are put to sleep by
// keys that expire, and are escalated by an event of the app's own.
//
// Everybody may do everything here; a real app puts its own [realtime.Policy] in
// the place of AllowAll, as examples/embed does.
package main

import (
	"context"
	"errors"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

func main() { web.Main("dashboard", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(realtime.AllowAll(), web.Options())
	if err != nil {
		return err
	}
	store := kv.New(rt, nil) // in memory; kv/boltkv keeps it in a file
	defer store.Close()      // after rt, whose handlers write to it
	d := &dashboard{rt: rt, store: store}
	if err := errors.Join(d.register(), d.fill(ctx)); err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	return web.Serve(ctx, "The dashboard", addr, rt, d.handler())
}
