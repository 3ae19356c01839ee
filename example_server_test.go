package realtime_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/maravilla-realtime/realtime"
)

// A server that tells a load balancer when it is ready, and that ends in order
// when it is interrupted: requests are answered, streams and WebSockets are told to
// come back, to the process that follows.
func ExampleServe() {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := rt.Health(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: ":8080", Handler: mux}
	if err := realtime.Serve(ctx, srv, rt); err != nil {
		log.Print(err)
	}
}

// A user lost a role: what the policy no longer allows ends, and the rest
// of the connection goes on. Where nothing is to go on, Revoke ends it.
func ExampleRealtime_Recheck() {
	ctx := context.Background()
	members := map[string]bool{"ada": true} // guarded, in a real host
	rt, err := realtime.New(realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: r.Header.Get("X-User")}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if a.Name != "lobby" && !members[id.User] {
				return errors.New("not a member")
			}
			return nil
		},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)

	delete(members, "ada")
	if err := rt.Recheck(ctx, "ada"); err != nil {
		log.Fatal(err)
	}
	// Nothing but the lobby reaches ada from here on.
}
