// Postgres is a board of orders whose pages show all that is committed to the database,
// by the app or by any other program:
//
//	go run .
//
// The command starts a Postgres of its own in a temporary directory, or takes the
// database that -database names, and two processes of the app, each with a door in the
// one page (front.go). A page writes through one process and hears of it through the
// other; of what is written in psql it hears as well.
//
// A database that -database names keeps what the example has made in it: the table orders,
// the schema and the publication realtime, and the replication slot, for which its server
// keeps its write-ahead log until
//
//	select pg_drop_replication_slot('realtime')
//
// An app of your own needs only node.go, which makes the backend and the source, and the
// one call of postgres.Attribute in board.go. sqlc makes the queries of orders/query.sql:
// nothing in them knows that somebody listens.
//
// Everybody may do everything here; a real app puts its own [realtime.Policy] in the
// place of AllowAll, and shows nobody a button that runs psql.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

var database = flag.String("database", "", "`URL` of a database to use, whose server has wal_level = logical; without one the command starts a server of its own")

func main() {
	if child.Name() != "" {
		child.Main(serveNode)
		return
	}
	web.Main("postgres", run)
}

// run serves until ctx ends.
func run(ctx context.Context, addr string) (err error) {
	db, err := openDatabase(ctx, *database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	nodes, err := startNodes(ctx, db.url, "a", "b")
	defer stopNodes(nodes)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("The board is ready: %s\nWrite to it: %s\n", web.URL(addr, ln.Addr()), db.command)
	srv := &http.Server{Handler: newFront(nodes, db).handler(), ReadHeaderTimeout: web.Slow(5 * time.Second)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-anyEnded(nodes):
		return errors.Join(errNodeEnded, srv.Close())
	case <-ctx.Done():
	}
	stopNodes(nodes) // they ask the pages to come back, which end their connections
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), child.StopTime)
	defer cancel()
	return srv.Shutdown(down)
}

var errNodeEnded = errors.New("a process of the app has ended")
