// Chat is a chat with rooms, a live roster and a view of the raw events:
//
//	go run ./examples/chat
//
// Browsers publish over their WebSocket, or ask this server to do it for them.
// Everybody may do everything here; a real app puts its own [realtime.Policy] in
// the place of AllowAll.
package main

import (
	"context"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func main() { web.Main("chat", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(realtime.AllowAll(), web.Options())
	if err != nil {
		return err
	}
	return web.Serve(ctx, "Chat", addr, rt, handler(rt))
}
