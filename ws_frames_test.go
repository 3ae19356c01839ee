package realtime_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// A client of another version is told which one is spoken: RFC 6455, section 4.2.2.
func TestWSVersions(t *testing.T) {
	for _, versions := range [][]string{{"0"}, {"7"}, {"8"}, {"12"}, {"14"}, {"013"}, {"x"}, {""}, {"13, 12"}, {"13", "12"}, nil} {
		bubble(t, fmt.Sprint(versions), func(t *testing.T) {
			h := start(t, open(), nil)
			ask := get("/realtime", upgrade...)
			if ask.header.Del("Sec-WebSocket-Version"); versions != nil {
				ask.header["Sec-Websocket-Version"] = versions
			}
			resp := h.do(t.Context(), ask)
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if f := testkit.ParseRefusal(t, body); f.Code != "bad_request" || *f.Retry {
				t.Errorf("%+v", f)
			}
			if v := resp.Header.Get("Sec-WebSocket-Version"); resp.StatusCode != http.StatusUpgradeRequired || v != "13" || resp.Header.Get("Upgrade") != "websocket" {
				t.Errorf("%s with version %q", resp.Status, v)
			}
		})
	}
	bubble(t, "HTTP/1.0", func(t *testing.T) {
		h := start(t, open(), nil)
		conn, err := h.listener.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask := "GET /realtime HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		go io.WriteString(conn, ask)
		answer, _ := io.ReadAll(conn)
		if !bytes.Contains(answer, []byte(" 426 ")) || !bytes.Contains(answer, []byte(`"code":"bad_request"`)) {
			t.Errorf("%s", answer)
		}
	})
}

// noise is frames that carry no operation, or hardly any of one.
var noise = map[string][]byte{
	"pings":                  frame(0x89, true, []byte("x")),
	"empty pings":            frame(0x89, true, nil),
	"pongs":                  frame(0x8A, true, bytes.Repeat([]byte("x"), 125)),
	"empty messages":         frame(0x81, true, nil),
	"empty fragments":        slices.Concat(frame(1, true, nil), bytes.Repeat(frame(0, true, nil), 100), frame(0x80, true, nil)),
	"small fragments":        slices.Concat(frame(1, true, []byte("{")), bytes.Repeat(frame(0, true, []byte(" ")), 100), frame(0x80, true, []byte("}"))),
	"messages":               frame(0x81, true, []byte(`{"op":"ping"}`)),
	"pings within a message": slices.Concat(frame(1, true, []byte("{")), frame(0x89, true, nil), frame(0x80, true, []byte("}"))),
}

// A client that floods is cut with 1008, whatever the frames are, and nobody else.
func TestWSFloods(t *testing.T) {
	t.Parallel()
	for name, raw := range noise {
		for _, pause := range []time.Duration{0, time.Second / 160} {
			bubble(t, fmt.Sprint(name, " every ", pause), func(t *testing.T) {
				h := start(t, open(), nil)
				s, other := h.socket(get("/realtime")), h.socket(get("/realtime"))
				began := time.Now()
				var flood sync.WaitGroup
				defer flood.Wait()
				defer s.net.Close()
				flood.Go(func() {
					_, err := s.net.Write(raw)
					for err == nil {
						time.Sleep(pause)
						_, err = s.net.Write(raw)
					}
				})
				if code, _ := s.closed(); code != 1008 || time.Since(began) > 10*time.Second {
					t.Errorf("closed with %d after %v", code, time.Since(began))
				}
				other.ok(`"op":"ping"`)
			})
		}
	}
}

// A user's connections together have a limit too, so that many of them, each
// within its own, are no way around it.
func TestWSFloodOfAUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var pinging sync.WaitGroup
		defer pinging.Wait()
		// ping opens a connection that pings as often as one may, for a minute, and
		// returns what it got when that is over.
		ping := func(header ...string) *bytes.Buffer {
			s, got := h.dialStalled(get("/realtime", header...)), &bytes.Buffer{}
			s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
			pinging.Go(func() { _, _ = io.Copy(got, s.net) })
			pinging.Go(func() {
				defer s.net.Close()
				for range 60 * 100 {
					time.Sleep(time.Second / 100)
					if _, err := s.net.Write(frame(0x89, true, nil)); err != nil {
						return
					}
				}
			})
			return got
		}
		var theirs []*bytes.Buffer
		for range 20 {
			theirs = append(theirs, ping("Authorization", asAda))
		}
		others := []*bytes.Buffer{ping("Authorization", "Bearer bob"), ping()}
		pinging.Wait()
		flood := func(got *bytes.Buffer) bool { return bytes.Contains(got.Bytes(), []byte("\x03\xf0too many frames")) }
		cut := 0
		for _, got := range theirs {
			if flood(got) {
				cut++
			}
		}
		if cut < 8 || cut > 12 {
			t.Errorf("%d of 20 connections are cut; the user may have 12 at this rate", cut)
		}
		if flood(others[0]) || flood(others[1]) {
			t.Error("others are cut")
		}
	})
}

// The traffic of honest clients is not taken for a flood.
func TestWSNoFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		time.Sleep(time.Second / 2) // on a connection without buffers two pings must not cross
		for range 60 {              // a minute of pings, and of operations as fast as they may come
			time.Sleep(time.Second)
			if err := s.ws.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 30 {
				s.ok(`"op":"ping"`)
			}
		}
		time.Sleep(time.Minute)
		for range 60 { // the whole burst, in fragments of 4 KiB as some libraries send them
			msg := []byte(`{"op":"publish","ref":1,"channel":"room","data":"` + strings.Repeat("x", 60<<10) + `"}`)
			raw := frame(1, true, msg[:4<<10])
			for msg = msg[4<<10:]; len(msg) > 4<<10; msg = msg[4<<10:] {
				raw = append(raw, frame(0, true, msg[:4<<10])...)
			}
			raw = slices.Concat(raw, frame(0, true, msg), frame(0x80, true, nil))
			if _, err := s.net.Write(raw); err != nil {
				t.Fatal(err)
			}
			if o := s.next(); o.Event != "ok" {
				t.Fatalf("%s", o.raw)
			}
		}
	})
}

// modem reads so many bytes a second.
type modem struct {
	io.ReadCloser
	rate int
}

func (s modem) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), s.rate)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// Over slow links everything arrives, in both directions, and the connection lives
// on: what counts is progress.
func TestSlowLinks(t *testing.T) {
	t.Parallel()
	bubble(t, "60 KB up at 5 KB/s", slowLinkUp)
	bubble(t, "60 KB up at 1.2 KB/s, in one frame", slowFrameUp)
	bubble(t, "1 MB down at 12 KB/s, WS", slowLinkDownWS)
	bubble(t, "1 MB down at 12 KB/s, REN", slowLinkDownREN)
}

func slowLinkUp(t *testing.T) {
	h := start(t, open(), nil)
	s, watch := h.socket(get("/realtime")), h.ren(get("/ren"))
	data := strings.Repeat("x", 60<<10)
	raw := frame(0x81, true, []byte(`{"op":"publish","ref":1,"channel":"room","data":"`+data+`"}`))
	for ; len(raw) > 0; raw = raw[min(len(raw), 5<<10):] {
		if _, err := s.net.Write(raw[:min(len(raw), 5<<10)]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	if o := s.next(); o.Event != "ok" {
		t.Errorf("%s", o.raw)
	}
	if got := watch.keys(1); len(got) != len(data)+2 {
		t.Errorf("%d bytes", len(got))
	}
}

// A browser cannot answer a ping within a frame. What comes of the frame says meanwhile
// that the client is there.
func slowFrameUp(t *testing.T) {
	h := start(t, open(), nil)
	s, watch := h.dialStalled(get("/realtime")), h.ren(get("/ren"))
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	got := drain(s.net, 0) // and answers no ping
	data := strings.Repeat("x", 60<<10)
	raw := frame(0x81, true, []byte(`{"op":"publish","ref":1,"channel":"room","data":"`+data+`"}`))
	for ; len(raw) > 0; raw = raw[min(len(raw), 120):] {
		if _, err := s.net.Write(raw[:min(len(raw), 120)]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := watch.keys(1); len(got) != len(data)+2 {
		t.Errorf("%d bytes", len(got))
	}
	s.net.Close()
	<-got.ended
}

func slowLinkDownWS(t *testing.T) {
	data := strings.Repeat("x", 1<<20-100)
	h := start(t, open(), nil)
	s := h.dialStalled(get("/realtime"))
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	s.send(`{` + subscribe("room") + `}`)
	link := modem{s.net, 12 << 10}
	got := make(chan int)
	go func() {
		n, err := 0, error(nil)
		for b := make([]byte, 1<<20); err == nil && n < len(data); {
			var m int
			m, err = link.Read(b)
			n += m
		}
		got <- n
	}()
	time.Sleep(5 * time.Second)
	h.publish("room", data)
	time.Sleep(10 * time.Second)
	// A client that asks whether the server is there gets its answer meanwhile.
	if _, err := s.net.Write(frame(0x89, true, []byte("there?"))); err != nil {
		t.Error(err)
	}
	if n := <-got; n < len(data) {
		t.Errorf("%d bytes of %d", n, len(data))
	}
}

func slowLinkDownREN(t *testing.T) {
	data := strings.Repeat("x", 1<<20-100)
	h := start(t, open(), nil)
	s := h.renStalled(get("/ren"))
	s.resp.Body = modem{s.resp.Body, 12 << 10}
	s.pump()
	s.next()
	h.publish("room", data)
	ev, ok := s.any(3 * time.Minute)
	for ok && ev.Name == "ren.ping" {
		ev, ok = s.any(3 * time.Minute)
	}
	if len(ev.Data) != len(data)+2 {
		t.Errorf("%d bytes", len(ev.Data))
	}
	s.cut()
}

// A message that cannot make it ends with a reason, which is also logged for who
// looks closely.
func TestWSTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := make(lines, 10)
		debug := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Message: 100 << 10}, Logger: debug})
		s, got := h.dialStalled(get("/realtime")), &bytes.Buffer{}
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		began := time.Now()
		go func() {
			raw := frame(0x81, true, bytes.Repeat([]byte(" "), 90<<10))
			for err := error(nil); err == nil; raw = raw[500:] {
				_, err = s.net.Write(raw[:500])
				time.Sleep(time.Second)
			}
		}()
		_, _ = io.Copy(got, s.net)
		if took := time.Since(began); took < 110*time.Second || took > 115*time.Second {
			t.Errorf("closed after %v", took)
		}
		if want := "\x03\xf0message not complete in time"; !bytes.HasSuffix(got.Bytes(), []byte(want)) {
			t.Errorf("the last is %q, want %q", got, want)
		}
		if log := <-logged; !strings.Contains(log, "level=DEBUG") || !strings.Contains(log, "message not complete in time") {
			t.Errorf("logged: %s", log)
		}
		time.Sleep(2 * time.Second)
	})
}

// lines is what was logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
