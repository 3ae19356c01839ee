package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime/client"
)

// operation is what a client sends.
type operation struct {
	Op, Channel, Since string
	Presence           bool
	Ref                int64
	Data, Metadata     json.RawMessage
}

// script is a server that answers each operation, except the hello, with what
// the function returns: frames, separated by newlines.
func script(answer func(connection int, o operation) string) http.Handler {
	var mu sync.Mutex
	connections := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"maravilla.realtime.v1"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		mu.Lock()
		connections++
		n := connections
		mu.Unlock()
		for {
			_, msg, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			var o operation
			_ = json.Unmarshal(msg, &o)
			text := `{"event":"hello","limits":{"message":65536,"rate":30,"burst":60}}`
			if o.Op != "hello" {
				text = answer(n, o)
			}
			if text != "" {
				_ = ws.Write(context.Background(), websocket.MessageText, []byte(text))
			}
		}
	})
}

// agree is the answer of a server that agrees with everything.
func agree(o operation) string {
	if o.Op == "subscribe" {
		state := "fresh"
		if o.Since == "unreadable" {
			state = `reset","reason":"unknown`
		}
		text := fmt.Sprintf(`{"event":"subscribed","ref":%d,"channel":%q,"state":"%s","cursor":"1.1"}`, o.Ref, o.Channel, state)
		if o.Presence {
			text += fmt.Sprintf("\n"+`{"event":"presence.state","channel":%q,"members":[],"cursor":"1.1"}`, o.Channel)
		}
		return text
	}
	return fmt.Sprintf(`{"event":"ok","ref":%d}`, o.Ref)
}

func TestRealtimeGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"not JSON":        `{`,
		"empty":           "",
		"not an object":   `[]`,
		"wrong types":     `{"event":"message","channel":7}`,
		"no event":        `{"channel":"room"}`,
		"after a newline": `{"event":"ping"}` + "\n\n",
	} {
		bubble(t, name, func(t *testing.T) {
			n := newNetwork(t, script(func(connection int, o operation) string {
				text := agree(o)
				switch {
				case o.Op == "subscribe" && connection == 1:
					text += "\n" + garbage
				case o.Op == "subscribe":
					text += "\n" + `{"event":"message","channel":"room","data":"a","id":"1.2"}`
				}
				return text
			}))
			loop := messages(t, n.realtime(nil), "room")
			time.Sleep(10 * time.Second)
			loop.want(t, "reset:unknown a")
		})
	}

	bubble(t, "what is not known or not asked for", func(t *testing.T) {
		n := newNetwork(t, script(func(_ int, o operation) string {
			return strings.Join([]string{
				agree(o), `{"event":"message","channel":"other","data":1,"id":"1.2"}`, `{"event":"new","channel":"room","x":{}}`, `{"event":"new"}`,
				`{"event":"ok","ref":99}`, `{"event":"ok"}`, `{"event":"hello"}`, `{"event":"error","code":"x","message":"y","retry":false}`,
				`{"event":"presence.join","channel":"room","userId":"ada"}`, `{"event":"presence.state","channel":"room","members":[{"userId":"bob"}]}`,
				`{"event":"subscribed","channel":"room"}`, `{"event":"message","channel":"room","data":"a","new":1}`,
			}, "\n")
		}))
		rt := n.realtime(nil)
		messages(t, rt, "room").want(t, "a")
		if len(rt.Presence("room").Members()) > 0 || len(n.asked()) != 1 {
			t.Error("what was not asked for has an effect")
		}
	})

	bubble(t, "another subprotocol", func(t *testing.T) {
		n := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ws, err := websocket.Accept(w, r, nil); err == nil {
				ws.CloseNow()
			}
		}))
		n.realtime(nil)
		time.Sleep(time.Minute)
		if tries := len(n.asked()); tries < 4 || tries > 60 {
			t.Errorf("%d attempts in a minute", tries)
		}
	})
}

// A server that can say no more than a code is understood as well.
func TestCloseCodes(t *testing.T) {
	for code, want := range map[websocket.StatusCode]struct {
		err   string // "": it goes on
		after time.Duration
	}{
		4403: {"error:client: forbidden: ", 0}, 4401: {"error:client: unauthorized: ", 30 * time.Second},
		4503: {}, 4408: {}, 1012: {}, 1008: {}, 1011: {},
	} {
		bubble(t, fmt.Sprint(int(code)), func(t *testing.T) {
			n := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"maravilla.realtime.v1"}})
				if err != nil {
					return
				}
				defer ws.CloseNow()
				_, _, _ = ws.Read(context.Background())
				ws.Close(code, "")
			}))
			loop := messages(t, n.realtime(nil), "room")
			if want.after > 0 {
				time.Sleep(want.after - time.Nanosecond)
				loop.want(t, "")
				time.Sleep(time.Nanosecond)
			}
			got := loop.take()
			time.Sleep(time.Minute - want.after)
			tries := len(n.asked())
			if !strings.HasPrefix(got, want.err) || (got == "") != (want.err == "") || loop.ended() != (got != "") || tries > 60 ||
				want.err == "" && tries < 4 {
				t.Errorf("after %d attempts the loop was told %q", tries, got)
			}
		})
	}
}

// Of each channel at most one operation of a kind is on its way.
func TestOneAtATime(t *testing.T) {
	bubble(t, "churn", churn)
}

// slowServer takes 50 ms for an operation, and notes those that come meanwhile.
type slowServer struct {
	mu     sync.Mutex
	busy   map[string]int
	faults []string
	live   map[string]bool
}

func (s *slowServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"maravilla.realtime.v1"}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	var answers sync.WaitGroup
	defer answers.Wait()
	for {
		_, msg, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		var o operation
		_ = json.Unmarshal(msg, &o)
		if o.Op == "hello" {
			_ = ws.Write(context.Background(), websocket.MessageText, []byte(`{"event":"hello","limits":{"message":65536,"rate":1000,"burst":1000}}`))
			continue
		}
		kind := s.begin(o, string(msg))
		answers.Go(func() {
			time.Sleep(50 * time.Millisecond)
			s.mu.Lock()
			s.busy[kind]--
			s.mu.Unlock()
			_ = ws.Write(context.Background(), websocket.MessageText, []byte(agree(o)))
		})
	}
}

// begin returns the kind of an operation.
func (s *slowServer) begin(o operation, msg string) (kind string) {
	kind = "presence"
	if strings.HasSuffix(o.Op, "subscribe") {
		kind = "subscription"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[kind]++; s.busy[kind] > 1 {
		s.faults = append(s.faults, "two at once: "+msg)
	}
	if kind == "subscription" {
		s.live["subscribed"] = o.Op == "subscribe"
	} else {
		s.live["joined"] = o.Op != "leave"
	}
	return kind
}

func churn(t *testing.T) {
	server := &slowServer{busy: map[string]int{}, live: map[string]bool{}}
	n := newNetwork(t, server)
	rt := n.realtime(nil)
	ctx := context.Background()
	for i := range 100 {
		loop, cancel := context.WithTimeout(ctx, time.Duration(i%7*20+1)*time.Millisecond)
		defer cancel()
		switch i % 5 {
		case 0:
			rt.Subscribe(loop, "room")
		case 1:
			rt.Presence("room").Events(loop)
		case 2:
			go rt.Presence("room").Join(ctx, "ada", i)
		case 3:
			go rt.Presence("room").Update(ctx, i)
		case 4:
			go rt.Presence("room").Leave(ctx)
		}
		time.Sleep(time.Duration(i%11) * 5 * time.Millisecond)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.faults) > 0 || server.live["subscribed"] || server.live["joined"] {
		t.Errorf("in the end %v; %v", server.live, server.faults)
	}
}

func TestRateLimited(t *testing.T) {
	bubble(t, "no faster than the server says", rateAsTheServerAllows)
	bubble(t, "sent again, after a pause", rateLimitedIsSentAgain)
	bubble(t, "a subscription that can succeed later", rateOfRefusedSubscriptions)
}

func rateAsTheServerAllows(t *testing.T) {
	var sent []time.Time
	n := newNetwork(t, script(func(_ int, o operation) string {
		sent = append(sent, time.Now())
		return agree(o)
	}))
	rt := n.realtime(nil)
	time.Sleep(30 * time.Second) // which saves nothing up
	for range 100 {
		go rt.Publish(context.Background(), "room", 1)
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	for i, first := range sent {
		for j, last := range sent[i:] {
			if most := 60 + 30*last.Sub(first).Seconds(); float64(j+1) > most {
				t.Fatalf("%d operations in %v", j+1, last.Sub(first))
			}
		}
	}
	if len(sent) != 100 || sent[99].Sub(sent[0]) > 3*time.Second {
		t.Errorf("%d operations in %v", len(sent), sent[len(sent)-1].Sub(sent[0]))
	}
}

func rateLimitedIsSentAgain(t *testing.T) {
	var got []string
	var refused time.Time
	n := newNetwork(t, script(func(_ int, o operation) string {
		if refused.IsZero() {
			refused = time.Now()
			return fmt.Sprintf(`{"event":"error","ref":%d,"code":"rate_limited","message":"slow down","retry":true}`, o.Ref)
		}
		if time.Since(refused) < time.Second {
			t.Errorf("sent again after %v", time.Since(refused))
		}
		got = append(got, string(o.Data))
		return agree(o)
	}))
	rt := n.realtime(nil)
	for i := range 5 {
		go rt.Publish(context.Background(), "room", i)
		synctest.Wait()
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	slices.Sort(got)
	if s := strings.Join(got, " "); s != "0 1 2 3 4" {
		t.Errorf("published %s", s)
	}
}

func rateOfRefusedSubscriptions(t *testing.T) {
	tries := 0
	n := newNetwork(t, script(func(_ int, o operation) string {
		if tries++; tries < 4 {
			return fmt.Sprintf(`{"event":"error","ref":%d,"code":"unavailable","message":"not now","retry":true}`, o.Ref)
		}
		return agree(o) + "\n" + `{"event":"message","channel":"room","data":"a"}`
	}))
	loop := messages(t, n.realtime(nil), "room")
	time.Sleep(10 * time.Second)
	loop.want(t, "a")
	if tries != 4 {
		t.Errorf("%d tries", tries)
	}
}

// The sequence of a loop that nobody ranges over ends with its context.
func TestUnusedSequences(t *testing.T) {
	bubble(t, "unsubscribes", func(t *testing.T) {
		var last string
		n := newNetwork(t, script(func(_ int, o operation) string {
			last = o.Op
			return agree(o)
		}))
		rt := n.realtime(nil)
		ctx, cancel := context.WithCancel(context.Background())
		var seq iter.Seq2[client.Message, error] = rt.Subscribe(ctx, "room")
		synctest.Wait()
		cancel()
		synctest.Wait()
		if last != "unsubscribe" {
			t.Errorf("the last operation is %s", last)
		}
		for _, err := range seq {
			if err != context.Canceled {
				t.Error(err)
			}
		}
	})
}
