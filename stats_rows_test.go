package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

func op(name, rest string) cause {
	return cause{"operation " + name, "Operations." + name + "=1", withSocket(open(), nil, func(_ *host, s *socket) {
		s.ask(`"op":"` + name + `"` + rest)
	})}
}

var operationCauses = []cause{
	op("subscribe", `,"channel":"a"`), op("history", `,"channel":"a"`), op("unsubscribe", `,"channel":"a"`), op("publish", `,"channel":"a","data":1`),
	op("stream", `,"channel":"a","id":"s"`), op("unstream", `,"channel":"a","id":"s"`), op("stop", `,"channel":"a","id":"s"`),
	op("join", `,"channel":"a"`), op("update", `,"channel":"a"`), op("leave", `,"channel":"a"`), op("ping", ""),
	{"operation that there is not", "Operations.other=1 Refusals.unknown_op=1", withSocket(open(), nil, func(_ *host, s *socket) { s.ask(`"op":"nothing"`) })},
}

// refused is a row of a code with which one operation of a WebSocket is refused.
func refusedOp(code string, ops ...string) cause {
	return cause{"refused: " + code, "Refusals." + code, withSocket(forbidding(), &realtime.Options{
		Limits: realtime.Limits{Channels: 1, Rate: 1, Burst: 8},
	}, func(_ *host, s *socket) {
		for _, op := range ops {
			s.ask(op)
		}
	})}
}

// forbidding is open, with rights for all but some channels.
func forbidding() realtime.Policy {
	p := open()
	p.Hosts = []string{"host.test"}
	p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		if a.Name == "forbidden" {
			return errors.New("no")
		}
		return nil
	}
	return p
}

// refusedRequest is a row of a code with which one request is refused.
func refusedRequest(code string, policy realtime.Policy, r request) cause {
	return cause{"refused: " + code, "Refusals." + code + "=1", withHost(policy, &realtime.Options{Limits: realtime.Limits{Connections: 1}}, func(h *host) {
		if code == "too_many" {
			h.ren(r)
		}
		if _, f := h.refused(r); f.Code != code {
			h.t.Errorf("refused with %+v, want %s", f, code)
		}
	})}
}

func refusalCauses() []cause {
	post, panics := get("/ren"), forbidding()
	post.method = http.MethodPost
	panics.Authenticate = func(*http.Request) (realtime.Identity, error) { return realtime.Identity{User: "\n"}, nil }
	none := forbidding()
	none.Grants = nil
	hosted := get("/ren")
	return []cause{
		refusedOp("bad_channel", `"op":"subscribe","channel":"$x"`),
		{"refused: bad_json", "Refusals.bad_json=1 Operations.other=1", withSocket(open(), nil, func(_ *host, s *socket) { s.send("nonsense") })},
		refusedOp("channel_limit", subscribe("another")),
		refusedOp("forbidden", subscribe("forbidden")),
		refusedOp("not_joined", `"op":"update","channel":"a"`),
		refusedOp("rate_limited", strings.Split(strings.Repeat(`"op":"ping" `, 9), " ")[:9]...),
		refusedOp("too_large", `"op":"join","channel":"a","metadata":"`+strings.Repeat("x", 2000)+`"`),
		refusedOp("user_mismatch", `"op":"join","channel":"a","userId":"bob"`),
		{"refused: hello_required", "Refusals.hello_required=1", withHost(open(), nil, func(h *host) { h.dial(get("/realtime")).send(`{"op":"ping"}`) })},
		refusedRequest("bad_request", forbidding(), get("/ren?s=a%20b")),
		refusedRequest("expired", forbidding(), get("/ren", "Authorization", "Bearer expired")),
		refusedRequest("unauthorized", forbidding(), get("/ren", "Authorization", "Bearer bad")),
		refusedRequest("unavailable", forbidding(), get("/ren", "Authorization", "Bearer later")),
		refusedRequest("forbidden", none, get("/ren")),
		refusedRequest("internal", panics, get("/ren")),
		refusedRequest("method", forbidding(), post),
		refusedRequest("not_found", forbidding(), get("/nothing")),
		refusedRequest("origin", forbidding(), get("/ren", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")),
		refusedRequest("too_many", forbidding(), get("/ren", "Authorization", asAda)),
		{"refused: host", "Refusals.host=1", func(t *testing.T) (*host, func()) {
			p := open()
			p.Hosts = []string{"another.test"}
			h := start(t, p, nil)
			return h, func() { h.refused(hosted) }
		}},
		{"refused: closing", "Refusals.closing=1 Publish.Outcomes.closed=1", withHost(open(), nil, func(h *host) {
			noError(h.t, h.Close(h.t.Context()))
			h.refused(get("/ren", "X-Ren-Client", tab1))
			_ = h.Publish(h.t.Context(), "room", 1)
		})},
		{"refused: streaming_unsupported", "Refusals.streaming_unsupported=1", func(t *testing.T) (*host, func()) {
			h := prepare(t, open(), nil)
			inner := h.handler
			h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(struct{ http.ResponseWriter }{w}, r) })
			h.serve()
			return h, func() { h.refused(get("/ren")) }
		}},
	}
}

// publishing is a row of an error of the backend.
func publishing(outcome string, err error) cause {
	return cause{"publish: " + outcome, "Publish.Time=1 Publish.Outcomes." + outcome + "=1", func(t *testing.T) (*host, func()) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		return h, func() {
			if err != nil {
				b.FailAppend(1, err)
			}
			_ = h.Publish(t.Context(), "room", 1)
		}
	}}
}

// ephemeralCauses move the figures of what is live only.
var ephemeralCauses = []cause{
	{"ephemeral messages come", "Ephemeral.Outcomes.ok=3 Ephemeral.Received=2", withSocket(open(), nil, func(h *host, s *socket) {
		s.ok(subscribe("room"))
		s.answer(s.ask(ephemeral("room", `{"type":"typing"}`))) // the message may come before it
		time.Sleep(time.Second)
		h.pass("room", typing(1), "ada")
		h.pass("elsewhere", typing(1), "ada")
		time.Sleep(time.Second)
	})},
	{"newer ephemeral messages come", "Ephemeral.Outcomes.ok=4 Ephemeral.Waiting=1 Ephemeral.Coalesced=2", withHost(open(),
		&realtime.Options{Limits: realtime.Limits{Ephemeral: 1}}, func(h *host) {
			h.pass("room", typing(0), "ada")
			synctest.Wait()
			for i := range 3 {
				h.pass("room", typing(i), "ada")
			}
		})},
	{"ephemeral messages are lost", "Ephemeral.Lost=2", func(t *testing.T) (*host, func()) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		return h, func() {
			b.FailAppend(1000, errDown)
			h.pass("room", typing(1), "ada")
			time.Sleep(10 * time.Second)
			h.pass("room", typing(1), "ada")
			time.Sleep(10 * time.Second)
		}
	}},
	{"ephemeral messages are refused", "Ephemeral.Outcomes.full Ephemeral.Outcomes.too_large=1 Ephemeral.Outcomes.closed=1", withHost(open(),
		&realtime.Options{Limits: realtime.Limits{Ephemeral: 1}}, func(h *host) {
			large := map[string]string{"type": strings.Repeat("x", 15<<10)} // which counts twice
			var err error
			for i := 0; err == nil && i < 1000; i++ {
				err = h.Publish(h.t.Context(), fmt.Sprint("room:", i%9), large, realtime.Ephemeral(), realtime.AsUser(fmt.Sprint(i)))
			}
			if !errors.Is(err, realtime.ErrTemporary) {
				h.t.Error(err)
			}
			_ = h.Publish(h.t.Context(), "room", large["type"]+large["type"], realtime.Ephemeral())
			noError(h.t, h.Close(h.t.Context()))
			_ = h.Publish(h.t.Context(), "room", 1, realtime.Ephemeral())
		})},
	{"a stream has an interval", "Coalesced=5 REN.Delivered=2", func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren?every=1000"))
		return h, func() {
			h.emit(realtime.KVPut("n", "k"))
			synctest.Wait()
			for range 6 {
				h.emit(realtime.KVPut("n", "k"))
			}
			time.Sleep(2 * time.Second)
			s.rest()
		}
	}},
}

// small has room for little history.
func small(h realtime.History) *realtime.Options {
	return &realtime.Options{History: h, Limits: realtime.Limits{Message: 1000, Publish: 1000, Metadata: 100}}
}

var logCauses = []cause{
	publishing("ok", nil),
	publishing("maybe_stored", backend.ErrMaybeStored),
	publishing("timeout", context.DeadlineExceeded),
	publishing("canceled", context.Canceled),
	publishing("too_large", backend.ErrTooLarge),
	publishing("error", errors.New("disk full")),
	{"events come", "History.Events=2 History.Bytes History.Added=2 Follow.Lag", withHost(open(), nil, func(h *host) {
		h.publish("room", 1)
		h.emit(realtime.KVPut("n", "k"))
	})},
	{"events get old", "History.Age History.Evicted.age=1", withHost(open(), nil, func(h *host) {
		h.publish("room", 1)
		time.Sleep(6 * time.Minute)
		h.publish("room", 2)
		time.Sleep(time.Minute)
	})},
	{"many events come", "History.Evicted.events=3", withHost(open(), small(realtime.History{Events: 2}), func(h *host) {
		for range 5 {
			h.publish("room", 1)
		}
	})},
	{"large events come", "History.Evicted.bytes", withHost(open(), small(realtime.History{Bytes: 4000}), func(h *host) {
		for range 9 {
			h.publish("room", strings.Repeat("x", 900))
		}
	})},
	{"the log lags", "Follow.Unread=1", func(t *testing.T) (*host, func()) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		t.Cleanup(b.Release)
		return h, func() { b.Hold(); h.publish("room", 1) }
	}},
	{"following fails", "Follow.Failures=1 Backend.Methods.follow.Outcomes.error=1 Backend.Methods.follow.Time=1", func(t *testing.T) (*host, func()) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		return h, func() { b.FailFollow(1, errDown) }
	}},
}

var errDown = errors.New("down")

var presenceCauses = []cause{
	{"members join", "Presence.Members=1 Presence.Sessions=2 Presence.Joins=1 Presence.Updates=1", withHost(open(), nil, func(h *host) {
		h.join("room", "ada", 1, realtime.FromClient(tab1))
		h.join("room", "ada", 2, realtime.FromClient(tab2))
	})},
	{"members leave", "Presence.Members=-1 Presence.Leaves=1", func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		h.join("room", "ada", nil)
		return h, func() { noError(t, h.Presence().Leave(t.Context(), "room", "ada")) }
	}},
	{"members are forgotten", "Presence.Leaves=1 Presence.Sweeps Presence.Swept=1", func(t *testing.T) (*host, func()) {
		h := start(t, open(), nil)
		h.join("room", "ada", nil)
		return h, func() { time.Sleep(2 * time.Minute) }
	}},
	{"two nodes join at once", "Presence.Repeated=1 Backend.Methods.put.Outcomes.conflict", scripted(func(h *host, b *script) {
		b.fail("put", backend.ErrConflict)
		h.join("room", "ada", nil)
	})},
	{"presence cannot be kept", "Presence.Failures", func(t *testing.T) (*host, func()) {
		b := &hanging{Backend: lasting{realtime.NewMemory()}}
		h := start(t, open(), &realtime.Options{Backend: b})
		h.join("room", "ada", nil)
		return h, func() {
			b.hang("Get member", "Delete member")
			time.Sleep(100 * time.Second)
			b.release()
		}
	}},
	{"a node dies", "Presence.NodesGone=1", func(t *testing.T) (*host, func()) {
		c := newCluster()
		link := c.link()
		start(t, open(), &realtime.Options{Backend: link})
		h := start(t, open(), &realtime.Options{Backend: c.link()})
		return h, func() { link.kill(); time.Sleep(3 * time.Minute) }
	}},
}

// working is a host with a group whose handler is f.
func working(f realtime.EventHandler, act func(h *host)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := start(t, open(), small(realtime.History{Events: 3}))
		work(h, f)
		return h, func() { act(h) }
	}
}

func work(h *host, f realtime.EventHandler) {
	opts := &realtime.GroupOptions{Attempts: 2, Backoff: time.Second}
	noError(h.t, h.Group("work", opts, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, f) }))
}

func nothing(context.Context, realtime.RenEvent) error { return nil }

func untilEnded(ctx context.Context, _ realtime.RenEvent) error { <-ctx.Done(); return ctx.Err() }

func put(h *host, n int) {
	for i := range n {
		h.emit(realtime.KVPut("n", fmt.Sprint(i)))
	}
}

var groupCauses = []cause{
	{"a group is held", "Groups.work.Held=1", withHost(open(), nil, func(h *host) { work(h, nothing) })},
	{"a group works", "Groups.work.Calls=2", working(nothing, func(h *host) { put(h, 2) })},
	{"a group lags", "Groups.work.Pending=2 Groups.work.Lag=2 Groups.work.LagTime", working(untilEnded, func(h *host) { put(h, 2); time.Sleep(time.Second) })},
	{"a handler fails", "Groups.work.Calls=2 Groups.work.Retries=1 Groups.work.DeadLetters=1", working(
		func(context.Context, realtime.RenEvent) error { return errDown }, func(h *host) { put(h, 1); time.Sleep(3 * time.Second) })},
	{"a group is too slow", "Groups.work.Missed.evicted", working(slowly, func(h *host) {
		for range 9 {
			h.emit(realtime.KVPut("n", "k"))
		}
		time.Sleep(time.Minute)
	})},
	{"a group misses an epoch", "Groups.work.Missed.epoch=1", groupLoses(newEpoch)},
	{"a group misses records", "Groups.work.Missed.backend=1", groupLoses(loseRecords)},
}

func slowly(context.Context, realtime.RenEvent) error { time.Sleep(time.Second); return nil }

func groupLoses(losing loss) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		b, lose := losing()
		h := start(t, open(), &realtime.Options{Backend: b})
		work(h, nothing)
		h.emit(realtime.KVPut("n", "k"))
		synctest.Wait()
		return h, func() { lose(h); time.Sleep(10 * time.Second) }
	}
}

// callCauses are rows of each outcome of each method of the backend, and of each function
// of the policy.
func callCauses() (rows []cause) {
	read := map[string]error{"ok": nil, "timeout": context.DeadlineExceeded, "canceled": context.Canceled, "closed": backend.ErrClosed, "error": errDown}
	write := map[string]error{"maybe_stored": backend.ErrMaybeStored, "too_large": backend.ErrTooLarge, "conflict": backend.ErrConflict}
	key := backend.Key{Kind: "k", Group: "g", Name: "n"}
	calls := map[string]func(ctx context.Context, b backend.Backend){
		"append": func(ctx context.Context, b backend.Backend) {
			_, _ = b.Append(ctx, backend.Entry{Data: (&backend.Payload{}).Encode()})
		},
		"read": func(ctx context.Context, b backend.Backend) { _, _ = b.Read(ctx, backend.Position{}, 0) },
		"get":  func(ctx context.Context, b backend.Backend) { _, _ = b.Get(ctx, key) },
		"list": func(ctx context.Context, b backend.Backend) {
			b.List(ctx, "k", "g")(func(backend.Item, error) bool { return true })
		},
		"put": func(ctx context.Context, b backend.Backend) {
			_, _ = b.Put(ctx, backend.Write{Key: key, Value: []byte{1}})
		},
		"delete": func(ctx context.Context, b backend.Backend) {
			rev, _ := b.Put(ctx, backend.Write{Key: key, Value: []byte{1}})
			_ = b.Delete(ctx, key, rev, nil)
		},
	}
	for method, call := range calls {
		row := func(outcome string, err error) {
			path := "Backend.Methods." + method
			rows = append(rows, cause{"backend: " + method + " " + outcome, path + ".Outcomes." + outcome + "=1 " + path + ".Time=1", scripted(func(h *host, b *script) {
				b.fail(method, err)
				call(h.t.Context(), realtime.Engine(h.Realtime))
			})})
		}
		for outcome, err := range read {
			row(outcome, err)
		}
		for outcome, err := range write {
			if method == "put" || method == "delete" || method == "append" && outcome != "conflict" {
				row(outcome, err)
			}
		}
	}
	for outcome, err := range map[string]error{"lost": &backend.LostError{}, "canceled": context.Canceled, "closed": backend.ErrClosed} {
		rows = append(rows, cause{"backend: follow " + outcome, "Backend.Methods.follow.Outcomes." + outcome + "=1",
			scripted(func(_ *host, b *script) { b.fail("follow", err) })})
	}
	return append(rows, policyCauses()...)
}

func policyCauses() (rows []cause) {
	for outcome, err := range map[string]error{"ok": nil, "refused": errDown, "timeout": realtime.ErrTemporary} {
		p := open()
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			if testkit.Bearer(r) == "first" {
				return realtime.Identity{}, err
			}
			return realtime.Identity{User: "ada"}, nil
		}
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("kv")}, err
		}
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { return err }
		path := func(function string) string {
			return fmt.Sprintf("Policy.Functions.%s.Outcomes.%s=1 Policy.Functions.%s.Time=1", function, outcome, function)
		}
		for function, ask := range map[string]func(h *host){
			"authenticate": func(h *host) { h.do(h.t.Context(), get("/ren", "Authorization", "Bearer first")).Body.Close() },
			"grants":       func(h *host) { h.do(h.t.Context(), get("/ren")).Body.Close() },
			"allow":        func(h *host) { h.socket(get("/realtime")).ask(subscribe("room")) },
		} {
			rows = append(rows, cause{"policy: " + function + " " + outcome, path(function), withHost(p, nil, ask)})
		}
	}
	deaf := make(chan struct{})
	p := open()
	p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { <-deaf; return nil }
	return append(rows,
		cause{"the policy hangs", "Policy.Abandoned=1", func(t *testing.T) (*host, func()) {
			deaf = make(chan struct{})
			h := start(t, p, nil)
			t.Cleanup(func() { close(deaf) })
			return h, func() { h.socket(get("/realtime")).ask(subscribe("room")); time.Sleep(10 * time.Second) }
		}},
		cause{"the backend hangs", "Backend.Abandoned=1", func(t *testing.T) (*host, func()) {
			b := &hanging{Backend: lasting{realtime.NewMemory()}, deaf: true}
			h := start(t, open(), &realtime.Options{Backend: b})
			t.Cleanup(b.release)
			return h, func() { b.hang("Append"); _ = h.Publish(t.Context(), "room", 1); synctest.Wait() }
		}},
	)
}
