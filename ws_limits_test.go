package realtime_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

func TestWSChannelLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 1 << 20, Burst: 1 << 20}})
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		for i := range 128 {
			s.ok(subscribe(fmt.Sprint("c", i)), `"op":"join","channel":"c`+fmt.Sprint(i)+`"`)
		}
		if o := s.call(subscribe("one too many")); o.Code != "channel_limit" {
			t.Errorf("%s", o.raw)
		}
		if o := s.call(`"op":"join","channel":"one too many"`); o.Code != "channel_limit" {
			t.Errorf("%s", o.raw)
		}
		s.ok(subscribe("c1"), `"op":"unsubscribe","channel":"c1"`, subscribe("instead"))
		s.ok(`"op":"join","channel":"c1"`, `"op":"leave","channel":"c1"`, `"op":"join","channel":"instead"`)
	})
}

func TestWSRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		allowed := func() (n int) {
			for {
				if o := s.call(`"op":"ping"`); o.Event != "ok" {
					if o.Code != "rate_limited" || !*o.Retry {
						t.Errorf("%s", o.raw)
					}
					return n
				}
				n++
			}
		}
		if n := allowed(); n != 60 {
			t.Errorf("%d operations at once, want 60", n)
		}
		time.Sleep(time.Second)
		if n := allowed(); n != 30 {
			t.Errorf("%d operations in a second, want 30", n)
		}
		for range 100 { // being too fast is no error
			s.call(`"op":"ping"`)
		}
		time.Sleep(time.Minute)
		s.ok(`"op":"ping"`)
	})
}

func TestWSTooManyErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		for range 30 { // 15 a minute are forgiven
			time.Sleep(4 * time.Second)
			if o := s.call(`"op":"nonsense"`); o.Code != "unknown_op" {
				t.Fatalf("%s", o.raw)
			}
		}
		time.Sleep(2 * time.Minute)
		n := 0
		for ; n < 30; n++ {
			if err := s.ws.Write(t.Context(), websocket.MessageText, []byte("nonsense")); err != nil {
				break
			}
		}
		code, errors := s.closed()
		if code != 1008 || len(errors) < 20 || len(errors) > 21 {
			t.Errorf("closed with %d after %d errors", code, len(errors))
		}
	})
}

// frame is a WebSocket frame as no honest client might send it.
func frame(first byte, masked bool, payload []byte) []byte {
	if !masked {
		return testkit.Frame(first, nil, payload)
	}
	return testkit.Frame(first, new([4]byte), payload)
}

func TestWSViolations(t *testing.T) {
	const fin, cont, text, binaryOp, pingOp = 0x80, 0, 1, 2, 9
	big := bytes.Repeat([]byte("x"), 64<<10+1)
	for _, c := range []struct {
		name  string
		raw   []byte
		code  int
		limit time.Duration
	}{
		{"binary", frame(fin|binaryOp, true, []byte("{}")), 1003, 0},
		{"invalid UTF-8", frame(fin|text, true, []byte(`{"op":"ping","x":"`+"\xff"+`"}`)), 1007, 0},
		{"half a character", frame(fin|text, true, []byte("\xe2\x82")), 1007, 0},
		{"too large", frame(fin|text, true, big), 1009, 0},
		{"too large in fragments", append(frame(text, true, big[:40<<10]), frame(fin|cont, true, big[:40<<10])...), 1009, 0},
		{"unmasked", frame(fin|text, false, []byte(`{"op":"ping"}`)), 1002, 0},
		{"reserved bits", frame(fin|0x40|text, true, []byte(`{}`)), 1002, 0},
		{"reserved opcode", frame(fin|3, true, nil), 1002, 0},
		{"continuation of nothing", frame(fin|cont, true, []byte(`{}`)), 1002, 0},
		{"message within a message", append(frame(text, true, []byte("{")), frame(fin|text, true, []byte("}"))...), 1002, 0},
		{"fragmented ping", frame(pingOp, true, nil), 1002, 0},
		{"long ping", frame(fin|pingOp, true, bytes.Repeat([]byte("x"), 126)), 1002, 0},
		{"close with half a code", frame(fin|8, true, []byte{3}), 1002, 0},
		{"incomplete", frame(text, true, []byte(`{"op":`)), 1008, 10 * time.Second},
		{"incomplete payload", frame(fin|text, true, []byte(`{"op":"ping"}`))[:12], 1008, 10 * time.Second},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), nil)
			s, other := h.socket(get("/realtime")), h.socket(get("/realtime"))
			began := time.Now()
			go s.net.Write(c.raw) // the server may stop reading in the middle
			code, last := s.closed()
			if took := time.Since(began); code != c.code || took > c.limit+5*time.Second || took < c.limit || len(last) > 0 {
				t.Errorf("closed with %d after %v, want %d after %v; last %+v", code, took, c.code, c.limit, last)
			}
			other.ok(`"op":"ping"`)
		})
	}
}

// The largest message that is allowed is.
func TestWSMessageLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		op := `{"op":"publish","ref":1,"channel":"room","data":""}`
		s.send(strings.Replace(op, `""`, `"`+strings.Repeat("x", 64<<10-len(op))+`"`, 1))
		if o := s.next(); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
	})
}

// Empty fragments never reach a limit of bytes.
func TestWSFragmentFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		began := time.Now()
		var flood sync.WaitGroup
		defer flood.Wait()
		defer s.net.Close()
		flood.Go(func() {
			_, err := s.net.Write(frame(1, true, nil))
			for err == nil {
				time.Sleep(10 * time.Millisecond)
				_, err = s.net.Write(frame(0, true, nil))
			}
		})
		if code, _ := s.closed(); code != 1008 || time.Since(began) > 16*time.Second {
			t.Errorf("closed with %d after %v", code, time.Since(began))
		}
	})
}
