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

func TestRen(t *testing.T) {
	bubble(t, "events", renEvents)
	bubble(t, "own events", renOwnEvents)
	bubble(t, "resume after a cut", renResumeAfterCut)
	bubble(t, "silence", renSilence)
	bubble(t, "a slow loop loses nothing", renSlowLoop)
	bubble(t, "a slow loop is not silence", renSlowLoopIsNotSilence)
	bubble(t, "one loop at a time, and one after the other", renOneLoopAtATime)
	bubble(t, "a process after another goes on from its cursor", renInAnotherProcess)
	bubble(t, "the context ends while waiting", renContextEnds)
}

func renEvents(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	var s states
	r, loop := h.ren(&client.RenOptions{OnState: s.on, Subscriptions: []string{"kv"}})
	loop.want(t, "")
	h.emit("a", "b")
	must(t, h.Emit(context.Background(), realtime.DocumentCreated("todos", "not kv")))
	loop.want(t, "a b")
	if r.Cursor() == "" {
		t.Error("no cursor after two events")
	}
	loop.stop()
	loop.want(t, "error:context canceled")
	if got := s.take(); got != "connecting open closed" {
		t.Errorf("states %s", got)
	}
}

func renOwnEvents(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	r := newRen(t, &client.RenOptions{HTTPClient: h.http})
	loop := record(t, r.Events, func(ev realtime.RenEvent) string { return fmt.Sprint(ev.Source == r.Tag()) })
	loop.take()
	must(t, h.Emit(context.Background(), realtime.KVPut("demo", "a"), realtime.FromClient(r.ClientID())))
	must(t, h.Emit(context.Background(), realtime.KVPut("demo", "a"), realtime.FromClient("somebody-else-001")))
	loop.want(t, "true false")
}

func renResumeAfterCut(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	_, loop := h.ren(nil)
	loop.take()
	var want []string
	for i := range 20 {
		before, between := fmt.Sprint("before", i), fmt.Sprint("between", i)
		h.emit(before)
		if i%2 == 0 {
			synctest.Wait()
		}
		h.listen.Cut()
		h.emit(between)
		want = append(want, before, between)
		time.Sleep(15 * time.Second)
	}
	loop.want(t, strings.Join(want, " "))
}

func renSilence(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	_, loop := h.ren(nil)
	loop.take()
	for _, c := range h.listen.Conns() {
		c.Stall()
	}
	h.emit("a")
	time.Sleep(59 * time.Second)
	loop.want(t, "")
	time.Sleep(7 * time.Second)
	loop.want(t, "a")
}

func renSlowLoop(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	r := newRen(t, &client.RenOptions{HTTPClient: h.http, Logger: h.logs.logger()})
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	go func() {
		time.Sleep(time.Second)
		for i := range 400 {
			h.emit(fmt.Sprint(i) + strings.Repeat("x", 200))
		}
	}()
	n := 0
	for ev, err := range r.Events(ctx) {
		if err != nil || !strings.HasPrefix(ev.Key, fmt.Sprint(n)+"x") {
			t.Fatalf("event %d is %v, %v", n, ev, err)
		}
		if n == 0 {
			time.Sleep(2 * time.Minute) // the server hangs up meanwhile
		}
		if n++; n == 400 {
			break
		}
	}
	if n := len(h.asked()); n < 2 {
		t.Errorf("%d streams: the server has not hung up", n)
	}
}

func renSlowLoopIsNotSilence(t *testing.T) {
	h := start(t, realtime.AllowAll(), &realtime.Options{WriteTimeout: time.Hour})
	r := newRen(t, &client.RenOptions{HTTPClient: h.http, Logger: h.logs.logger(), Since: h.Cursor()})
	h.emit("a", "b", "c")
	n := 0
	for ev, err := range r.Events(t.Context()) {
		must(t, err)
		time.Sleep(2 * time.Minute)
		if n++; n == 3 {
			h.emit("d")
		}
		if ev.Key == "d" {
			break
		}
	}
	if asked := len(h.asked()); n != 4 || asked != 1 {
		t.Errorf("%d events from %d streams", n, asked)
	}
}

func renOneLoopAtATime(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	r, loop := h.ren(nil)
	loop.take()
	second := record(t, r.Events, wordOfEvent)
	if got := second.take(); !strings.HasPrefix(got, "error:") || !second.ended() {
		t.Errorf("a second loop was told %q", got)
	}
	h.emit("a")
	loop.want(t, "a")
	loop.stop()
	loop.take()
	h.emit("b")
	record(t, r.Events, wordOfEvent).want(t, "b")
}

func renInAnotherProcess(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	r, loop := h.ren(nil)
	loop.take()
	h.emit("a")
	loop.want(t, "a")
	loop.stop()
	h.emit("b")
	_, loop = h.ren(&client.RenOptions{Since: r.Cursor()})
	loop.want(t, "b")
}

func renContextEnds(t *testing.T) {
	n := newNetwork(t, http.NotFoundHandler())
	_, loop := n.ren(nil)
	loop.want(t, "")
	loop.stop()
	loop.want(t, "error:context canceled")
}

func TestRenResets(t *testing.T) {
	bubble(t, "the log was recreated", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		_, loop := h.ren(nil)
		loop.take()
		h.emit("a")
		loop.want(t, "a")
		time.Sleep(time.Second)
		h.restart(realtime.AllowAll(), nil)
		h.listen.Cut()
		time.Sleep(10 * time.Second)
		h.emit("b")
		loop.want(t, "reset:epoch b")
	})

	bubble(t, "away for longer than the history", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), &realtime.Options{History: realtime.History{Events: 4}})
		_, loop := h.ren(nil)
		loop.take()
		h.emit("a")
		loop.want(t, "a")
		h.listen.Cut()
		h.emit("b", "c", "d", "e", "f")
		time.Sleep(10 * time.Second)
		h.emit("g")
		loop.want(t, "reset:evicted g")
	})
}

func TestRenByes(t *testing.T) {
	bubble(t, "rotation is not noticed", renByeOfARotation)
	bubble(t, "a server that closes is come back to when it says", renByeOfAServerThatCloses)
	bubble(t, "who is revoked does not come back", renByeOfARevokedClient)
	bubble(t, "who has expired comes back with a new token", renByeOfAnExpiredClient)
}

func renByeOfARotation(t *testing.T) {
	h := start(t, realtime.AllowAll(), &realtime.Options{StreamLife: time.Minute})
	_, loop := h.ren(nil)
	loop.take()
	var want []string
	for i := range 600 {
		time.Sleep(time.Second)
		h.emit(fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	time.Sleep(time.Second)
	loop.want(t, strings.Join(want, " "))
	if n := len(h.asked()); n < 8 || n > 14 {
		t.Errorf("%d streams in 10 minutes", n)
	}
}

func renByeOfAServerThatCloses(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	_, loop := h.ren(nil)
	loop.take()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, h.Close(ctx))
	time.Sleep(time.Millisecond) // the next log is a later one
	h.restart(realtime.AllowAll(), nil)
	time.Sleep(21 * time.Second)
	h.emit("a")
	loop.want(t, "reset:epoch a")
}

func renByeOfARevokedClient(t *testing.T) {
	h := start(t, byToken(), nil)
	_, loop := h.ren(&client.RenOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	loop.take()
	must(t, h.Revoke(context.Background(), "ada"))
	if got := loop.take(); !strings.HasPrefix(got, "error:client: forbidden: ") || !loop.ended() {
		t.Errorf("the loop was told %q", got)
	}
	if n := len(h.asked()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func renByeOfAnExpiredClient(t *testing.T) {
	policy := byToken()
	who := policy.Authenticate
	policy.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := who(r)
		id.Expires = time.Now().Add(time.Minute)
		return id, err
	}
	h := start(t, policy, nil)
	n := 0
	_, loop := h.ren(&client.RenOptions{Token: func(context.Context) (string, error) {
		n++
		return fmt.Sprint("ada", n), nil
	}})
	for i := range 5 {
		time.Sleep(2 * time.Minute)
		h.emit(fmt.Sprint(i))
	}
	time.Sleep(time.Minute)
	loop.want(t, "0 1 2 3 4")
	if n != 14 { // the first, and one each 50 s
		t.Errorf("%d tokens were asked for in 11 minutes", n)
	}
}

// Credentials that are taken each time, and end at once, are no reason to end, but
// one to come back more and more rarely.
func TestShortLivedCredentials(t *testing.T) {
	policy := realtime.AllowAll()
	policy.Authenticate = func(*http.Request) (realtime.Identity, error) {
		return realtime.Identity{AnyUser: true, Expires: time.Now().Add(time.Second)}, nil
	}
	for name, follow := range map[string]func(*host) *tape{
		"REN": func(h *host) *tape {
			_, loop := h.ren(nil)
			return loop
		},
		"channels": func(h *host) *tape { return messages(h.t, h.realtime(nil), "room") },
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, policy, nil)
			loop := follow(h)
			time.Sleep(10 * time.Minute)
			if tries := len(h.asked()); loop.ended() || tries < 45 || tries > 120 { // one in 8.75 s
				t.Errorf("%d attempts in ten minutes", tries)
			}
		})
	}
}

// answers serves one response after the other, and the last one for ever.
func answers(list ...http.HandlerFunc) http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		list[min(n, len(list)-1)](w, r)
		n++
	}
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// stream serves a stream that begins like this and stays open.
func stream(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(http.StatusOK, text, "Content-Type", "text/event-stream; charset=utf-8")(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

type renRefusal struct {
	answer http.HandlerFunc
	token  bool
	want   *client.Error // nil: it is tried again
	after  time.Duration // it took
}

func ourRefusal(code string, retry bool) string {
	return fmt.Sprintf(`{"code":%q,"message":"so it is","retry":%v}`, code, retry)
}

var renRefusals = map[string]renRefusal{
	"403":               {answer(403, ourRefusal("origin", false)), true, &client.Error{Code: "origin", Message: "so it is", Status: 403}, 0},
	"400":               {answer(400, ourRefusal("too_many", false)), true, &client.Error{Code: "too_many", Message: "so it is", Status: 400}, 0},
	"404":               {answer(404, ourRefusal("not_found", false)), true, &client.Error{Code: "not_found", Message: "so it is", Status: 404}, 0},
	"401 without token": {answer(401, ourRefusal("unauthorized", false)), false, &client.Error{Code: "unauthorized", Message: "so it is", Status: 401}, 30 * time.Second},
	"401 with token":    {answer(401, ourRefusal("expired", false)), true, &client.Error{Code: "expired", Message: "so it is", Status: 401}, 30 * time.Second},
	"404 of a proxy":    {answer(404, "not there yet"), true, nil, 0},
	"421":               {answer(421, ourRefusal("host", false)), true, &client.Error{Code: "host", Message: "so it is", Status: 421}, 0},
	"400 of a proxy":    {answer(400, "<html>"), true, nil, 0},
	"401 of a proxy":    {answer(401, "<html>"), true, nil, 0},
	"403 of a proxy":    {answer(403, "<html>"), true, nil, 0},
	"405 of a proxy":    {answer(405, "<html>"), true, nil, 0},
	"426 of a proxy":    {answer(426, "<html>"), true, nil, 0},
	"403 of a gateway":  {answer(403, `{"code":"AccessDenied","message":"no","retry":false}`), true, nil, 0},
	"403 in part":       {answer(403, `{"code":"forbidden","message":"no"}`), true, nil, 0},
	"403 for a while":   {answer(403, ourRefusal("forbidden", true)), true, nil, 0},
	"500":               {answer(500, ourRefusal("internal", false)), true, nil, 0},
	"503":               {answer(503, ourRefusal("unavailable", true)), true, nil, 0},
	"a login page":      {answer(200, "<html>", "Content-Type", "text/html"), true, nil, 0},
}

func TestRenRefusals(t *testing.T) {
	for name, test := range renRefusals {
		bubble(t, name, func(t *testing.T) {
			n := newNetwork(t, test.answer)
			opts := &client.RenOptions{HTTPClient: n.http, Logger: n.logs.logger()}
			if test.token {
				opts.Token = func(context.Context) (string, error) { return "ada", nil }
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			var last error
			began := time.Now()
			for _, err := range newRen(t, opts).Events(ctx) {
				last = err
			}
			tries := len(n.asked())
			if test.want == nil {
				// 15 s bound the waits, so 7.75 s is the mean
				if last != context.DeadlineExceeded || tries < 300 || tries > 700 {
					t.Errorf("%d tries in an hour, error %v", tries, last)
				}
				return
			}
			var got *client.Error
			if !errors.As(last, &got) || *got != *test.want || time.Since(began) != test.after || test.after == 0 && tries != 1 {
				t.Errorf("after %d tries in %v %#v, want %#v after %v", tries, time.Since(began), last, test.want, test.after)
			}
		})
	}

	bubble(t, "401, then a new token", renRefused401)
	bubble(t, "a token that cannot be had is asked for again", renWithoutToken)
	bubble(t, "Retry-After is waited for", renRefusedForAWhile)
	bubble(t, "a Retry-After of ages is bounded", renRefusedForAges)
}

func renRefused401(t *testing.T) {
	h := start(t, byToken(), nil)
	n := 0
	_, loop := h.ren(&client.RenOptions{Token: func(context.Context) (string, error) {
		n++
		return []string{"bad", "bad", "ada"}[n-1], nil
	}})
	time.Sleep(10 * time.Second)
	h.emit("a")
	loop.want(t, "a")
}

func renWithoutToken(t *testing.T) {
	h := start(t, byToken(), nil)
	n := 0
	_, loop := h.ren(&client.RenOptions{Token: func(context.Context) (string, error) {
		if n++; n < 5 {
			return "", errors.New("no idea")
		}
		return "ada", nil
	}})
	time.Sleep(time.Minute)
	h.emit("a")
	loop.want(t, "a")
}

func renRefusedForAWhile(t *testing.T) {
	n := newNetwork(t, answers(answer(503, "", "Retry-After", "30"), stream("event: ren.hello\nid: 1.1\ndata: {\"state\":\"fresh\"}\n\ndata: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\"}\n\n")))
	_, loop := n.ren(nil)
	time.Sleep(30 * time.Second)
	loop.want(t, "")
	time.Sleep(2 * time.Second)
	loop.want(t, "a")
}

func renRefusedForAges(t *testing.T) {
	n := newNetwork(t, answers(answer(503, "", "Retry-After", "99999999999"),
		answer(200, "retry: 9999999999999\nevent: ren.hello\nid: 1.1\ndata: {\"state\":\"fresh\"}\n\n", "Content-Type", "text/event-stream")))
	n.ren(nil)
	for asked := 1; asked < 4; asked++ { // one refusal, then streams that end at once
		time.Sleep(5*time.Minute - time.Second)
		if got := len(n.asked()); got != asked {
			t.Errorf("%d attempts, want %d", got, asked)
		}
		time.Sleep(time.Second)
	}
}
