package client_test

import (
	"strings"
	"testing"
	"time"
)

// What cannot be read is missed, and so is told; what is not known is ignored.
func TestRenGarbage(t *testing.T) {
	const hello = "event: ren.hello\nid: 1.1\ndata: {\"state\":\"fresh\"}\n\n"
	const reset = "event: ren.hello\nid: 2.1\ndata: {\"state\":\"reset\",\"reason\":\"unknown\"}\n\n"
	for name, garbage := range map[string]string{
		"not JSON":      "id: 1.2\ndata: {\n\n",
		"not an object": "id: 1.2\ndata: []\n\n",
		"null":          "id: 1.2\ndata: null\n\n",
		"wrong types":   "id: 1.2\ndata: {\"t\":1}\n\n",
		"a bad hello":   "event: ren.hello\nid: 1.2\ndata: hello\n\n",
		"a bad bye":     "event: ren.bye\nid: 1.2\ndata: {\"retryMs\":\"soon\"}\n\n",
	} {
		bubble(t, name, func(t *testing.T) {
			n := newNetwork(t, answers(stream(hello+garbage), stream(reset+"id: 2.2\ndata: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\"}\n\n")))
			r, loop := n.ren(nil)
			time.Sleep(10 * time.Second)
			loop.want(t, "reset:unknown a")
			if asked := n.asked(); len(asked) != 2 || asked[1].Header.Get("Last-Event-ID") == "1.1" {
				t.Errorf("%d streams; the second after the readable events", len(asked))
			}
			if r.Cursor() != "2.2" {
				t.Errorf("cursor %q", r.Cursor())
			}
		})
	}

	bubble(t, "too large", func(t *testing.T) {
		large := "id: 1.2\ndata: {\"t\":\"" + strings.Repeat("x", 9<<20) + "\"}\n\n"
		n := newNetwork(t, stream(hello+large+"data: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\"}\n\n"))
		r, loop := n.ren(nil)
		time.Sleep(10 * time.Second)
		loop.want(t, "reset:too_large a")
		if len(n.asked()) != 1 || r.Cursor() != "1.2" {
			t.Errorf("%d streams, cursor %q", len(n.asked()), r.Cursor())
		}
	})
	bubble(t, "unknown events", func(t *testing.T) {
		n := newNetwork(t, stream(hello+"event: ren.new\nid: 1.5\ndata: {{{\n\n:comment\n\nfoo: bar\n\ndata: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\",\"new\":{}}\n\n"))
		r, loop := n.ren(nil)
		loop.want(t, "a")
		if r.Cursor() != "1.5" {
			t.Errorf("cursor %q", r.Cursor())
		}
	})
	bubble(t, "a cursor that no header can carry", func(t *testing.T) {
		odd := answer(200, hello+"id: 1\x012\ndata: {\"t\":\"x\",\"k\":\"a\"}\n\n", "Content-Type", "text/event-stream")
		n := newNetwork(t, answers(odd, stream(reset)))
		_, loop := n.ren(nil)
		time.Sleep(10 * time.Second)
		loop.want(t, "a reset:unknown")
	})
	bubble(t, "half an event does not move the cursor", func(t *testing.T) {
		cut := answer(200, hello+"id: 1.2\ndata: {\"t\":\"x\",\"k\":\"a\"}\n\nid: 1.3\ndata: {\"t\":\"x\"}\n", "Content-Type", "text/event-stream")
		n := newNetwork(t, answers(cut, stream(strings.Replace(hello, "fresh", "resumed", 1))))
		_, loop := n.ren(nil)
		time.Sleep(10 * time.Second)
		loop.want(t, "a")
		if got := n.asked()[1].Header.Get("Last-Event-ID"); got != "1.2" {
			t.Errorf("it continues after %q", got)
		}
	})
	bubble(t, "a server sends nobody away for ever", func(t *testing.T) {
		bye := answer(200, hello+"retry: 99999999999\nevent: ren.bye\nid: 1.1\ndata: {\"reason\":\"rotate\",\"retryMs\":99999999999}\n\n", "Content-Type", "text/event-stream")
		n := newNetwork(t, answers(bye, stream(hello)))
		n.ren(nil)
		time.Sleep(301 * time.Second)
		if len(n.asked()) != 2 {
			t.Error("not back after five minutes")
		}
	})
}
