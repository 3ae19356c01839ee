package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/postgres"
)

// databaseEnv tells the process of a node where it finds the database.
const databaseEnv = "REALTIME_EXAMPLE_DATABASE"

// serveNode is one process of the app: the same program as with one process, and a
// backend. With the source every change of the table is an event, also one of another program.
func serveNode(ctx context.Context, name string) (err error) {
	url := os.Getenv(databaseEnv)
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	b, err := postgres.NewBackend(ctx, postgres.Options{URL: url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	source, err := postgres.NewSource(ctx, b, postgres.SourceOptions{Tables: map[string]postgres.Table{
		"orders": {Data: []string{"customer", "item", "cents", "status"}}, // what pages may see of a row
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close(context.WithoutCancel(ctx))) }()
	opts := web.Options()
	opts.Backend = b
	rt, err := realtime.New(realtime.AllowAll(), opts)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.Handle("/api/", newBoard(pool))
	return web.Serve(ctx, "Node "+name, "127.0.0.1:0", rt, http.NewCrossOriginProtection().Handler(rt.Attribute(mux)))
}

// startNodes returns the nodes that it has started in any case: stop them.
func startNodes(ctx context.Context, url string, names ...string) (nodes []*child.Process, err error) {
	for _, name := range names {
		p, err := child.Start(ctx, name, databaseEnv+"="+url)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, p)
	}
	return nodes, nil
}

// stopNodes ends them in order. Stopping again does nothing.
func stopNodes(nodes []*child.Process) {
	var stopping sync.WaitGroup
	for _, p := range nodes {
		stopping.Go(p.Stop)
	}
	stopping.Wait()
}

// anyEnded returns a channel that is closed when one of the nodes has ended.
func anyEnded(nodes []*child.Process) <-chan struct{} {
	ended := make(chan struct{})
	var once sync.Once
	for _, p := range nodes {
		go func() { // ends with the process
			<-p.Ended
			once.Do(func() { close(ended) })
		}()
	}
	return ended
}
