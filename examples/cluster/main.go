// Cluster shows a page that loses nothing while the nodes that serve it die:
//
//	go run ./examples/cluster
//
// The command runs NATS JetStream, three nodes and a load balancer, at whose address
// the page is. A node is this program once more, in a process of its own, so that
// Kill is a kill -9 and Pause a SIGSTOP (process.go); its connection to NATS runs over
// a cable that can be cut (cable.go). An app of your own needs only the line in
// node.go that names the backend.
//
// Everybody may do everything here; a real app puts its own [realtime.Policy] in the
// place of AllowAll, and shows nobody a button that kills its nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
)

func main() {
	if child.Name() != "" {
		child.Main(serveNode)
		return
	}
	web.Main("cluster", run)
}

// run serves until ctx ends.
func run(ctx context.Context, addr string) (err error) {
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	nats, err := embedded.Start(embedded.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer nats.Close()
	c, err := startCluster(ctx, nats.URL(), "a", "b", "c")
	defer c.stop()
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("The cluster is ready: %s\n", web.URL(addr, ln.Addr()))
	srv := &http.Server{Handler: c.handler(), ReadHeaderTimeout: web.Slow(5 * time.Second)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	c.stop() // the nodes ask the pages to come back, which end their connections
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), child.StopTime)
	defer cancel()
	return srv.Shutdown(down)
}
