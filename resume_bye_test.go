package realtime_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that ends in the middle of a replay hands out no cursor that hides
// what was not told, nor one that repeats what another channel has.
func TestByeInTheMiddleOfAReplay(t *testing.T) {
	t.Parallel()
	bubble(t, "WebSocket", byeInTheMiddleWS)
	bubble(t, "REN", byeInTheMiddleREN)
}

const replayed = 2000

// expiresInAReplay returns a host whose connections end in the middle of what they replay
// after the cursor.
func expiresInAReplay(t *testing.T) (h *host, cursor string) {
	h = start(t, expiring(300*time.Millisecond), nil)
	cursor = string(h.Cursor())
	for range replayed {
		h.publish("busy", strings.Repeat("x", 900))
	}
	synctest.Wait()
	return h, cursor
}

func byeInTheMiddleWS(t *testing.T) {
	h, cursor := expiresInAReplay(t)
	s := h.dialStalled(get("/realtime"))
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	s.send(`{` + since("quiet", string(h.Cursor())) + `}`)
	s.send(`{` + since("busy", cursor) + `}`)
	last, bye := "", object{}
	for n := 0; bye.Event == ""; time.Sleep(20 * time.Millisecond) {
		_, msg, err := s.ws.Read(t.Context())
		if err != nil {
			t.Fatalf("no bye after %d events: %v", n, err)
		}
		for line := range strings.SplitSeq(string(msg), "\n") {
			var o object
			_ = json.Unmarshal([]byte(line), &o)
			switch o.Event {
			case "message":
				last = o.ID
				n++
			case "bye":
				bye = o
				if n == 0 || n == replayed {
					t.Errorf("bye after %d events: the test tests nothing", n)
				}
			}
		}
	}
	if bye.Cursor != "" {
		t.Errorf("bye with cursor %s, where busy is told up to %s and quiet up to %s", bye.Cursor, last, h.Cursor())
	}
}

func byeInTheMiddleREN(t *testing.T) {
	h, cursor := expiresInAReplay(t)
	s := h.renStalled(get("/ren?lastEventId=" + cursor))
	s.resp.Body = &slow{s.resp.Body}
	s.pump()
	last, n := "", 0
	for {
		ev := s.next()
		if ev.Name == "ren.bye" {
			if n == 0 || n == replayed || ev.Cursor != last {
				t.Errorf("bye after %d events with cursor %s, want %s", n, ev.Cursor, last)
			}
			s.cut()
			return
		}
		if ev.Name == "message" {
			last = ev.ID
			n++
		}
	}
}

// slow is a body that is read slowly.
type slow struct{ io.ReadCloser }

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.ReadCloser.Read(p)
}
