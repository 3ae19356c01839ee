package client_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
)

// What is too large to be read costs its own channel a reset, or the roster. The
// other channels, and the connection, go on.
func TestTooLarge(t *testing.T) {
	large := strings.Repeat("x", 9<<20)
	for name, test := range map[string]struct{ frame, room, who string }{
		"a message": {`{"event":"message","channel":"room","data":"` + large + `","id":"1.2"}`, "reset:too_large b", "join:ada"},
		"a roster":  {`{"event":"presence.state","channel":"room","members":[{"userId":"` + large + `"}],"cursor":"1.1"}`, "error:client: too_large: ", "error:client: too_large: "},
		"among others in one message": {`{"event":"message","channel":"hall","data":"x","id":"1.2"}` + "\n" +
			`{"event":"message","channel":"room","data":"` + large + `","id":"1.3"}` + "\n" + `{"event":"message","channel":"hall","data":"y","id":"1.4"}`, "reset:too_large b", "join:ada"},
		"of a channel that was not asked for": {`{"event":"message","channel":"other","data":"` + large + `","id":"1.2"}`, "b", "join:ada"},
	} {
		bubble(t, name, func(t *testing.T) {
			n := newNetwork(t, script(func(_ int, o operation) string {
				text := agree(o)
				if o.Op == "subscribe" && o.Presence {
					text = strings.Replace(text, `"members":[]`, `"members":[{"userId":"ada"}]`, 1)
				}
				if o.Op == "publish" {
					text += "\n" + test.frame + "\n" + `{"event":"message","channel":"room","data":"b","id":"1.5"}` + "\n" + `{"event":"message","channel":"hall","data":"z","id":"1.6"}`
				}
				return text
			}))
			rt := n.realtime(nil)
			room, who, hall := messages(t, rt, "room"), changes(t, rt, "room"), messages(t, rt, "hall")
			synctest.Wait()
			must(t, rt.Publish(t.Context(), "hall", 1))
			want := "z"
			if strings.HasPrefix(name, "among") {
				want = "x y z"
			}
			hall.want(t, want)
			if name == "a roster" {
				room.want(t, "b") // messages are no part of it
				if got := who.take(); !strings.HasPrefix(strings.TrimPrefix(got, "join:ada "), test.who) || !who.ended() {
					t.Errorf("the watcher was told %.100q", got)
				}
			} else {
				room.want(t, test.room)
				who.want(t, test.who)
			}
			time.Sleep(time.Minute)
			if tries := len(n.asked()); tries > 2 { // one more, after a minute of silence
				t.Errorf("%d connections in a minute", tries)
			}
		})
	}

}

func TestTooLargeEachTime(t *testing.T) {
	large := strings.Repeat("x", 9<<20)
	bubble(t, "a roster that is too large each time is asked for once", func(t *testing.T) {
		subscribes := 0
		n := newNetwork(t, script(func(_ int, o operation) string {
			if o.Op == "subscribe" {
				subscribes++
			}
			return strings.Replace(agree(o), `"members":[]`, `"members":[{"userId":"`+large+`"}]`, 1)
		}))
		rt := n.realtime(nil)
		who := changes(t, rt, "room")
		must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
		time.Sleep(30 * time.Second)
		if got := who.take(); !strings.HasPrefix(got, "error:client: too_large: ") || subscribes != 1 || len(n.asked()) != 1 {
			t.Errorf("after %d subscribes on %d connections the watcher was told %.100q", subscribes, len(n.asked()), got)
		}
	})

	bubble(t, "of an unknown kind: in each channel something is missing, and the waits grow", func(t *testing.T) {
		n := newNetwork(t, script(func(_ int, o operation) string {
			text := agree(o)
			if o.Op == "subscribe" {
				text += "\n" + `{"data":"` + large
			}
			return text
		}))
		loop := messages(t, n.realtime(nil), "room")
		time.Sleep(time.Minute)
		if tries := len(n.asked()); tries < 3 || tries > 25 || !strings.HasPrefix(loop.take(), "reset:unknown") {
			t.Errorf("%d connections in a minute", tries)
		}
	})
}

// A roster of any size arrives, and nothing else waits for it.
func TestLargeRoster(t *testing.T) {
	bubble(t, "9,000 members of 1 KiB", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		metadata := strings.Repeat("m", 1000)
		for i := range 9000 {
			must(t, h.Presence().Join(context.Background(), "room", fmt.Sprintf("user-%d", i), metadata))
		}
		rt := h.realtime(nil)
		hall := messages(t, rt, "hall")
		who := rt.Presence("room").Events(t.Context())
		synctest.Wait()
		for i := range 40 {
			h.publish("hall", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		if got := strings.Fields(hall.take()); len(got) != 40 {
			t.Errorf("%d messages of another channel", len(got))
		}
		if n := len(rt.Presence("room").Members()); n != 9000 || len(h.asked()) != 1 {
			t.Errorf("%d members, %d connections", n, len(h.asked()))
		}
		n := 0
		for c, err := range who {
			if err != nil || c.Type != "join" {
				t.Errorf("%v %v", c, err)
			}
			if n++; n == 9000 {
				break
			}
		}
	})
}

// slowConn sends 5 KiB a second.
type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (n int, err error) {
	for part := range slices.Chunk(p, 512) {
		time.Sleep(100 * time.Millisecond)
		m, err := c.Conn.Write(part)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// A link that is slow, but moves on, is not given up.
func TestSlowLink(t *testing.T) {
	bubble(t, "1 MB down in 90 s", func(t *testing.T) {
		n := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"maravilla.realtime.v1"}})
			if err != nil {
				return
			}
			defer ws.CloseNow()
			ctx := context.Background()
			_, _, _ = ws.Read(ctx)
			_ = ws.Write(ctx, websocket.MessageText, []byte(`{"event":"hello","limits":{"message":65536,"rate":30,"burst":60}}`))
			_, _, _ = ws.Read(ctx)
			out, err := ws.Writer(ctx, websocket.MessageText)
			if err != nil {
				return
			}
			_, _ = out.Write([]byte(`{"event":"subscribed","ref":1,"channel":"room","state":"fresh","cursor":"1.1"}` + "\n" + `{"event":"message","channel":"room","data":"`))
			for range 90 {
				time.Sleep(time.Second)
				_, _ = out.Write([]byte(strings.Repeat("x", 12<<10)))
			}
			_, _ = out.Write([]byte(`","id":"1.2"}`))
			_ = out.Close()
			_, _, _ = ws.Read(ctx)
		}))
		loop := messages(t, n.realtime(nil), "room")
		time.Sleep(100 * time.Second)
		if got := loop.take(); len(got) != 90*12<<10 || len(n.asked()) != 1 {
			t.Errorf("%d bytes came, on %d connections", len(got), len(n.asked()))
		}
	})

	bubble(t, "60 KB up in pieces", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		transport := h.http.Transport.(*http.Transport)
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := h.listen.Dial(ctx, network, addr)
			return slowConn{c}, err
		}
		rt := h.realtime(nil)
		began := time.Now()
		must(t, rt.Publish(t.Context(), "room", strings.Repeat("x", 60<<10)))
		if took := time.Since(began); len(h.asked()) != 1 || took < 11*time.Second {
			t.Errorf("%d connections in %v", len(h.asked()), took)
		}
	})
}
