package realtime_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A server that knows when it is well, tunes the connections of streams, and
// sends its clients home when it ends.
func Example_server() {
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
	srv := &http.Server{Addr: ":8080", Handler: mux, ConnContext: realtime.ConnContext}
	go func() {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()

	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-stopped.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	srv.RegisterOnShutdown(func() { _ = rt.Close(ctx) })
	if err := errors.Join(srv.Shutdown(ctx), rt.Close(ctx)); err != nil {
		log.Print(err)
	}
}

// A user lost a role: what the policy does not allow any more ends, and the rest
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
