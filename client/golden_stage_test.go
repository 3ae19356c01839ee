package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

func TestGoldenChannels(t *testing.T) {
	perform(t, readGolden(t).Server, func(p *play) {
		s := &channelStage{play: p}
		p.network, p.stage = newNetwork(p.T, s), s
		opts := client.RealtimeOptions{
			ClientID: goldenClient, HTTPClient: p.http, Logger: p.logs.logger(), Token: p.tokens(),
			OnState: func(state client.State) { p.become(string(state)) },
		}
		s.rt = newRealtime(p, &opts)
		p.Cleanup(func() { s.rt.Close() })
	})
}

func TestGoldenREN(t *testing.T) {
	perform(t, readGolden(t).REN, func(p *play) {
		s := &renStage{play: p}
		p.network, p.stage = newNetwork(p.T, s), s
	})
}

const goldenClient = "Zm9vYmFyYmF6cXV4.dGFi"

func (p *play) become(state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
}

// tokens returns the option Token. Where the script has no tokens it gives none.
func (p *play) tokens() func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.token, nil
	}
}

// follow runs a loop in the background, and has the play told of it.
func (p *play) follow(loop func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { loop(ctx) })
	p.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return cancel
}

// failed tells of an error of a loop.
func (p *play) failed(err error) {
	var reset *realtime.ResetError
	switch {
	case errors.As(err, &reset):
		p.tell("reset %s", reset.Reason)
	case code(err) != "":
		p.tell("error %s", code(err))
	}
}

func code(err error) string {
	var refused *client.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// channelStage is that of channels.
type channelStage struct {
	*play
	rt    *client.Realtime
	stops map[string]func() // of the loops

	mu    sync.Mutex
	conns []*websocket.Conn
	ops   []string
	refs  map[string]int64 // of the last operation of a kind
}

func (s *channelStage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"maravilla.realtime.v1"}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	for first := true; ; first = false {
		_, msg, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		s.mu.Lock()
		if first {
			s.conns = append(s.conns, ws)
		} else {
			s.note(msg)
		}
		s.mu.Unlock()
	}
}

func (s *channelStage) note(msg []byte) {
	var o struct {
		operation
		UserID, Token string
		Rewind        int
	}
	if err := json.Unmarshal(msg, &o); err != nil {
		s.Error(err)
	}
	word := o.Op
	if o.Presence {
		word += " presence"
	}
	for _, part := range [][2]string{{" since=", o.Since}, {" user=", o.UserID}, {" token=", o.Token}} {
		if part[1] != "" {
			word += part[0] + part[1]
		}
	}
	if o.Rewind > 0 {
		word += fmt.Sprint(" rewind=", o.Rewind)
	}
	if s.refs == nil {
		s.refs = make(map[string]int64)
	}
	s.refs[o.Op] = o.Ref
	s.ops = append(s.ops, word)
}

func (s *channelStage) dial()  { s.rt.Connect() }
func (s *channelStage) greet() { s.say(s.frames["hello"]) }
func (s *channelStage) beat()  { s.say(s.frames["ping without cursor"]) }

func (s *channelStage) say(frame string) {
	synctest.Wait()
	s.mu.Lock()
	ws := s.conns[len(s.conns)-1]
	s.mu.Unlock()
	_ = ws.Write(context.Background(), websocket.MessageText, []byte(frame)) // the client may be gone
}

func (s *channelStage) answer(op, frame string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Replace(frame, `"ref":7`, fmt.Sprintf(`"ref":%d`, s.refs[op]), 1)
}

func (s *channelStage) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *channelStage) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

func (s *channelStage) members() (users []string) {
	for _, m := range s.rt.Presence("room:42").Members() {
		users = append(users, m.UserID)
	}
	return users
}

func (s *channelStage) app(what string) {
	if s.stops == nil {
		s.stops = make(map[string]func())
	}
	presence := s.rt.Presence("room:42")
	verb, user, _ := strings.Cut(what, " ")
	switch verb {
	case "subscribe":
		s.stops["subscribe"] = s.follow(func(ctx context.Context) { s.messages(ctx, "message ") })
	case "rewind":
		s.stops["rewind"] = s.follow(func(ctx context.Context) {
			s.messages(ctx, "rewound ", client.Rewind(2), client.RewindFor(time.Minute))
		})
	case "history":
		s.follow(func(ctx context.Context) { s.history(ctx) })
	case "unsubscribe":
		s.stops["subscribe"]()
	case "unwatch":
		s.stops["watch"]()
	case "watch":
		s.stops["watch"] = s.follow(s.changes)
	case "publish":
		s.result("publish", "published", func(ctx context.Context) error {
			return s.rt.Publish(ctx, "room:42", map[string]string{"type": "message", "text": "hello"})
		})
	case "join":
		s.result("join", "joined", func(ctx context.Context) error { return presence.Join(ctx, user, nil) })
	case "update":
		s.result("update", "updated", func(ctx context.Context) error { return presence.Update(ctx, map[string]string{"name": "Countess"}) })
	case "leave":
		s.result("leave", "left", func(ctx context.Context) error { return presence.Leave(ctx) })
	default:
		s.Fatalf("no program can %q", what)
	}
}

func (s *channelStage) result(verb, done string, f func(context.Context) error) {
	s.follow(func(ctx context.Context) {
		switch err := f(ctx); {
		case err == nil:
			s.tell("%s", done)
		case code(err) != "":
			s.tell("%s refused %s", verb, code(err))
		}
	})
}

func (s *channelStage) history(ctx context.Context) {
	page, err := s.rt.History(ctx, "room:42", "hog38gu134.2r", 50)
	if err != nil {
		return
	}
	word := "page"
	for _, m := range page.Messages {
		word += " " + map[bool]string{true: "message", false: "message.server"}[m.From == s.rt.Tag()]
	}
	if page.Before != "" {
		word += " before=" + string(page.Before)
	}
	if page.End != "" {
		word += " end=" + string(page.End)
	}
	s.tell("%s", word)
}

func (s *channelStage) messages(ctx context.Context, verb string, opts ...client.SubscribeOption) {
	for m, err := range s.rt.Subscribe(ctx, "room:42", opts...) {
		if err != nil {
			s.failed(err)
			continue
		}
		word := verb + compact(m.Data)
		if verb != "message " {
			s.tell("%s", word)
			continue
		}
		if m.From == s.rt.Tag() {
			word += " own"
		}
		if m.UserID != "" {
			word += " user=" + m.UserID
		}
		s.tell("%s", word)
	}
}

func (s *channelStage) changes(ctx context.Context) {
	for c, err := range s.rt.Presence("room:42").Events(ctx) {
		if err != nil {
			s.failed(err)
			continue
		}
		s.tell("%s %s", c.Type, c.Member.UserID)
	}
}

// renStage is that of REN.
type renStage struct {
	*play
	mu      sync.Mutex
	streams []chan string
	asked   []string
}

func (s *renStage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	word := "get"
	if token := r.Header.Get("Authorization"); token != "" {
		word += " token=" + strings.TrimPrefix(token, "Bearer ")
	}
	if since := r.Header.Get("Last-Event-ID"); since != "" {
		word += " since=" + since
	}
	texts := make(chan string, 100)
	s.mu.Lock()
	s.asked = append(s.asked, word)
	s.streams = append(s.streams, texts)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case text := <-texts:
			_, _ = w.Write([]byte(text))
		case <-r.Context().Done():
			return
		}
	}
}

func (s *renStage) dial() {
	opts := client.RenOptions{
		ClientID: goldenClient, HTTPClient: s.http, Logger: s.logs.logger(), Token: s.tokens(),
		OnState: func(state client.State) { s.become(string(state)) },
	}
	ren := newRen(s, &opts)
	s.follow(func(ctx context.Context) {
		for ev, err := range ren.Events(ctx) {
			if err != nil {
				s.failed(err)
				continue
			}
			word := "event " + ev.Type
			if ev.Source == ren.Tag() {
				word += " own"
			}
			s.tell("%s", word)
		}
	})
}

func (s *renStage) greet()            {} // the scripts say how
func (s *renStage) beat()             { s.say(":\n\n") }
func (s *renStage) members() []string { return nil }
func (s *renStage) app(what string)   { s.Fatalf("no program can %q", what) }

func (s *renStage) answer(op, frame string) string {
	s.Fatal("a stream has no answers")
	return frame
}

func (s *renStage) say(text string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[len(s.streams)-1] <- text
}

func (s *renStage) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

func (s *renStage) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}
