// React is a small team board in React, with the hooks of the browser SDK:
//
//	go run ./examples/react
//
// Cards are kept in a kv.Store, whose writes are events: pages read them again
// when useRen says so (src/cards.tsx). usePresence shows who is here
// (src/people.tsx), useChannel what they say (src/talk.tsx), useConnectionStatus
// whether all that is live (src/app.tsx). What travels has one source of types,
// the structs in board.go: package tsgen makes src/types.ts of them.
//
// page/app.js is built from src and committed, so that nothing has to be installed
// to run this. To change it:
//
//	npm ci --prefix examples/react
//	go run ./internal/tools/buildpage examples/react   # after each change; -dev for React's warnings
//	go run ./examples/react -dir examples/react        # serves the files as they are
//
// Everybody may do everything here, under any name; a real app puts its own
// [realtime.Policy] in the place of AllowAll, as examples/embed does.
package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

func main() {
	dir := flag.String("dir", "", "serve the page in this `directory`, not the one built in")
	web.Main("react", func(ctx context.Context, addr string) error {
		var files fs.FS = page
		if *dir != "" {
			files = os.DirFS(*dir)
		}
		return run(ctx, addr, files)
	})
}

// run serves until ctx ends.
func run(ctx context.Context, addr string, files fs.FS) error {
	rt, err := realtime.New(realtime.AllowAll(), web.Options())
	if err != nil {
		return err
	}
	store := kv.New(rt, nil) // in memory; kv/boltkv keeps it in a file
	defer store.Close()
	b := &board{rt: rt, store: store}
	if err := b.fill(ctx); err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	return web.Serve(ctx, "The board", addr, rt, b.handler(files))
}
