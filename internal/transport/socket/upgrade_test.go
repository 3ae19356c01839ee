package socket

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What is no handshake of RFC 6455, section 4.2.1, is refused.
func TestCheckUpgrade(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ==" // 16 bytes
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int // 0: it is accepted
	}{
		"as it should be":    {func(*http.Request) {}, 0},
		"a list":             {func(r *http.Request) { r.Header.Set("Connection", "keep-alive, Upgrade") }, 0},
		"several lines":      {func(r *http.Request) { r.Header["Connection"] = []string{"keep-alive", "upgrade"} }, 0},
		"our subprotocol":    {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Protocol", "other, maravilla.realtime.v1") }, 0},
		"POST":               {func(r *http.Request) { r.Method = "POST" }, 405},
		"no Connection":      {func(r *http.Request) { r.Header.Del("Connection") }, 426},
		"no Upgrade":         {func(r *http.Request) { r.Header.Del("Upgrade") }, 426},
		"h2c":                {func(r *http.Request) { r.Header.Set("Upgrade", "h2c") }, 426},
		"HTTP/1.0":           {func(r *http.Request) { r.ProtoMinor = 0 }, 426},
		"version 8":          {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 426},
		"two versions":       {func(r *http.Request) { r.Header["Sec-Websocket-Version"] = []string{"13", "13"} }, 426},
		"no key":             {func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }, 400},
		"15 bytes":           {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j") }, 400},
		"16, and no end":     {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", key+"!") }, 400},
		"two keys":           {func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", key) }, 400},
		"a foreign protocol": {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Protocol", "graphql-ws") }, 400},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
		} {
			r.Header.Set(name, value)
		}
		c.change(r)
		w := httptest.NewRecorder()
		f := CheckUpgrade(w, r)
		status := 0
		if f != nil {
			status = f.Status
		}
		if status != c.status || (status == 426) != (w.Header().Get("Sec-WebSocket-Version") == "13") {
			t.Errorf("%s: %d %v, want %d", name, status, w.Header(), c.status)
		}
	}
}
