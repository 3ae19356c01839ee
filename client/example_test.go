package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// serve stands for a server somewhere else.
func serve() (rt *realtime.Realtime, url string, stop func()) {
	rt, err := realtime.New(realtime.AllowAll(), &realtime.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(rt.Handler())
	return rt, server.URL, func() {
		_ = rt.Close(context.Background())
		server.Close()
	}
}

// A loop over what is written, that a program after this one goes on with.
func ExampleRen() {
	ctx := context.Background()
	server, url, stop := serve()
	defer stop()

	start := server.Cursor() // from where the cursor of a process before was kept
	_ = server.Emit(ctx, realtime.KVPut("demo", "todo:1"))
	_ = server.Emit(ctx, realtime.KVDelete("demo", "todo:1"))

	ren, err := client.NewRen(url+"/api/maravilla/ren", &client.RenOptions{Subscriptions: []string{"kv"}, Since: start})
	if err != nil {
		log.Fatal(err)
	}
	for ev, err := range ren.Events(ctx) {
		if err != nil {
			log.Fatal(err) // or a *realtime.ResetError: read the data again, and go on
		}
		fmt.Println(ev.Type, ev.Key)
		if ev.Type == "kv.delete" {
			break
		}
	}
	fmt.Println(ren.Cursor() == server.Cursor())
	// Output:
	// kv.put todo:1
	// kv.delete todo:1
	// true
}

// A subscription begins with the call, so that what is published after it
// arrives.
func ExampleRealtime() {
	ctx := context.Background()
	_, url, stop := serve()
	defer stop()

	rt, err := client.NewRealtime(url+"/api/maravilla/realtime", nil)
	if err != nil {
		log.Fatal(err)
	}
	rt.Connect()
	defer rt.Close()

	messages := rt.Subscribe(ctx, "room:42")
	if err := rt.Publish(ctx, "room:42", map[string]string{"text": "hello"}); err != nil {
		log.Fatal(err)
	}
	for msg, err := range messages {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(msg.Data), msg.From == rt.Tag())
		break
	}
	// Output: {"text":"hello"} true
}

// Who is there, and who comes.
func ExamplePresence() {
	ctx := context.Background()
	server, url, stop := serve()
	defer stop()

	rt, err := client.NewRealtime(url+"/api/maravilla/realtime", nil)
	if err != nil {
		log.Fatal(err)
	}
	rt.Connect()
	defer rt.Close()

	room := rt.Presence("room:42")
	if err := room.Join(ctx, "ada", map[string]string{"name": "Ada"}); err != nil {
		log.Fatal(err)
	}
	for change, err := range room.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change.Type, change.Member.UserID, string(change.Member.Metadata))
		switch change.Member.UserID {
		case "ada":
			_ = server.Presence().Join(ctx, "room:42", "bob", nil)
		case "bob":
			return
		}
	}
	// Output:
	// join ada {"name":"Ada"}
	// join bob
}

// The events that a program's own requests cause are known by its tag, as those
// of renFetch are in a browser.
func ExampleTransport() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.AllowAll(), &realtime.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("PUT /todos/{id}", func(_ http.ResponseWriter, r *http.Request) {
		_ = rt.Emit(r.Context(), realtime.KVPut("demo", "todo:"+r.PathValue("id")))
	})
	server := httptest.NewServer(rt.Attribute(mux))
	defer server.Close()
	defer rt.Close(ctx)

	transport := &client.Transport{Origin: server.URL, ClientID: "my-program-00001"}
	req, err := http.NewRequest("PUT", server.URL+"/todos/1", nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	_ = rt.Emit(ctx, realtime.KVPut("demo", "todo:2")) // by somebody else

	ren, err := client.NewRen(server.URL+"/api/maravilla/ren", &client.RenOptions{ClientID: transport.ClientID, Since: transport.TakeCursor()})
	if err != nil {
		log.Fatal(err)
	}
	for ev, err := range ren.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if ev.Source == ren.Tag() {
			continue // my own: I know
		}
		fmt.Println(ev.Type, ev.Key)
		break
	}
	// Output: kv.put todo:2
}
