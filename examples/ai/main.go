// Ai is a page on which answers grow, as those of a language model do:
//
//	go run ./examples/ai
//
// Ask in one tab, watch in two, reload in the middle, stop from the other one, pull
// the plug: the answer goes on, and all tabs show the same. There is no model and no
// network here; generate.go types instead, at the pace of one.
//
// Everybody may do everything here; a real app puts its own [realtime.Policy] in
// the place of AllowAll.
package main

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func main() { web.Main("ai", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(realtime.AllowAll(), options())
	if err != nil {
		return err
	}
	a := &ai{rt: rt}
	defer a.answering.Wait() // after rt, whose end is that of all streams
	return web.Serve(ctx, "The AI that is none", addr, rt, a.handler())
}

func options() *realtime.Options {
	opts := web.Options()
	opts.History.Age = time.Hour   // for those who come later
	opts.Limits.Metadata = 4 << 10 // for a question of 500 characters
	return opts
}
