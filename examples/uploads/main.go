// Uploads is a gallery that is live in every tab: pictures appear, change and
// vanish as anybody uploads and deletes, and everybody sees how far an upload is:
//
//	go run ./examples/uploads
//	go run ./examples/uploads -dir ~/gallery -max 20
//
// Files go to the handler of package storage, which keeps them in a directory and
// announces them on the REN stream (uploads.go). The page that uploads tells the
// others how far it is, in a channel over its WebSocket (page/app.js). A file that is
// too large, or has a name that no file can have, is refused.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/storage"
)

func main() {
	dir := flag.String("dir", "", "`directory` that keeps the pictures; without one they are gone at the end")
	megabytes := flag.Int64("max", 8, "most `MiB` of a picture")
	web.Main("uploads", func(ctx context.Context, addr string) error {
		return run(ctx, addr, *dir, *megabytes<<20)
	})
}

// run serves until ctx ends.
func run(ctx context.Context, addr, name string, most int64) (err error) {
	if name == "" {
		if name, err = os.MkdirTemp("", "uploads"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(name)) }()
	}
	dir, err := storage.OpenDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	served := policy
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		served.Hosts = append(slices.Clone(policy.Hosts), strings.TrimSuffix(net.JoinHostPort(host, ""), ":"))
	}
	rt, err := realtime.New(served, web.Options())
	if err != nil {
		return err
	}
	g := &gallery{rt: rt, store: storage.New(rt, dir, nil), most: most}
	return web.Serve(ctx, "The gallery", addr, rt, g.handler())
}
