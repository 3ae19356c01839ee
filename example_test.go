package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A policy that takes users from the host's own sessions: everybody follows the
// lobby, and each user a room and data of their own.
func ExamplePolicy() {
	policy := realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			cookie, err := r.Cookie("session")
			if err != nil {
				return realtime.Identity{}, errors.New("no session")
			}
			return realtime.Identity{User: userOf(cookie.Value), Expires: time.Now().Add(time.Hour)}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if a.Name == "lobby" || a.Name == "room:"+id.User {
				return nil
			}
			return errors.New("not a member")
		},
		Grants: func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{
				realtime.GrantAll("kv").In("todos").Under(id.User),
				realtime.GrantAll("realtime").Under("lobby").WithData(),
			}, nil
		},
	}
	rt, err := realtime.New(policy, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	app := rt.Attribute(mux)
	_ = app // http.ListenAndServe(addr, app)
}

func userOf(session string) string { return strings.TrimPrefix(session, "session-of-") }

// What happens after the cursor was taken is not missed, however late the loop
// begins.
func ExampleRealtime_Events() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)

	start := rt.Cursor()
	must(rt.Emit(ctx, realtime.KVPut("demo", "todolist:42:item:1").WithVersion("7")))
	must(rt.Emit(ctx, realtime.DocumentDeleted("users", "ada")))
	must(rt.Emit(ctx, realtime.KVDelete("demo", "todolist:42:item:1")))

	n := 0
	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Resource: "kv", Key: "todolist:*:item:*"}, start) {
		if err != nil {
			log.Fatal(err) // or a *ResetError: read the data again, and go on
		}
		fmt.Println(ev.Type, ev.Namespace, ev.Key, ev.Version)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// kv.put demo todolist:42:item:1 7
	// kv.delete demo todolist:42:item:1
}

// A message is any value that encodes as JSON.
func ExampleRealtime_Publish() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)

	type message struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	start := rt.Cursor()
	must(rt.Publish(ctx, "room:42", message{"message", "hello"}, realtime.AsUser("ada")))

	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Channel: "room:42"}, start)
	if err != nil {
		log.Fatal(err)
	}
	m, err := realtime.Decode[message](ev)
	fmt.Println(ev.User, "says", m.Text, err)
	// Output: ada says hello <nil>
}

// Resources of your own need no registration.
func ExampleRealtime_Emit() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)

	start := rt.Cursor()
	must(rt.Emit(ctx, realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:high", Data: []byte(`{"id":1}`)}))

	ev, err := rt.WaitFor(ctx, realtime.EventMatch{Resource: "custom", Namespace: "jobs", Type: "priority:*"}, start)
	fmt.Println(ev.Type, string(ev.Data), err)
	// Output: priority:high {"id":1} <nil>
}

// A user stays present until the last tab that joined has left.
func ExamplePresence() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)

	type profile struct {
		Name string `json:"name"`
	}
	phone, laptop := realtime.FromClient("browser-of-the-phone"), realtime.FromClient("browser-of-the-laptop")
	room := rt.Presence()
	must(room.Join(ctx, "room:42", "ada", profile{"Ada"}, phone))
	must(room.Join(ctx, "room:42", "ada", profile{"Ada"}, laptop))
	must(room.Leave(ctx, "room:42", "ada", phone))

	members, err := room.Members(ctx, "room:42")
	for _, m := range members {
		fmt.Println(m.UserID, string(m.Metadata), err)
	}
	must(room.Leave(ctx, "room:42", "ada", laptop))
	members, err = room.Members(ctx, "room:42")
	fmt.Println(len(members), err)
	// Output:
	// ada {"name":"Ada"} <nil>
	// 0 <nil>
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
