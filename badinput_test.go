package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// long is input of which an error may not show more than 64 bytes.
var long = strings.Repeat("0123456789", 100)

// brief fails if a message shows too much of its input, or of the server.
func brief(t *testing.T, name, message string) {
	t.Helper()
	if strings.Contains(message, long[:65]) {
		t.Errorf("%s: the message shows more than 64 bytes of input: %s", name, message)
	}
	if len(message) > 512 || strings.ContainsAny(message, "\r\n\x00") {
		t.Errorf("%s: bad message %q", name, message)
	}
	for _, inside := range []string{".go:", "goroutine", "secret", "json:"} {
		if strings.Contains(message, inside) {
			t.Errorf("%s: the message shows internals: %s", name, message)
		}
	}
}

func many(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("d", i)
	}
	return strings.Join(names, ",")
}

func grantsNil() realtime.Policy {
	p := open()
	p.Grants = nil
	return p
}

func grantsFailing(err error) realtime.Policy {
	p := open()
	p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return nil, err }
	return p
}

func ofBadUser() realtime.Policy {
	p := open()
	p.Authenticate = func(*http.Request) (realtime.Identity, error) { return realtime.Identity{User: "a\nb"}, nil }
	return p
}

func upgrading(path string, header ...string) request {
	return get(path, append(header, upgrade...)...)
}

func asking(method, path string) request {
	r := get(path)
	r.method = method
	return r
}

type badRequest struct {
	name   string
	policy realtime.Policy
	ask    request
	status int
	code   string
	retry  bool
}

var badRENRequests = []badRequest{
	{"REN, empty domain", open(), get("/ren?s=kv,,db"), 400, "bad_request", false},
	{"REN, space", open(), get("/ren?s=kv,+db"), 400, "bad_request", false},
	{"REN, NUL", open(), get("/ren?s=kv%00"), 400, "bad_request", false},
	{"REN, not ASCII", open(), get("/ren?s=%C3%BC"), 400, "bad_request", false},
	{"REN, invalid UTF-8", open(), get("/ren?s=%FF"), 400, "bad_request", false},
	{"REN, reserved", open(), get("/ren?s=$x"), 400, "bad_request", false},
	{"REN, * and more", open(), get("/ren?s=*,kv"), 400, "bad_request", false},
	{"REN, long domain", open(), get("/ren?s=" + long), 400, "bad_request", false},
	{"REN, domain of 65", open(), get("/ren?s=" + long[:65]), 400, "bad_request", false},
	{"REN, 33 domains", open(), get("/ren?s=" + many(33)), 400, "too_many", false},
	{"REN, s twice", open(), get("/ren?s=kv&s=db"), 400, "bad_request", false},
	{"REN, lastEventId twice", open(), get("/ren?lastEventId=a&lastEventId=a"), 400, "bad_request", false},
	{"REN, cid twice", open(), get("/ren?cid=" + tab1 + "&cid=" + tab2), 400, "bad_request", false},
	{"REN, cid too short", open(), get("/ren?cid=short"), 400, "bad_request", false},
	{"REN, cid too long", open(), get("/ren?cid=" + long), 400, "bad_request", false},
	{"REN, bad client header", open(), get("/ren", "X-Ren-Client", "no client id, this"), 400, "bad_request", false},
	{"REN, malformed query", open(), get("/ren?s=%zz"), 400, "bad_request", false},
	{"REN, semicolon", open(), get("/ren?s=kv;lastEventId=x"), 400, "bad_request", false},
	{"REN, POST", open(), asking("POST", "/ren"), 405, "method", false},
	{"REN, DELETE", open(), asking("DELETE", "/ren"), 405, "method", false},
	{"REN, foreign origin", open(), get("/ren", "Origin", "https://evil.test"), 403, "origin", false},
	{"REN, nobody", realtime.Policy{}, get("/ren"), 401, "unauthorized", false},
	{"REN, not authenticated", open(), get("/ren", "Authorization", "Bearer bad"), 401, "unauthorized", false},
	{"REN, expired", open(), get("/ren", "Authorization", "Bearer expired"), 401, "expired", false},
	{"REN, expires now", expiring(0), get("/ren"), 401, "expired", false},
	{"REN, temporary", open(), get("/ren", "Authorization", "Bearer later"), 503, "unavailable", true},
	{"REN, no grants func", grantsNil(), get("/ren"), 403, "forbidden", false},
	{"REN, no grants", withGrants(), get("/ren"), 403, "forbidden", false},
	{"REN, grants fail", grantsFailing(errors.New("a secret")), get("/ren"), 403, "forbidden", false},
	{"REN, grants temporary", grantsFailing(realtime.ErrTemporary), get("/ren"), 503, "unavailable", true},
	{"REN, bad user of the policy", ofBadUser(), get("/ren"), 500, "internal", false},
}

var badWSRequests = []badRequest{
	{"WS, foreign origin", open(), upgrading("/realtime", "Origin", "https://evil.test"), 403, "origin", false},
	{"WS, nobody", realtime.Policy{}, upgrading("/realtime"), 401, "unauthorized", false},
	{"WS, not authenticated", open(), upgrading("/realtime", "Authorization", "Bearer bad"), 401, "unauthorized", false},
	{"WS, expired", open(), upgrading("/realtime", "Authorization", "Bearer expired"), 401, "expired", false},
	{"WS, expires now", expiring(0), upgrading("/realtime"), 401, "expired", false},
	{"WS, temporary", open(), upgrading("/realtime", "Authorization", "Bearer later"), 503, "unavailable", true},
	{"WS, foreign subprotocol", open(), upgrading("/realtime", "Sec-WebSocket-Protocol", "graphql-ws"), 400, "bad_request", false},
	{"WS, no upgrade", open(), get("/realtime"), 426, "bad_request", false},
	{"WS, old version", open(), get("/realtime", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 426, "bad_request", false},
	{"WS, no key", open(), get("/realtime", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"), 400, "bad_request", false},
	{"WS, POST", open(), asking("POST", "/realtime"), 405, "method", false},
	{"elsewhere", open(), get("/api/maravilla/nothing"), 404, "not_found", false},
	{"above", open(), get("/"), 404, "not_found", false},
}

func TestBadRequests(t *testing.T) {
	for _, c := range slices.Concat(badRENRequests, badWSRequests) {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, c.policy, nil)
			status, f := h.refused(c.ask)
			if status != c.status || f.Code != c.code || f.Retry == nil || *f.Retry != c.retry {
				t.Errorf("%d %+v, want %d %s", status, f, c.status, c.code)
			}
			brief(t, c.name, f.Message)
		})
	}
}

// A refusal says when to come back, and how to ask.
func TestRefusalHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		r := get("/ren")
		r.method = "PUT"
		for _, c := range []struct {
			ask         request
			name, value string
		}{
			{get("/ren", "Authorization", "Bearer later"), "Retry-After", "5"},
			{get("/ren", "Authorization", "Bearer later"), "Cache-Control", "no-store"},
			{get("/ren", "Authorization", "Bearer bad"), "Retry-After", ""},
			{r, "Allow", "GET, OPTIONS"},
		} {
			resp := h.do(t.Context(), c.ask)
			resp.Body.Close()
			if got := resp.Header.Get(c.name); got != c.value {
				t.Errorf("%s: %q, want %q", c.name, got, c.value)
			}
		}
	})
}

// nested is an array in n-1 others.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

var badOperations = []struct{ name, frame, code string }{
	{"not JSON", `nonsense`, "bad_json"},
	{"empty", ``, "bad_json"},
	{"NUL", "\x00", "bad_json"},
	{"array", `[]`, "bad_json"},
	{"string", `"ping"`, "bad_json"},
	{"null", `null`, "bad_json"},
	{"cut off", `{"op":"ping"`, "bad_json"},
	{"two objects", `{"op":"ping"}{"op":"ping"}`, "bad_json"},
	{"two lines", "{\"op\":\"ping\"}\n{\"op\":\"ping\"}", "bad_json"},
	{"garbage after it", `{"op":"ping"}x`, "bad_json"},
	{"trailing comma", `{"op":"ping",}`, "bad_json"},
	{"name without quotes", `{op:"ping"}`, "bad_json"},
	{"NaN", `{"op":"publish","channel":"room","data":NaN}`, "bad_json"},
	{"depth 65", `{"op":"publish","channel":"room","data":` + nested(64) + `}`, "bad_json"},
	{"depth 30,000", strings.Repeat(`[`, 30_000), "bad_json"},
	{"depth 10,000", `{"op":"publish","channel":"room","data":` + nested(10_000) + `}`, "bad_json"},
	{"no op", `{}`, "unknown_op"},
	{"op null", `{"op":null}`, "unknown_op"},
	{"op number", `{"op":1}`, "bad_request"},
	{"op object", `{"op":{}}`, "bad_request"},
	{"ref string", `{"op":"ping","ref":"1"}`, "bad_request"},
	{"ref fraction", `{"op":"ping","ref":1.5}`, "bad_request"},
	{"ref beyond", `{"op":"ping","ref":1e99}`, "bad_request"},
	{"channel number", `{"op":"subscribe","channel":1}`, "bad_request"},
	{"channel array", `{"op":"subscribe","channel":["a"]}`, "bad_request"},
	{"presence string", `{"op":"subscribe","channel":"room","presence":"yes"}`, "bad_request"},
	{"since number", `{"op":"subscribe","channel":"room","since":1}`, "bad_request"},
	{"duplicate op", `{"op":"ping","op":"ping"}`, "bad_request"},
	{"duplicate channel", `{"op":"subscribe","channel":"room","channel":"secret:room"}`, "bad_request"},
	{"escaped duplicate", `{"op":"subscribe","channel":"room","\u0063hannel":"other"}`, "bad_request"},
	{"duplicate unknown", `{"op":"ping","x":1,"x":2}`, "bad_request"},
	{"other case", `{"op":"subscribe","Channel":"room"}`, "bad_request"},
	{"other case beside", `{"op":"subscribe","channel":"room","CHANNEL":"other"}`, "bad_request"},
	{"folded case", `{"op":"ping","tokeN":"x"}`, "bad_request"},
	{"Kelvin sign", `{"op":"ping","to\u212aen":"x"}`, "bad_request"},
	{"long s", `{"op":"subscribe","channel":"room","\u017fince":"x"}`, "bad_request"},
	{"unknown op", `{"op":"dance"}`, "unknown_op"},
	{"long op", `{"op":"` + long + `"}`, "unknown_op"},
	{"op in capitals", `{"op":"PING"}`, "unknown_op"},
	{"no channel", `{"op":"subscribe"}`, "bad_channel"},
	{"empty channel", `{"op":"subscribe","channel":""}`, "bad_channel"},
	{"reserved channel", `{"op":"subscribe","channel":"$sys"}`, "bad_channel"},
	{"control characters", `{"op":"subscribe","channel":"a\nb"}`, "bad_channel"},
	{"NUL in a channel", `{"op":"subscribe","channel":"a\u0000"}`, "bad_channel"},
	{"C1 in a channel", `{"op":"subscribe","channel":"a\u0085"}`, "bad_channel"},
	{"long channel", `{"op":"subscribe","channel":"` + long[:256] + `"}`, "bad_channel"},
	{"very long channel", `{"op":"publish","channel":"` + long + `","data":1}`, "bad_channel"},
	{"unsubscribe, bad channel", `{"op":"unsubscribe","channel":""}`, "bad_channel"},
	{"join, bad channel", `{"op":"join","channel":"$x"}`, "bad_channel"},
	{"leave, bad channel", `{"op":"leave","channel":"$x"}`, "bad_channel"},
	{"bad cid", `{"op":"publish","channel":"room","data":1,"cid":"short"}`, "bad_request"},
	{"long cid", `{"op":"publish","channel":"room","data":1,"cid":"` + long + `"}`, "bad_request"},
	{"no data", `{"op":"publish","channel":"room"}`, "bad_request"},
	{"long id", `{"op":"publish","channel":"room","data":1,"id":"` + long + `"}`, "too_large"},
	{"someone else", `{"op":"join","channel":"room","userId":"bob"}`, "user_mismatch"},
	{"someone else, long", `{"op":"join","channel":"room","userId":"` + long[:200] + `"}`, "user_mismatch"},
	{"update of someone else", `{"op":"update","channel":"room","userId":"bob","metadata":1}`, "user_mismatch"},
	{"leave of someone else", `{"op":"leave","channel":"room","userId":"bob"}`, "user_mismatch"},
	{"long user id", `{"op":"join","channel":"room","userId":"` + long + `"}`, "bad_request"},
	{"user id with a line break", `{"op":"join","channel":"room","userId":"a\nb"}`, "bad_request"},
	{"update without join", `{"op":"update","channel":"room","metadata":1}`, "not_joined"},
	{"large metadata", `{"op":"join","channel":"room","metadata":"` + strings.Repeat("x", 1023) + `"}`, "too_large"},
}

// Bad frames are answered, and the connection stays open.
func TestBadOperations(t *testing.T) {
	t.Parallel()
	for _, c := range badOperations {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), nil)
			s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
			s.send(c.frame)
			o := s.next()
			if f := testkit.ParseRefusal(t, withoutEvent(t, o.raw)); o.Event != "error" || f.Code != c.code || *f.Retry {
				t.Errorf("%s, want %s", o.raw, c.code)
			}
			brief(t, c.name, o.Message)
			s.nothing()
			s.ok(`"op":"ping"`, subscribe("room"))
			if channels, err := h.Channels(t.Context()); err != nil || len(channels) != 1 {
				t.Errorf("channels: %q %v", channels, err)
			}
		})
	}
}

// withoutEvent removes what an error frame has beside an error body.
func withoutEvent(t *testing.T, raw string) []byte {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(raw), &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "event")
	delete(members, "ref")
	b, _ := json.Marshal(members)
	return b
}

// Operations that look odd and are allowed.
func TestOddOperations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, op string }{
		{"channel of 255", `{"ref":1,"op":"subscribe","channel":"` + long[:255] + `"}`},
		{"channel in other scripts", `{"ref":1,"op":"subscribe","channel":"räume:💬"}`},
		{"channel of a space", `{"ref":1,"op":"subscribe","channel":" "}`},
		{"unknown members", `{"ref":1,"op":"ping","later":{"a":[1]}}`},
		{"white space", " \n {\"ref\" : 1 , \"op\" : \"ping\"}\r\n "},
		{"escapes", `{"\u0072ef":1,"\u006fp":"p\u0069ng"}`},
		{"negative ref", `{"ref":-1,"op":"ping"}`},
		{"null members", `{"ref":1,"op":"subscribe","channel":"room","since":null,"presence":null,"cid":null}`},
		{"depth 64", `{"ref":1,"op":"publish","channel":"room","data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`},
		{"brackets in strings", `{"ref":1,"op":"publish","channel":"room","data":"` + strings.Repeat(`[{\"`, 100) + `"}`},
		{"half a surrogate pair", `{"ref":1,"op":"publish","channel":"room","data":"\ud800"}`},
		{"metadata at its limit", `{"ref":1,"op":"join","channel":"room","metadata":"` + strings.Repeat("x", 1022) + `"}`},
		{"own user id", `{"ref":1,"op":"join","channel":"room","userId":"ada"}`},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), nil)
			s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
			s.send(c.op)
			if o := s.next(); o.Ref == nil || o.Event == "error" {
				t.Errorf("%s", o.raw)
			}
		})
	}
	bubble(t, "anonymous", func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		if o := s.call(`"op":"join","channel":"room"`); o.Code != "bad_request" {
			t.Errorf("%s", o.raw)
		}
		if o := s.call(`"op":"join","channel":"room","userId":"ada"`); o.Code != "user_mismatch" {
			t.Errorf("%s", o.raw)
		}
	})
}

// Requests that no client library sends.
func TestRawRequests(t *testing.T) {
	for _, c := range []struct{ name, request, status string }{
		{"NUL in Last-Event-ID", "GET /ren HTTP/1.1\r\nHost: h\r\nLast-Event-ID: a\x00b\r\n\r\n", "HTTP/1.1 400"},
		{"two Last-Event-IDs", "GET /ren HTTP/1.1\r\nHost: h\r\nLast-Event-ID: a\r\nLast-Event-ID: b\r\n\r\n", "HTTP/1.1 200"},
		{"UTF-8 in Last-Event-ID", "GET /ren HTTP/1.1\r\nHost: h\r\nLast-Event-ID: \xc3\xbc\xff\r\n\r\n", "HTTP/1.1 200"},
		{"HTTP/1.0", "GET /ren HTTP/1.0\r\n\r\n", "HTTP/1.0 200"},
		{"body with GET", "GET /ren HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), nil)
			conn, err := h.listener.Dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go conn.Write([]byte(c.request))
			status := make([]byte, 12)
			if _, err := io.ReadFull(conn, status); err != nil || string(status) != c.status {
				t.Errorf("%q %v, want %s", status, err, c.status)
			}
		})
	}
}

// A policy that panics costs one connection.
func TestPanickingPolicy(t *testing.T) {
	for _, where := range []string{"Allow", "See"} {
		bubble(t, where, func(t *testing.T) {
			p := open()
			switch where {
			case "Allow":
				p.Allow = func(_ context.Context, id realtime.Identity, _ realtime.Action) error {
					if id.User == "ada" {
						panic("a secret of Allow")
					}
					return nil
				}
			case "See":
				p.See = func(id realtime.Identity, _ realtime.RenEvent) bool {
					if id.User == "ada" {
						panic("a secret of See")
					}
					return true
				}
			}
			h := start(t, p, nil)
			bob, ada := h.socket(get("/realtime", "Authorization", "Bearer bob")), h.socket(get("/realtime", "Authorization", "Bearer ada"))
			bob.ok(subscribe("room"))
			ada.ask(subscribe("room"))
			stream, other := h.ren(get("/ren", "Authorization", "Bearer ada")), h.ren(get("/ren"))
			synctest.Wait()
			h.publish("room", 1)
			if code, last := ada.closed(); code != 1011 || strings.Contains(fmt.Sprint(last), "secret") {
				t.Errorf("closed with %d, last %+v", code, last)
			}
			if where == "See" {
				stream.ended()
			}
			if got := bob.data(1) + other.keys(1); got != "11" {
				t.Error(got)
			}
			if log := h.logs.String(); strings.Count(log, "a secret of "+where) == 0 || !strings.Contains(log, "goroutine") {
				t.Errorf("the log does not tell of the panic: %s", log)
			}
		})
	}
}
