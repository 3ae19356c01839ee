package realtime_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// ren is an open REN stream.
type ren struct {
	incoming[renEvent]
	resp   *http.Response
	cancel context.CancelFunc
	hello  renEvent
}

// renEvent is a data event, or a control event with a name.
type renEvent struct {
	realtime.RenEvent
	Name, ID, Raw string
	Retry         time.Duration // that was in force

	Cursor, State, Reason, Src, UserID string
	Domains                            []string
	TS                                 int64
	RetryMs                            int64
	ExpiresIn                          *int64
}

func (ev renEvent) isPing() bool { return ev.Name == "ren.ping" }

func (ev renEvent) text() string { return "event " + ev.Name + " " + ev.Raw }

// ren opens a stream and reads its hello.
func (h *host) ren(r request) *ren {
	h.t.Helper()
	s := h.renStalled(r)
	s.pump()
	s.hello = s.next()
	if s.hello.Name != "ren.hello" {
		h.t.Fatalf("the stream begins with %+v, not with ren.hello", s.hello)
	}
	return s
}

// renStalled opens a stream of which nothing is read until pump is called.
func (h *host) renStalled(r request) *ren {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	resp := h.do(ctx, r)
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("%s: %s: %s", r.path, resp.Status, body)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return &ren{incoming: newIncoming[renEvent](h.t), resp: resp, cancel: cancel}
}

func (s *ren) pump() {
	go func() {
		defer s.box.close()
		r := sse.NewReader(s.resp.Body, 8<<20)
		for {
			got, err := r.Next()
			if err != nil {
				s.err = err
				return
			}
			ev := renEvent{Name: got.Name, ID: got.ID, Raw: got.Data, Retry: r.Retry}
			if got.Name == "message" {
				err = json.Unmarshal([]byte(got.Data), &ev.RenEvent)
			} else {
				var c control
				err = json.Unmarshal([]byte(got.Data), &c)
				ev.Cursor, ev.State, ev.Reason, ev.Src, ev.UserID = c.Cursor, c.State, c.Reason, c.Src, c.UserID
				ev.Domains, ev.TS, ev.RetryMs, ev.ExpiresIn = c.Domains, c.TS, c.RetryMs, c.ExpiresIn
			}
			if err != nil {
				s.t.Errorf("event %q: %v", got.Data, err)
			}
			s.box.put(ev)
		}
	}()
}

type control struct {
	Cursor, State, Reason, Src, UserID string
	Domains                            []string
	TS                                 int64
	RetryMs                            int64
	ExpiresIn                          *int64
}

// keys reads n data events and returns their keys, or data if they have none.
func (s *ren) keys(n int) string {
	s.t.Helper()
	var list []string
	for range n {
		ev := s.next()
		switch {
		case ev.Name != "message":
			list = append(list, ev.Name)
		case ev.Key != "":
			list = append(list, ev.Key)
		default:
			list = append(list, string(ev.Data))
		}
	}
	return strings.Join(list, " ")
}

// ended waits for the end of the stream.
func (s *ren) ended() {
	s.t.Helper()
	for {
		ev, ok := s.some(s.patience)
		if !ok {
			return
		}
		s.t.Errorf("unexpected %s before the end", ev.text())
	}
}

// cut drops the connection of a stream and forgets what was not read.
func (s *ren) cut() {
	s.cancel()
	s.resp.Body.Close()
	s.box.end()
}
