package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

func ephemeral(channel, data string) string { return publish(channel, data) + `,"ephemeral":true` }

// typing is the data of an ephemeral message of type "typing".
func typing(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":"typing","n":%d}`, n))
}

// pass publishes an ephemeral message, as the user.
func (h *host) pass(channel string, data any, user string) {
	h.t.Helper()
	opts := []realtime.EventOption{realtime.Ephemeral()}
	if user != "" {
		opts = append(opts, realtime.AsUser(user))
	}
	h.publish(channel, data, opts...)
}

func TestEphemeral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		a, b := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime"))
		a.ok(subscribe("room"))
		b.ok(subscribe("room"), subscribe("other"))
		before := h.Cursor()
		a.ask(ephemeral("room", `{"type":"typing"}`))
		got := []object{a.next(), a.next(), b.next()}
		if !slices.ContainsFunc(got[:2], func(o object) bool { return o.Event == "ok" }) { // before the message, or after it
			t.Errorf("no answer: %s, %s", got[0].raw, got[1].raw)
		}
		for _, o := range got {
			if o.Event == "ok" {
				continue
			}
			want := fmt.Sprintf(`{"event":"message","channel":"room","data":{"type":"typing"},"from":"%s","userId":"ada","ts":%d,"ephemeral":true}`,
				a.hello.Src, o.TS)
			if o.raw != want {
				t.Errorf("got  %s\nwant %s", o.raw, want)
			}
		}
		b.nothing()
		// It is replayed to nobody.
		late := h.socket(get("/realtime"))
		if o := late.call(since("room", string(before))); o.State != "resumed" {
			t.Errorf("%s", o.raw)
		}
		late.nothing()
	})
}

// Streams, loops and handlers do not get what is live only.
func TestEphemeralIsOfChannelsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, withGrants(realtime.GrantAll("*"), realtime.GrantAll("realtime").WithData()), nil)
		stream := h.ren(get("/ren"))
		ctx, cancel := context.WithCancel(t.Context())
		events := h.Events(ctx, realtime.EventMatch{})
		noError(t, h.OnEvent(realtime.EventMatch{}, func(context.Context, realtime.RenEvent) error {
			t.Error("a handler is called")
			return nil
		}))
		h.pass("room", typing(1), "ada")
		time.Sleep(time.Second)
		stream.nothing()
		cancel()
		for ev, err := range events {
			if err == nil {
				t.Errorf("%+v", ev)
			}
		}
	})
}

func TestEphemeralOptions(t *testing.T) {
	h := start(t, open(), nil)
	var cursor realtime.Cursor
	ctx := context.Background()
	for name, err := range map[string]error{
		"WithID":      h.Publish(ctx, "room", 1, realtime.Ephemeral(), realtime.WithID("1")),
		"PublishedAt": h.Publish(ctx, "room", 1, realtime.PublishedAt(&cursor), realtime.Ephemeral()),
		"Emit":        h.Emit(ctx, realtime.KVPut("a", "b"), realtime.Ephemeral()),
		"Join":        h.Presence().Join(ctx, "room", "ada", nil, realtime.Ephemeral()),
	} {
		if !errors.Is(err, realtime.ErrBadOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := realtime.MessageEntry(ctx, "room", 1, realtime.Ephemeral()); !errors.Is(err, realtime.ErrBadOption) {
		t.Errorf("MessageEntry: %v", err)
	}
	if err := h.Publish(ctx, "room", strings.Repeat("x", 16<<10), realtime.Ephemeral()); !errors.Is(err, realtime.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if o := realtime.EventOptionsOf(realtime.Ephemeral()); !o.Ephemeral {
		t.Errorf("%+v", o)
	}
	noError(t, h.Close(ctx))
	if err := h.Publish(ctx, "room", 1, realtime.Ephemeral()); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestEphemeralIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if a.Verb == realtime.VerbPublish && a.Name == "closed" {
				return errors.New("no")
			}
			return nil
		}
		s := start(t, p, nil).socket(get("/realtime"))
		for op, code := range map[string]string{
			ephemeral("closed", `1`):                                  "forbidden",
			ephemeral("room", `1`) + `,"id":"7"`:                      "bad_request",
			ephemeral("room", `"`+strings.Repeat("x", 16<<10)+`"`):    "too_large",
			publish("room", `1`) + `,"ephemeral":1`:                   "bad_request",
			publish("room", `1`) + `,"Ephemeral":true`:                "bad_request",
			`"op":"publish","channel":"room","ephemeral":true`:        "bad_request",
			`"op":"publish","channel":"$x","data":1,"ephemeral":true`: "bad_channel",
		} {
			if o := s.call(op); o.Event != "error" || o.Code != code {
				t.Errorf("%.80s: %s, want %s", op, o.raw, code)
			}
		}
	})
}

// Any number of them evicts nothing, and resets nobody.
func TestEphemeralTakesNoRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 4, Bytes: 8 << 20}, Limits: realtime.Limits{Ephemeral: -1}})
		s := h.socket(get("/realtime"))
		s.ok(subscribe("busy"))
		cursor := h.Cursor()
		h.publish("quiet", 1)
		text := strings.Repeat("x", 16<<10-100)
		for i := range 600 { // 10 MB
			h.pass("busy", map[string]any{"type": i % 100, "text": text}, "ada")
			time.Sleep(10 * time.Millisecond)
			s.rest()
		}
		if o := s.call(since("quiet", string(cursor))); o.State != "resumed" {
			t.Errorf("%s", o.raw)
		}
		if got := s.data(1); got != "1" {
			t.Errorf("got %s", got)
		}
	})
}

// A reader that lags gets the newest of each user and type, among the messages at
// their places, and each message.
func TestEphemeralIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		stalled := h.dialStalled(get("/realtime"))
		for _, op := range []string{`{"op":"hello","cid":"` + tab1 + `"}`, `{` + subscribe("room") + `}`} {
			stalled.send(op)
			_, _, err := stalled.ws.Read(t.Context())
			noError(t, err)
		}
		for i := range 200 { // more than what is on its way to it
			h.publish("room", fmt.Sprint(i, strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		for i := range 50 {
			for _, user := range []string{"ada", "bob", ""} {
				h.pass("room", typing(i), user)
				h.pass("room", map[string]any{"type": "cursor", "n": i}, user)
			}
			time.Sleep(60 * time.Millisecond)
		}
		h.publish("room", "last")
		synctest.Wait()
		stalled.pump()
		var messages []uint64
		var live []string
		for _, o := range stalled.rest() {
			switch {
			case o.Event != "message":
			case o.ID == "":
				live = append(live, o.UserID+string(o.Data))
			default:
				pos, _ := wire.ParseCursor(o.ID)
				messages = append(messages, pos.Seq)
				if string(o.Data) == `"last"` && len(live) != 6 {
					t.Errorf("%d live events before the message that came after them", len(live))
				}
			}
		}
		if len(messages) != 201 || !slices.IsSorted(messages) {
			t.Errorf("%d messages; %v", len(messages), stalled.err)
		}
		slices.Sort(live)
		if got := strings.Join(live, " "); got != `ada{"n":49,"type":"cursor"} ada{"type":"typing","n":49} bob{"n":49,"type":"cursor"} bob{"type":"typing","n":49} {"n":49,"type":"cursor"} {"type":"typing","n":49}` {
			t.Errorf("live: %s", got)
		}
	})
}

// Messages beyond the rate of their channel wait, and newer ones replace them. Other
// channels do not wait.
func TestEphemeralRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Ephemeral: 10}})
		s := h.socket(get("/realtime"))
		s.ok(subscribe("busy"), subscribe("other"))
		count := map[string]int{}
		last := map[string]string{}
		began := time.Now()
		for i := range 1000 { // within 10 s
			h.pass("busy", typing(i), fmt.Sprint(i%3))
			if i%100 == 0 {
				h.pass("other", typing(i), "")
			}
			time.Sleep(10 * time.Millisecond)
			for _, o := range s.rest() {
				count[o.Channel]++
				last[o.UserID] = string(o.Data)
			}
		}
		time.Sleep(time.Second)
		for _, o := range s.rest() {
			count[o.Channel]++
			last[o.UserID] = string(o.Data)
		}
		seconds := int(time.Since(began) / time.Second)
		if n := count["busy"]; n < 10*seconds-10 || n > 10*seconds+10 || count["other"] != 10 {
			t.Errorf("%v in %d s", count, seconds)
		}
		if last["0"] != string(typing(999)) || last["1"] != string(typing(997)) || last["2"] != string(typing(998)) {
			t.Errorf("the last ones are %v", last)
		}
	})
}

// Live messages that See hides are not sent.
func TestEphemeralIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(id realtime.Identity, ev realtime.RenEvent) bool { return ev.User != "bob" && ev.Key == "" }
		h := start(t, p, nil)
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		h.pass("room", typing(1), "bob")
		h.pass("room", typing(2), "ada")
		if o := s.want("message"); o.UserID != "ada" {
			t.Errorf("%s", o.raw)
		}
		s.nothing()
	})
}

// They travel between nodes, and a request whose answer was lost does not repeat them.
func TestEphemeralOnACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := realtimetest.NewCluster(t, 3, open(), nil)
		got := make([]map[string]int, 3)
		var loops sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range got {
			got[i] = make(map[string]int)
			messages := c.Node(i).Connect(nil).Subscribe(ctx, "room")
			loops.Go(func() {
				for msg, err := range messages {
					if err == nil && (!msg.Ephemeral || msg.Cursor != "") {
						t.Errorf("%+v", msg)
					}
					got[i][string(msg.Data)]++
				}
			})
		}
		synctest.Wait()
		for i := range 30 {
			if i%5 == 0 {
				c.Log.FailAfterStore(1)
			}
			noError(t, c.Node(i%3).Realtime.Publish(t.Context(), "room", i, realtime.Ephemeral(), realtime.AsUser(fmt.Sprint(i))))
			time.Sleep(300 * time.Millisecond)
		}
		cancel()
		loops.Wait()
		for i, got := range got {
			delete(got, "") // the end of the loop
			for n := range 30 {
				if got[fmt.Sprint(n)] != 1 {
					t.Errorf("node %d has %d %d times", i, n, got[fmt.Sprint(n)])
				}
			}
		}
	})
}
