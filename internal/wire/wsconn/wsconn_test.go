package wsconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	text = finBit | opText
	ping = finBit | opPing
)

func TestHandshake(t *testing.T) {
	bubble(t, "answer", func(t *testing.T) {
		p := ask(t, defaults(), request+"Sec-WebSocket-Protocol: other, proto.v1\r\n\r\n", http.Header{
			"Set-Cookie": {"a=1", "b=2"}, "Content-Type": {"text/plain"}, "Content-Length": {"7"}, "Upgrade": {"h2c"},
			"Sec-Websocket-Extensions": {"permessage-deflate"},
		})
		want := http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"proto.v1"},
			"Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, // RFC 6455, section 1.3
			"Set-Cookie":           {"a=1", "b=2"},
		}
		if p.resp.StatusCode != http.StatusSwitchingProtocols || len(p.resp.Header) != len(want) {
			t.Errorf("%s %v", p.resp.Status, p.resp.Header)
		}
		for name, values := range want {
			if !slices.Equal(p.resp.Header[name], values) {
				t.Errorf("%s: %q, want %q", name, p.resp.Header[name], values)
			}
		}
	})
	bubble(t, "no subprotocol, and frames before the answer", func(t *testing.T) {
		p := ask(t, defaults(), request+"\r\n"+string(raw(text, "early"))+string(raw(text, "more"))[:3], nil)
		if got := p.resp.Header.Values("Sec-WebSocket-Protocol"); len(got) > 0 {
			t.Errorf("subprotocol %q", got)
		}
		p.serve()
		p.write(raw(text, "more")[3:])
		if got := <-p.messages + " " + <-p.messages; got != "early more" {
			t.Errorf("%q", got)
		}
	})
}

func TestMessages(t *testing.T) {
	bubble(t, "of all lengths", messagesOfAllLengths)
	bubble(t, "in fragments, with control frames between them", messagesInFragments)
	bubble(t, "sent", messagesSent)
}

func messagesOfAllLengths(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	for _, n := range []int{0, 1, 125, 126, 127, 4095, 4096, 4097, 1<<16 - 1, 1 << 16} {
		msg := strings.Repeat("0123456789", n/10+1)[:n]
		p.write(raw(text, msg))
		if got := <-p.messages; got != msg {
			t.Errorf("%d bytes: got %d, %.20q", n, len(got), got)
		}
	}
}

func messagesInFragments(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	p.write(slices.Concat(raw(opText, "a\xe2"), raw(ping, "here?")))
	p.want(opPong, "here?")
	p.write(slices.Concat(raw(finBit|opPong, "nobody asked"), raw(opContinue, "\x82"), raw(opContinue, ""), raw(finBit|opContinue, "\xacz")))
	if got := <-p.messages; got != "a€z" {
		t.Errorf("%q", got)
	}
	p.write(raw(finBit|opText, "next"))
	if got := <-p.messages; got != "next" {
		t.Errorf("%q", got)
	}
}

func messagesSent(t *testing.T) {
	p := connect(t, defaults())
	ways := map[string]func([]byte) error{
		"Write": p.conn.Write,
		"WriteWithRoom": func(msg []byte) error {
			return p.conn.WriteWithRoom(append(bytes.Repeat([]byte("?"), Room), msg...))
		},
		"WriteFrame": func(msg []byte) error {
			frame := Frame(msg)
			shared := bytes.Clone(frame)
			err := p.conn.WriteFrame(frame)
			if !bytes.Equal(Text(frame), msg) || !bytes.Equal(frame, shared) {
				t.Errorf("%d bytes: the frame has changed", len(msg))
			}
			return err
		},
	}
	for _, n := range []int{0, 1, 125, 126, Fragment, Fragment + 1, 3 * Fragment, 1<<16 - 1, 1 << 16, 3*Fragment + 70_000} {
		msg := make([]byte, n)
		for i := range msg {
			msg[i] = 'a' + byte(i%23)
		}
		for name, write := range ways {
			wrote := make(chan error, 1)
			go func() { wrote <- write(msg) }()
			if got := p.message(); !bytes.Equal(got, msg) {
				t.Errorf("%s, %d bytes: got %d", name, n, len(got))
			}
			if err := <-wrote; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

type brokenRule struct {
	name string
	raw  []byte
	code int
}

func brokenRules() []brokenRule {
	change := func(b []byte, at int, to byte) []byte { b[at] = to; return b }
	list := []brokenRule{
		{"no mask", []byte{text, 2, '{', '}'}, 1002},
		{"ping without a mask", []byte{ping, 0}, 1002},
		{"continuation of nothing", raw(finBit|opContinue, "x"), 1002},
		{"message within a message", slices.Concat(raw(opText, "a"), raw(text, "b")), 1002},
		{"fragmented ping", raw(opPing, ""), 1002},
		{"fragmented close", raw(opClose, ""), 1002},
		{"long ping", raw(ping, strings.Repeat("x", 126)), 1002},
		{"long close", closing(1000, strings.Repeat("x", 124)), 1002},
		{"length of 16 bits that needs 7", []byte{text, 0x80 | 126, 0, 125, 0, 0, 0, 0}, 1002},
		{"length of 64 bits that needs 16", []byte{text, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0}, 1002},
		{"negative length", []byte{text, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 1002},
		{"huge length", []byte{text, 0x80 | 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0}, 1009},
		{"too large, of which nothing comes", raw(text, strings.Repeat("x", 64<<10+1))[:14], 1009},
		{"too large in fragments", slices.Concat(raw(opText, strings.Repeat("x", 64<<10)), raw(finBit|opContinue, "x")), 1009},
		{"binary", raw(finBit|opBinary, "x"), 1003},
		{"binary fragment", raw(opBinary, "x"), 1003},
		{"invalid UTF-8", raw(text, "a\xff"), 1007},
		{"half a character", raw(text, "\xe2\x82"), 1007},
		{"surrogate", raw(text, "\xed\xa0\x80"), 1007},
		{"overlong", raw(text, "\xc0\xaf"), 1007},
		{"invalid UTF-8 across fragments", slices.Concat(raw(opText, "\xe2"), raw(finBit|opContinue, "x")), 1007},
		{"half a close code", raw(finBit|opClose, "\x03"), 1002},
		{"close with invalid UTF-8", closing(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), 1007},
		{"close with half a character", closing(1001, "\xe2\x82"), 1007},
		{"close within a message, with invalid UTF-8", slices.Concat(raw(opText, "a"), closing(1000, "\xff")), 1007},
	}
	for bit := byte(0x10); bit < finBit; bit <<= 1 {
		list = append(list, brokenRule{fmt.Sprintf("reserved bit %#x", bit), change(raw(text, "x"), 0, text|bit), 1002},
			brokenRule{fmt.Sprintf("reserved bit %#x of a ping", bit), change(raw(ping, "x"), 0, ping|bit), 1002})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		list = append(list, brokenRule{fmt.Sprint("reserved opcode ", op), raw(finBit|op, ""), 1002})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		list = append(list, brokenRule{fmt.Sprint("close code ", code), closing(code, ""), 1002})
	}
	return list
}

func TestViolations(t *testing.T) {
	for _, c := range brokenRules() {
		bubble(t, c.name, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			began := time.Now()
			go p.net.Write(c.raw) // the server may not read all of it
			code, after := p.closed(false)
			if code != c.code || time.Since(began) > 5*time.Second {
				t.Errorf("closed with %d, and %v later, want %d", code, after, c.code)
			}
			var told *CloseError
			if err := <-p.ended; !errors.As(err, &told) || told.Peer {
				t.Errorf("Read returned %v", err)
			}
		})
	}
}

func TestCloseOfThePeer(t *testing.T) {
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		bubble(t, fmt.Sprint(code), func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			p.write(closing(code, "bye €"))
			if got, after := p.closed(false); got != code || after != 0 {
				t.Errorf("answered with %d, and the end after %v", got, after)
			}
			var told *CloseError
			if err := <-p.ended; !errors.As(err, &told) || *told != (CloseError{code, "bye €", true}) {
				t.Errorf("Read returned %v", err)
			}
		})
	}
	bubble(t, "without a code", func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		p.write(raw(finBit|opClose, ""))
		p.want(opClose, "")
		if _, err := p.next(); err == nil {
			t.Error("something follows")
		}
		var told *CloseError
		if err := <-p.ended; !errors.As(err, &told) || told.Code != 1005 || !told.Peer {
			t.Errorf("Read returned %v", err)
		}
	})
	bubble(t, "none", func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		p.net.Close()
		if err := <-p.ended; errors.As(err, new(*CloseError)) || !errors.Is(err, io.EOF) {
			t.Errorf("Read returned %v", err)
		}
	})
}

// Which frames may be too many, and what becomes of the first that is.
func TestAdmit(t *testing.T) {
	for _, c := range []struct {
		name  string
		raw   []byte
		asked int
	}{
		{"message", raw(text, "x"), 1},
		{"empty message", raw(text, ""), 1},
		{"ping", raw(ping, ""), 1},
		{"pong", raw(finBit|opPong, ""), 1},
		{"small fragments", slices.Concat(raw(opText, ""), raw(opContinue, ""), raw(opContinue, "x"), raw(finBit|opContinue, "")), 4},
		{"large fragments", slices.Concat(raw(opText, "x"), raw(opContinue, strings.Repeat("x", Progress)), raw(finBit|opContinue, strings.Repeat("x", Progress))), 1},
	} {
		bubble(t, c.name, func(t *testing.T) {
			asked, most := 0, 1<<30
			opts := defaults()
			opts.Admit = func() bool { asked++; return asked <= most }
			p := connect(t, opts)
			p.serve()
			go io.Copy(io.Discard, p.br)
			p.write(c.raw)
			synctest.Wait()
			if asked != c.asked {
				t.Errorf("asked %d times, want %d", asked, c.asked)
			}
			most = asked + c.asked - 1 // the last of the same again is too much
			p.write(c.raw)
			var told *CloseError
			if err := <-p.ended; !errors.As(err, &told) || told.Code != 1008 {
				t.Errorf("Read returned %v", err)
			}
		})
	}
}
