package realtimetest_test

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// This file is how the tests of a host look. The host is a list of things to do:
// a user is at work for as long as they go on adding.

type todos struct {
	rt *realtime.Realtime

	mu   sync.Mutex
	list []string
}

// newTodos is the host's own: its main function calls it as well.
func newTodos(rt *realtime.Realtime) http.Handler {
	app := &todos{rt: rt}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("POST /todos/{item}", app.add)
	return rt.Attribute(mux)
}

func (app *todos) add(w http.ResponseWriter, r *http.Request) {
	item, user := r.PathValue("item"), r.Header.Get("X-User")
	app.mu.Lock()
	defer app.mu.Unlock() // events in the order of the list
	app.list = append(app.list, item)
	err := app.rt.Emit(r.Context(), realtime.KVPut("todos", "item:"+item))
	if err == nil {
		err = app.rt.Presence().Join(r.Context(), "todos", user, nil)
	}
	if err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// add is a browser that adds an item.
func add(t *testing.T, srv *realtimetest.Server, user, item string) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/todos/"+item, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-User", user)
	resp, err := srv.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// It shows what the app announces, and how presence ends: 90 s after the last sign of
// life, which takes no time here.
func TestTodos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{Handler: newTodos})
		changes := srv.Record(realtime.EventMatch{Resource: "kv", Namespace: "todos"})
		roster := srv.Record(realtime.EventMatch{Resource: "presence", Channel: "todos"})

		add(t, srv, "ada", "milk")
		time.Sleep(time.Minute)
		add(t, srv, "ada", "bread")
		changes.Expect(realtime.EventMatch{Type: "kv.put", Key: "item:milk"}, realtime.EventMatch{Type: "kv.put", Key: "item:bread"})
		changes.None()

		roster.Expect(realtime.EventMatch{Type: "presence.join"})
		time.Sleep(time.Minute)
		roster.None()
		if ev := roster.Wait(realtime.EventMatch{Type: "presence.leave"}); ev.User != "ada" {
			t.Errorf("%s left", ev.User)
		}
	})
}

// The log does not take the event: the browser is asked to try again, and
// nothing is announced.
func TestTodosWithoutALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{Handler: newTodos})
		changes := srv.Record(realtime.EventMatch{})
		srv.Log.FailAppend(1, http.ErrHandlerTimeout)
		if status := add(t, srv, "ada", "milk"); status != http.StatusServiceUnavailable {
			t.Errorf("answered %d", status)
		}
		changes.None()
	})
}

// A browser whose connection breaks in the middle of a stream comes back to the
// same app.
func TestTodosSurviveACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{Handler: newTodos})
		resp, err := srv.HTTPClient().Get(srv.URL + "/api/maravilla/ren")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		srv.Net.Cut()
		if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the stream ended with %v", err)
		}
		changes := srv.Record(realtime.EventMatch{Resource: "kv"})
		add(t, srv, "ada", "milk")
		changes.Expect(realtime.EventMatch{Key: "item:milk"})
	})
}

// A node dies while a browser is connected to it. The browser moves to another node,
// misses nothing, and is present all along.
func TestTodosOutliveANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := realtimetest.NewCluster(t, 3, realtime.AllowAll(), &realtimetest.Options{Handler: newTodos})
		ada := c.Connect(nil) // the load balancer begins with node 0
		must(t, ada.Presence("todos").Join(t.Context(), "ada", nil))

		changes := c.Node(1).Record(realtime.EventMatch{Namespace: "todos"})
		roster := c.Node(1).Record(realtime.EventMatch{Resource: "presence"})
		add(t, c.Node(0).Server, "bob", "milk")
		c.Node(0).Kill()
		add(t, c.Node(2).Server, "bob", "bread")
		changes.Expect(realtime.EventMatch{Key: "item:milk"}, realtime.EventMatch{Key: "item:bread"})

		roster.Expect(realtime.EventMatch{Type: "presence.join"}) // of bob, on two nodes
		time.Sleep(time.Minute)                                   // the dead node is given up
		roster.None()
	})
}
