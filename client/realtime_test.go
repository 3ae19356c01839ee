package client_test

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
	"github.com/maravilla-realtime/realtime/client"
)

func TestRealtime(t *testing.T) {
	bubble(t, "publish and subscribe", realtimePublishAndSubscribe)
	bubble(t, "what a message says", realtimeFieldsOfAMessage)
	bubble(t, "a subscription begins with the call, before the connection too", realtimeBeginsWithTheCall)
	bubble(t, "subscriptions are shared, and end with the last loop", realtimeSharedSubscription)
	bubble(t, "changes of mind faster than the server answers", realtimeChangesItsMind)
	bubble(t, "resume after a cut", realtimeResumeAfterCut)
	bubble(t, "silence", realtimeSilence)
	bubble(t, "reset", realtimeReset)
	bubble(t, "a server that closes is come back to", realtimeServerCloses)
	bubble(t, "a refused subscription ends its loops only", realtimeRefusedSubscription)
}

func realtimePublishAndSubscribe(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	var s states
	rt := h.realtime(&client.RealtimeOptions{OnState: s.on})
	loop, other := messages(t, rt, "room:42"), messages(t, rt, "room:43")
	must(t, rt.Publish(context.Background(), "room:42", "a"))
	h.publish("room:42", "b")
	loop.want(t, "a b")
	other.want(t, "")
	must(t, rt.Close())
	loop.want(t, "error:"+realtime.ErrClosed.Error())
	if got := s.take(); got != "connecting open closed" {
		t.Errorf("states %s", got)
	}
}

func realtimeFieldsOfAMessage(t *testing.T) {
	h := start(t, byToken(), nil)
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	msgs := rt.Subscribe(t.Context(), "room")
	must(t, rt.Publish(t.Context(), "room", map[string]string{"text": "<b>\n"}))
	for m, err := range msgs {
		must(t, err)
		if m.Channel != "room" || m.From != rt.Tag() || m.UserID != "ada" || m.UnixMilli != time.Now().UnixMilli() || m.Cursor == "" ||
			string(m.Data) != `{"text":"\u003cb\u003e\n"}` {
			t.Errorf("message %+v %s", m, m.Data)
		}
		break
	}
	for _, err := range msgs {
		if err == nil {
			t.Error("a loop that ended goes on")
		}
	}
}

func realtimeBeginsWithTheCall(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt, err := client.NewRealtime(strings.Replace(realtimeURL, "http", "ws", 1), &client.RealtimeOptions{HTTPClient: h.http, Logger: h.logs.logger()})
	must(t, err)
	defer rt.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	msgs := rt.Subscribe(ctx, "room")
	published := later(func() error { return rt.Publish(ctx, "room", "a") })
	rt.Connect()
	rt.Connect()
	must(t, <-published)
	for i := range 50 { // the server is as quick with a message as with a subscription
		for m, err := range msgs {
			if err != nil || string(m.Data) != `"a"` {
				t.Fatalf("%d: %s %v", i, m.Data, err)
			}
			break
		}
		msgs = rt.Subscribe(ctx, "room")
		must(t, rt.Publish(ctx, "room", "a"))
	}
}

func realtimeSharedSubscription(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	a, b := messages(t, rt, "room"), messages(t, rt, "room")
	a.take()
	h.publish("room", "1")
	a.want(t, "1")
	a.stop()
	h.publish("room", "2")
	b.want(t, "1 2")
	b.stop()
	b.take()
	h.publish("room", "missed")
	c := messages(t, rt, "room")
	c.take()
	h.publish("room", "3")
	c.want(t, "3")
}

func realtimeChangesItsMind(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	for range 50 { // beyond the burst, so that operations queue up
		ctx, cancel := context.WithCancel(context.Background())
		rt.Subscribe(ctx, "room")
		rt.Presence("room").Events(ctx)
		cancel()
	}
	last := messages(t, rt, "room")
	time.Sleep(time.Minute)
	h.publish("room", "a")
	last.want(t, "a")
	if log := h.logs.String(); strings.Contains(log, "complains") || strings.Contains(log, "lost") {
		t.Error(log)
	}
}

func realtimeResumeAfterCut(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	busy, quiet := messages(t, rt, "busy"), messages(t, rt, "quiet")
	synctest.Wait()
	var want []string
	for i := range 20 {
		before, between := fmt.Sprint("before", i), fmt.Sprint("between", i)
		h.publish("busy", before)
		if i%2 == 0 {
			synctest.Wait()
		}
		h.listen.Cut()
		h.publish("busy", between)
		want = append(want, before, between)
		time.Sleep(15 * time.Second)
	}
	h.publish("quiet", "a")
	busy.want(t, strings.Join(want, " "))
	quiet.want(t, "a")
}

func realtimeSilence(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	loop := messages(t, rt, "room")
	loop.take()
	time.Sleep(5*time.Minute + time.Second) // pings keep it up; none is under way now
	if n := len(h.asked()); n != 1 {
		t.Fatalf("%d connections", n)
	}
	for _, c := range h.listen.Conns() {
		c.Stall()
	}
	h.publish("room", "a")
	time.Sleep(34 * time.Second) // the last ping was up to 25 s ago
	loop.want(t, "")
	time.Sleep(33 * time.Second)
	loop.want(t, "a")
}

func realtimeReset(t *testing.T) {
	h := start(t, realtime.AllowAll(), &realtime.Options{History: realtime.History{Events: 4}})
	rt := h.realtime(nil)
	loop := messages(t, rt, "room")
	loop.take()
	h.publish("room", "a")
	loop.want(t, "a")
	h.listen.Cut()
	h.publish("room", "b", "c", "d", "e", "f")
	time.Sleep(10 * time.Second)
	h.publish("room", "g")
	loop.want(t, "reset:evicted g")
	h.restart(realtime.AllowAll(), nil)
	h.listen.Cut()
	time.Sleep(10 * time.Second)
	h.publish("room", "h")
	loop.want(t, "reset:epoch h")
}

func realtimeServerCloses(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	loop := messages(t, rt, "room")
	loop.take()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, h.Close(ctx))
	time.Sleep(time.Millisecond) // the next log is a later one
	h.restart(realtime.AllowAll(), nil)
	must(t, rt.Publish(context.Background(), "room", "a"))
	loop.want(t, "reset:epoch a")
}

func realtimeRefusedSubscription(t *testing.T) {
	policy := realtime.AllowAll()
	policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		if a.Name == "secret" {
			return errors.New("no")
		}
		return nil
	}
	h := start(t, policy, nil)
	rt := h.realtime(nil)
	secret, who, bad, room := messages(t, rt, "secret"), changes(t, rt, "secret"), messages(t, rt, "$"), messages(t, rt, "room")
	for loop, code := range map[*tape]string{secret: "forbidden", who: "forbidden", bad: "bad_channel"} {
		if got := loop.take(); !strings.HasPrefix(got, "error:client: "+code+": ") || !loop.ended() {
			t.Errorf("the loop was told %q", got)
		}
	}
	h.publish("room", "a")
	room.want(t, "a")
	var refused *client.Error
	if err := rt.Publish(context.Background(), "secret", "a"); !errors.As(err, &refused) || refused.Code != "forbidden" || refused.Retry {
		t.Error(err)
	}
}

func TestRealtimeRefusals(t *testing.T) {
	bubble(t, "for good", refusalForGood)
	bubble(t, "revoked", refusalRevoked)
	bubble(t, "401, then a new token", refusal401ThenNewToken)
	bubble(t, "401 for good", refusal401ForGood)
	bubble(t, "expired", refusalExpired)
	bubble(t, "503 for a while", refusal503ForAWhile)
}

func refusalForGood(t *testing.T) {
	n := newNetwork(t, answer(403, `{"code":"origin","message":"so it is","retry":false}`))
	var s states
	rt := n.realtime(&client.RealtimeOptions{OnState: s.on})
	loop := messages(t, rt, "room")
	loop.want(t, "error:client: origin: so it is")
	want := client.Error{Code: "origin", Message: "so it is", Status: 403}
	for _, err := range []error{rt.Publish(t.Context(), "room", 1), rt.Presence("room").Join(t.Context(), "ada", nil), rt.Close()} {
		if got := (*client.Error)(nil); !errors.As(err, &got) || *got != want {
			t.Errorf("%#v", err)
		}
	}
	if n := len(n.asked()); n != 1 || s.take() != "connecting closed" {
		t.Errorf("%d attempts", n)
	}
}

func refusalRevoked(t *testing.T) {
	h := start(t, byToken(), nil)
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	loop := messages(t, rt, "room")
	loop.take()
	must(t, h.Revoke(context.Background(), "ada"))
	if got := loop.take(); !strings.HasPrefix(got, "error:client: forbidden: ") {
		t.Errorf("the loop was told %q", got)
	}
	if err := rt.Close(); err == nil || len(h.asked()) != 1 {
		t.Error("revoked, and came back")
	}
}

func refusal401ThenNewToken(t *testing.T) {
	h := start(t, byToken(), nil)
	n := 0
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) {
		n++
		return []string{"bad", "bad", "ada"}[n-1], nil
	}})
	must(t, rt.Publish(t.Context(), "room", "a"))
}

func refusal401ForGood(t *testing.T) {
	h := start(t, byToken(), nil)
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "bad", nil }})
	began := time.Now()
	if err := rt.Publish(t.Context(), "room", "a"); err == nil || time.Since(began) != 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func refusalExpired(t *testing.T) {
	policy := byToken()
	who := policy.Authenticate
	policy.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := who(r)
		id.Expires = time.Now().Add(time.Minute)
		return id, err
	}
	h := start(t, policy, nil)
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	loop := messages(t, rt, "room")
	for i := range 5 {
		time.Sleep(2 * time.Minute)
		h.publish("room", fmt.Sprint(i))
	}
	time.Sleep(10 * time.Second)
	loop.want(t, "0 1 2 3 4")
}

func refusal503ForAWhile(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt, handler := h.Realtime, answer(503, "")
	h.serve(handler)
	c := h.realtime(nil)
	published := later(func() error { return c.Publish(context.Background(), "room", "a") })
	time.Sleep(90 * time.Second)
	h.serve(rt.Handler())
	must(t, <-published)
}

func TestPublish(t *testing.T) {
	bubble(t, "the answer is lost", publishAnswerLost)
	bubble(t, "many at once keep their order, and the bound", publishManyAtOnce)
	bubble(t, "never connected", publishNeverConnected)
	bubble(t, "sent, and never answered", publishNeverAnswered)
	bubble(t, "a message not sent when its context ends is not sent later", publishWithdrawn)
	bubble(t, "too large", publishTooLarge)
}

func publishAnswerLost(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	var want []string
	seen := record(t, func(ctx context.Context) eventSeq {
		return h.Events(ctx, realtime.EventMatch{Channel: "room"})
	}, func(ev realtime.RenEvent) string { return strings.Trim(string(ev.Data), `"`) })
	seen.want(t, "") // has begun
	for i := range 20 {
		h.onAppend("room", h.listen.Cut) // the server has it, the client never hears so
		must(t, rt.Publish(context.Background(), "room", fmt.Sprint(i)))
		want = append(want, fmt.Sprint(i))
	}
	seen.want(t, strings.Join(want, " "))
}

func publishManyAtOnce(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	loop := messages(t, rt, "room")
	loop.take()
	var want []string
	var done []<-chan error
	for i := range 100 {
		done = append(done, later(func() error { return rt.Publish(context.Background(), "room", fmt.Sprint(i)) }))
		synctest.Wait()
		want = append(want, fmt.Sprint(i))
	}
	time.Sleep(10 * time.Second)
	for _, err := range done {
		must(t, <-err)
	}
	loop.want(t, strings.Join(want, " "))

	h.listen.Cut()
	for range 100 {
		go rt.Publish(context.Background(), "room", 1)
	}
	synctest.Wait()
	var refused *client.Error
	if err := rt.Publish(context.Background(), "room", 1); !errors.As(err, &refused) || refused.Code != "too_many" || !refused.Retry {
		t.Errorf("the 101st: %v", err)
	}
	time.Sleep(time.Minute)
}

func publishNeverConnected(t *testing.T) {
	n := newNetwork(t, answer(503, ""))
	rt := n.realtime(nil)
	begun := time.Now()
	err := rt.Publish(context.Background(), "room", 1)
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code != "unavailable" || !refused.Retry || errors.Is(err, realtime.ErrMaybeStored) {
		t.Error(err)
	}
	if d := time.Since(begun); d != 110*time.Second {
		t.Errorf("after %v", d)
	}
}

func publishNeverAnswered(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	h.onAppend("room", h.listen.Stall)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := rt.Publish(ctx, "room", 1); !errors.Is(err, realtime.ErrMaybeStored) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	h.onAppend("room", func() {})
	done := later(func() error { return rt.Publish(context.Background(), "room", 1) })
	synctest.Wait()
	rt.Close()
	if err := <-done; !errors.Is(err, realtime.ErrClosed) {
		t.Error(err)
	}
}

func publishWithdrawn(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	loop := messages(t, rt, "room")
	loop.take()
	h.listen.Cut()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := rt.Publish(ctx, "room", "a"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, realtime.ErrMaybeStored) {
		t.Error(err)
	}
	must(t, rt.Publish(context.Background(), "room", "b"))
	loop.want(t, "b")
}

func publishTooLarge(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	var refused *client.Error
	if err := rt.Publish(context.Background(), "room", strings.Repeat("x", 64<<10)); !errors.As(err, &refused) || refused.Code != "too_large" {
		t.Error(err)
	}
	if err := rt.Publish(context.Background(), "room", make(chan int)); err == nil {
		t.Error("a channel was published")
	}
	if n := len(h.asked()); n != 1 {
		t.Errorf("%d connections", n)
	}
}
