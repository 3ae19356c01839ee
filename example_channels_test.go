package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A message of a user, which is published once, however often it is sent.
func ExampleRealtime_Publish_options() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)

	start := rt.Cursor()
	for range 2 { // the answer to the first attempt was lost, say
		must(rt.Publish(ctx, "room:42", "hello", realtime.AsUser("ada"), realtime.WithID("order-7-hello")))
	}
	must(rt.Publish(ctx, "room:42", "and goodbye"))

	n := 0
	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Channel: "room:42"}, start) {
		must(err)
		fmt.Printf("%q: %s\n", ev.User, ev.Data)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// "ada": "hello"
	// "": "and goodbye"
}

// What is going on, for an admin page.
func ExampleRealtime_Channels() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)

	must(rt.Presence().Join(ctx, "huddle:family", "ada", nil))
	must(rt.Publish(ctx, "room:42", "hello"))
	channels, err := rt.Channels(ctx)
	fmt.Println(channels, err)
	// Output: [huddle:family room:42] <nil>
}

// Read your own write: what a reader finds after the cursor has happened after it.
func ExamplePublishedAt() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)

	var at realtime.Cursor
	must(rt.Emit(ctx, realtime.KVPut("demo", "a"), realtime.PublishedAt(&at)))
	must(rt.Emit(ctx, realtime.KVPut("demo", "b")))
	ev, err := rt.WaitFor(ctx, realtime.EventMatch{}, at) // a client gets it as its Since
	fmt.Println(ev.Key, err)
	// Output: b <nil>
}

// A flow that goes on when something has happened, or gives up.
func ExampleRealtime_WaitFor() {
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	start := rt.Cursor() // from before the question, so that no answer is too quick
	go func() {          // somebody, somewhere
		_ = rt.Emit(ctx, realtime.RenEvent{Resource: "custom", Namespace: "orders", Type: "approved", Key: "7"})
	}()

	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Resource: "custom", Namespace: "orders", Key: "7"}, start)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("nobody has decided")
	case err != nil:
		fmt.Println(err) // or a *ResetError: look up what was decided
	default:
		fmt.Println("order", ev.Key, "is", ev.Type)
	}
	// Output: order 7 is approved
}

// Who is in a room, as a server keeps it. Joining again renews the stay, and with
// other metadata it is an update.
func ExamplePresence_events() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)

	type profile struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	room, start := rt.Presence(), rt.Cursor()
	must(room.Join(ctx, "room:42", "ada", profile{"Ada", "here"}))
	must(room.Join(ctx, "room:42", "ada", profile{"Ada", "here"})) // each minute
	must(room.Join(ctx, "room:42", "ada", profile{"Ada", "at lunch"}))
	must(room.Leave(ctx, "room:42", "ada"))

	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Resource: "presence", Channel: "room:*"}, start) {
		must(err)
		data, err := realtime.Decode[struct {
			Metadata profile `json:"metadata"`
			Reason   string  `json:"reason"`
		}](ev)
		must(err)
		fmt.Printf("%s: %s, %s, %q\n", ev.Type, ev.User, data.Metadata.Status, data.Reason)
		if ev.Type == "presence.leave" {
			break
		}
	}
	// Output:
	// presence.join: ada, here, ""
	// presence.update: ada, at lunch, ""
	// presence.leave: ada, at lunch, "left"
}

// A route of the host's own asks the same policy as the streams do.
func ExampleRealtime_Authorize() {
	rt, err := realtime.New(realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			user := r.Header.Get("X-User") // stands for the host's sessions
			if user == "" {
				return realtime.Identity{}, errors.New("no session")
			}
			return realtime.Identity{User: user}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if a.Name != "room:"+id.User {
				return errors.New("not theirs")
			}
			return nil
		},
	}, nil)
	must(err)
	defer rt.Close(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("POST /rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
		channel := "room:" + r.PathValue("room")
		id, err := rt.Authorize(r, realtime.Action{Verb: realtime.VerbPublish, Name: channel})
		if err == nil {
			err = rt.Publish(r.Context(), channel, "hello", realtime.AsUser(id.User))
		}
		if err != nil {
			realtime.WriteError(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	for _, room := range []string{"ada", "bob"} {
		r, w := httptest.NewRequest("POST", "/rooms/"+room, nil), httptest.NewRecorder()
		r.Header.Set("X-User", "ada")
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %q\n", w.Code, w.Body)
	}
	// Output:
	// 204 ""
	// 403 "{\"code\":\"forbidden\",\"message\":\"not allowed to publish \\\"room:bob\\\"\",\"retry\":false}\n"
}

// A server that ends sends its clients home first. They come back, to this server
// or another, each after a delay of its own, and go on where they were.
func ExampleRealtime_Close() {
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	srv := &http.Server{Addr: "localhost:0", Handler: rt.Attribute(mux)}
	go srv.ListenAndServe()

	// When the signal has come:
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(rt.Close(ctx))     // handlers finish, streams end
	fmt.Println(srv.Shutdown(ctx)) // which would wait for the streams
	// Output:
	// <nil>
	// <nil>
}
