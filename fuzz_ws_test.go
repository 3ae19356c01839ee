package realtime_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
)

// Whatever bytes come over a WebSocket, they hurt that connection at most.
func FuzzWebSocket(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(frame(0x81, true, []byte(`{"op":"subscribe","channel":"room","presence":true}`)), true)
	f.Add(append(frame(1, true, []byte(`{"op":`)), frame(0x80, true, []byte(`"ping"}`))...), true)
	f.Add(frame(0x82, true, []byte("binary")), false)
	f.Add(frame(0x88, true, []byte{3, 0xe8}), true)
	h := start(f, open(), &realtime.Options{Limits: noLimits.Limits, Presence: realtime.PresenceOptions{CloseGrace: time.Millisecond, DropGrace: time.Millisecond}})
	other := h.socket(get("/realtime", "Authorization", "Bearer bob"))
	f.Fuzz(func(t *testing.T, bytes []byte, greeted bool) {
		conn, err := h.listener.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		ws, _, err := websocket.Dial(t.Context(), "ws://host.test/realtime", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport}, HTTPHeader: get("", "Authorization", asAda).header,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		go func() {
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					return
				}
			}
		}()
		if greeted {
			_ = ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"hello","cid":"`+tab1+`"}`))
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // the server may have stopped reading
		_, _ = conn.Write(bytes)
		conn.Close()
		other.t = t
		other.ok(`"op":"ping"`)
		if log := h.logs.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
			t.Errorf("logged: %s", log)
		}
	})
}
