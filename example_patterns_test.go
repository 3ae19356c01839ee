package realtime_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/kv"
)

// This file has the patterns that most apps begin with, server and clients in one.

// rooms is a policy in which everybody who has a session chats in all rooms.
func rooms() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			user := r.Header.Get("X-User") // stands for the host's sessions
			if user == "" {
				return realtime.Identity{}, errors.New("no session")
			}
			return realtime.Identity{User: user}, nil
		},
		Allow: func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if !strings.HasPrefix(a.Name, "room:") {
				return errors.New("no room")
			}
			return nil
		},
		Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{
				realtime.GrantAll("realtime").Under("room").WithData(),
				realtime.GrantAll("kv").In("demo"),
			}, nil
		},
	}
}

// A chat room: the server publishes what is posted. Clients follow the channel
// over a WebSocket, where they may publish as well, or read the REN stream.
func Example_chatRoom() {
	ctx := context.Background()
	rt, err := realtime.New(rooms(), nil)
	must(err)
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("POST /rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
		channel := "room:" + r.PathValue("room")
		id, err := rt.Authorize(r, realtime.Action{Verb: realtime.VerbPublish, Name: channel})
		if err == nil {
			message := map[string]string{"type": "message", "text": r.FormValue("text")}
			err = rt.Publish(r.Context(), channel, message, realtime.AsUser(id.User))
		}
		if err != nil {
			realtime.WriteError(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(rt.Attribute(mux)) // or http.ListenAndServe
	defer server.Close()
	defer rt.Close(ctx)

	// A client of channels. RealtimeClient is its like in browsers.
	chat, err := client.NewRealtime(server.URL+"/api/maravilla/realtime", &client.RealtimeOptions{Header: http.Header{"X-User": {"ada"}}})
	must(err)
	chat.Connect()
	defer chat.Close()
	messages := chat.Subscribe(ctx, "room:42")
	must(chat.Publish(ctx, "room:42", map[string]string{"type": "message", "text": "hello"}))

	// A program that posts, and then follows the REN stream from before that.
	transport := &client.Transport{Origin: server.URL, ClientID: "bob-program-0001"}
	req, err := http.NewRequest("POST", server.URL+"/rooms/42?text=hi", nil)
	must(err)
	req.Header.Set("X-User", "bob")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	must(err)
	resp.Body.Close()

	n := 0
	for msg, err := range messages {
		must(err)
		fmt.Println("channel:", msg.UserID, string(msg.Data))
		if n++; n == 2 {
			break
		}
	}
	ren, err := client.NewRen(server.URL+"/api/maravilla/ren", &client.RenOptions{
		Subscriptions: []string{"realtime"}, Since: transport.TakeCursor(), Header: http.Header{"X-User": {"bob"}},
	})
	must(err)
	for ev, err := range ren.Events(ctx) {
		must(err)
		if ev.User == "bob" { // ada's can come before it: the cursor is of before the request
			fmt.Println("ren:", ev.User, string(ev.Data))
			break
		}
	}
	// Output:
	// channel: ada {"text":"hello","type":"message"}
	// channel: bob {"text":"hi","type":"message"}
	// ren: bob {"text":"hi","type":"message"}
}

// The server writes, and clients that show the data read it again. The client needs no
// channel: it filters the stream by what was written.
func Example_serverWrites() {
	ctx := context.Background()
	rt, err := realtime.New(rooms(), nil)
	must(err)
	store := kv.New(rt, nil)
	defer store.Close()
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("GET /todos/{id}", func(w http.ResponseWriter, r *http.Request) {
		todo, err := store.Get(r.Context(), "demo", "todolist:1:item:"+r.PathValue("id"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(todo.Value)
	})
	server := httptest.NewServer(rt.Attribute(mux))
	defer server.Close()
	defer rt.Close(ctx)
	_, err = store.Put(ctx, "demo", "todolist:1:item:a", []byte("buy milk"))
	must(err)

	// The client: fetch, and follow from before the fetch on.
	transport := &client.Transport{Origin: server.URL, ClientID: "a-program-000001"}
	api := &http.Client{Transport: transport}
	fetch := func(id string) string {
		resp, err := api.Get(server.URL + "/todos/" + id)
		must(err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		must(err)
		return string(text)
	}
	fmt.Println(fetch("a"))
	// Any code of the server, meanwhile:
	_, err = store.Put(ctx, "demo", "todolist:1:item:a", []byte("buy oat milk"))
	must(err)

	ren, err := client.NewRen(server.URL+"/api/maravilla/ren", &client.RenOptions{
		Subscriptions: []string{"kv"}, Since: transport.TakeCursor(), Header: http.Header{"X-User": {"ada"}},
	})
	must(err)
	for ev, err := range ren.Events(ctx) {
		must(err) // or a *realtime.ResetError: fetch everything, and go on
		if id, ok := strings.CutPrefix(ev.Key, "todolist:1:item:"); ok && ev.Namespace == "demo" {
			fmt.Println(fetch(id))
			break
		}
	}
	// Output:
	// buy milk
	// buy oat milk
}

// HTML over Server-Sent Events, for htmx, datastar and the like: the page gets all
// there is, and then what comes. A browser that comes back begins again.
func Example_fragments() {
	ctx := context.Background()
	rt, err := realtime.New(rooms(), nil)
	must(err)
	var list []string // stands for the host's database

	item := func(text string) string { // a line: what ends one would end the data
		return "<li>" + html.EscapeString(strings.NewReplacer("\r", " ", "\n", " ").Replace(text)) + "</li>"
	}
	fragments := func(w http.ResponseWriter, r *http.Request) {
		if _, err := rt.Authorize(r, realtime.Action{Verb: realtime.VerbSubscribe, Name: "room:42"}); err != nil {
			realtime.WriteError(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		rc := http.NewResponseController(w)
		start := rt.Cursor() // before the list is read
		for _, text := range list {
			fmt.Fprintf(w, "event: item\ndata: %s\n\n", item(text))
		}
		fmt.Fprint(w, "event: ready\ndata:\n\n")
		_ = rc.Flush()
		match := realtime.EventMatch{Resource: "realtime", Channel: "room:42"}
		for ev, err := range rt.EventsAfter(r.Context(), match, start) {
			if err != nil {
				return // the page comes back, and gets the list
			}
			text, err := realtime.Decode[string](ev)
			if err != nil {
				continue // of somebody else
			}
			fmt.Fprintf(w, "event: item\ndata: %s\n\n", item(text))
			if rc.Flush() != nil {
				return
			}
		}
	}
	server := httptest.NewServer(http.HandlerFunc(fragments))
	defer server.Close()
	defer rt.Close(ctx) // ends the loop

	list = append(list, "milk")
	req, err := http.NewRequest("GET", server.URL, nil)
	must(err)
	req.Header.Set("X-User", "ada")
	resp, err := http.DefaultClient.Do(req)
	must(err)
	defer resp.Body.Close()
	must(rt.Publish(ctx, "room:42", "<b>bread</b>"))
	lines := bufio.NewScanner(resp.Body)
	for range 8 {
		if lines.Scan(); lines.Text() != "" {
			fmt.Println(lines.Text())
		}
	}
	// Output:
	// event: item
	// data: <li>milk</li>
	// event: ready
	// data:
	// event: item
	// data: <li>&lt;b&gt;bread&lt;/b&gt;</li>
}
