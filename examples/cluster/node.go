package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/natsbackend"
)

// natsEnv tells the process of a node where it finds NATS.
const natsEnv = "REALTIME_EXAMPLE_NATS"

// serveNode is one node: the same program as with one process, and a backend.
func serveNode(ctx context.Context, name string) error {
	b, err := natsbackend.New(ctx, natsbackend.Options{URL: os.Getenv(natsEnv)})
	if err != nil {
		return err
	}
	defer b.Close(context.WithoutCancel(ctx))
	opts := web.Options()
	opts.Backend = b
	rt, err := realtime.New(realtime.AllowAll(), opts)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := rt.Health(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /tick", func(w http.ResponseWriter, r *http.Request) { publishTick(w, r, rt) })
	return web.Serve(ctx, "Node "+name, "127.0.0.1:0", rt, rt.Attribute(mux)) // which refuses other hosts than this machine
}

// tick is a message of the clock.
type tick struct {
	N  int64 `json:"n"`  // counts them
	At int64 `json:"at"` // when the clock sent it first, in ms
}

// publishTick publishes a message of the clock for the command. One that is asked for
// again, of this node or another, because nobody answered, is the same message.
func publishTick(w http.ResponseWriter, r *http.Request, rt *realtime.Realtime) {
	var t tick
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, "not a tick", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := rt.Publish(ctx, "clock", t, realtime.WithID(fmt.Sprint("tick ", t.N))); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
