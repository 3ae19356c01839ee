package client_test

import (
	"strings"
	"testing"
	"time"
)

const (
	garbageHello = "event: ren.hello\nid: 1.1\ndata: {\"state\":\"fresh\"}\n\n"
	garbageReset = "event: ren.hello\nid: 2.1\ndata: {\"state\":\"reset\",\"reason\":\"unknown\"}\n\n"
)

// What cannot be read is missed, and so is told; what is not known is ignored.
func TestRenGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"not JSON":           "id: 1.2\ndata: {\n\n",
		"not an object":      "id: 1.2\ndata: []\n\n",
		"null":               "id: 1.2\ndata: null\n\n",
		"wrong types":        "id: 1.2\ndata: {\"t\":1}\n\n",
		"a bad garbageHello": "event: ren.hello\nid: 1.2\ndata: garbageHello\n\n",
		"a bad bye":          "event: ren.bye\nid: 1.2\ndata: {\"retryMs\":\"soon\"}\n\n",
	} {
		bubble(t, name, func(t *testing.T) {
			n := newNetwork(t, answers(stream(garbageHello+garbage), stream(garbageReset+"id: 2.2\ndata: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\"}\n\n")))
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

	bubble(t, "too large", renTooLarge)
	bubble(t, "unknown events", renUnknownEvents)
	bubble(t, "a cursor that no header can carry", renOddCursor)
	bubble(t, "half an event does not move the cursor", renHalfAnEvent)
	bubble(t, "a server sends nobody away for ever", renSentAwayForEver)
}

func renTooLarge(t *testing.T) {
	large := "id: 1.2\ndata: {\"t\":\"" + strings.Repeat("x", 9<<20) + "\"}\n\n"
	n := newNetwork(t, stream(garbageHello+large+"data: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\"}\n\n"))
	r, loop := n.ren(nil)
	time.Sleep(10 * time.Second)
	loop.want(t, "reset:too_large a")
	if len(n.asked()) != 1 || r.Cursor() != "1.2" {
		t.Errorf("%d streams, cursor %q", len(n.asked()), r.Cursor())
	}
}

func renUnknownEvents(t *testing.T) {
	n := newNetwork(t, stream(garbageHello+"event: ren.new\nid: 1.5\ndata: {{{\n\n:comment\n\nfoo: bar\n\ndata: {\"t\":\"x\",\"r\":\"y\",\"k\":\"a\",\"new\":{}}\n\n"))
	r, loop := n.ren(nil)
	loop.want(t, "a")
	if r.Cursor() != "1.5" {
		t.Errorf("cursor %q", r.Cursor())
	}
}

func renOddCursor(t *testing.T) {
	odd := answer(200, garbageHello+"id: 1\x012\ndata: {\"t\":\"x\",\"k\":\"a\"}\n\n", "Content-Type", "text/event-stream")
	n := newNetwork(t, answers(odd, stream(garbageReset)))
	_, loop := n.ren(nil)
	time.Sleep(10 * time.Second)
	loop.want(t, "a reset:unknown")
}

func renHalfAnEvent(t *testing.T) {
	cut := answer(200, garbageHello+"id: 1.2\ndata: {\"t\":\"x\",\"k\":\"a\"}\n\nid: 1.3\ndata: {\"t\":\"x\"}\n", "Content-Type", "text/event-stream")
	n := newNetwork(t, answers(cut, stream(strings.Replace(garbageHello, "fresh", "resumed", 1))))
	_, loop := n.ren(nil)
	time.Sleep(10 * time.Second)
	loop.want(t, "a")
	if got := n.asked()[1].Header.Get("Last-Event-ID"); got != "1.2" {
		t.Errorf("it continues after %q", got)
	}
}

func renSentAwayForEver(t *testing.T) {
	bye := answer(200, garbageHello+"retry: 99999999999\nevent: ren.bye\nid: 1.1\ndata: {\"reason\":\"rotate\",\"retryMs\":99999999999}\n\n", "Content-Type", "text/event-stream")
	n := newNetwork(t, answers(bye, stream(garbageHello)))
	n.ren(nil)
	time.Sleep(301 * time.Second)
	if len(n.asked()) != 2 {
		t.Error("not back after five minutes")
	}
}
