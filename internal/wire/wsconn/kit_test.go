package wsconn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// peer is a client that sends what it likes.
type peer struct {
	t    *testing.T
	net  net.Conn
	br   *bufio.Reader
	conn *Conn // the server's end
	resp *http.Response

	messages chan string
	ended    chan error // what Read returned at last
}

// frame is one that a server sent.
type frame struct {
	op   byte
	fin  bool
	data []byte
}

func (f frame) String() string { return fmt.Sprintf("{%x %v %q}", f.op, f.fin, f.data) }

func (f frame) code() int {
	if f.op != opClose || len(f.data) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(f.data))
}

func defaults() Options {
	return Options{
		Subprotocol: "proto.v1", ReadLimit: 64 << 10, Patience: 10 * time.Second, WriteTime: 10 * time.Second,
		Admit: func() bool { return true },
	}
}

const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// connect returns a client whose messages the server reads, if it is to read.
func connect(t *testing.T, opts Options) *peer {
	return ask(t, opts, request+"\r\n", nil)
}

func ask(t *testing.T, opts Options, request string, extra http.Header) *peer {
	t.Helper()
	l := memnet.Listen()
	accepted := make(chan *Conn)
	go func() {
		conn, _ := l.Accept()
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		r, err := http.ReadRequest(rw.Reader)
		if err != nil {
			t.Error(err)
		}
		c, err := Accept(conn, rw, r, extra, opts)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, net: client, br: bufio.NewReader(client), messages: make(chan string, 100), ended: make(chan error, 1)}
	p.write([]byte(request))
	if p.resp, err = http.ReadResponse(p.br, nil); err != nil {
		t.Fatal(err)
	}
	p.conn = <-accepted
	t.Cleanup(func() { client.Close(); p.conn.Drop() })
	return p
}

// serve does with the connection what a server does: it reads, and says what was
// wrong.
func (p *peer) serve() {
	failed := make(chan error, 1)
	go func() {
		for {
			msg, err := p.conn.Read()
			if err != nil {
				failed <- err
				break
			}
			p.messages <- string(msg)
		}
		p.conn.Discard()
	}()
	go func() {
		err := <-failed
		var told *CloseError
		if errors.As(err, &told) {
			p.conn.Close(told.Code, told.Reason)
		}
		p.conn.Drop()
		p.ended <- err
	}()
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.net.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// raw is a frame as a client sends it, unless a test changes it.
func raw(first byte, payload string) []byte {
	return testkit.Frame(first, &[4]byte{1, 2, 3, 4}, []byte(payload))
}

func closing(code int, reason string) []byte {
	return raw(finBit|opClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// next reads a frame of the server.
func (p *peer) next() (frame, error) {
	var b [2]byte
	if _, err := io.ReadFull(p.br, b[:]); err != nil {
		return frame{}, err
	}
	n := int(b[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(p.br, long[:]); err != nil {
			return frame{}, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	data := make([]byte, n)
	_, err := io.ReadFull(p.br, data)
	return frame{b[0] & 0xF, b[0]&finBit != 0, data}, err
}

// message reads a text message of the server, of frames that are no longer than they may
// be.
func (p *peer) message() (msg []byte) {
	p.t.Helper()
	for op := byte(opText); ; op = opContinue {
		f, err := p.next()
		if err != nil || f.op != op || len(f.data) > Fragment {
			p.t.Fatalf("%v, %v", err, f)
		}
		if msg = append(msg, f.data...); f.fin {
			return msg
		}
	}
}

func (p *peer) want(op byte, data string) {
	p.t.Helper()
	f, err := p.next()
	if err != nil || f.op != op || !f.fin || string(f.data) != data {
		p.t.Errorf("got %v, %v; want {%x %q}", f, err, op, data)
	}
}

// closed reads up to the close frame, answers it if asked to, and returns its code
// and how long the connection goes on after it.
func (p *peer) closed(answer bool) (code int, after time.Duration) {
	p.t.Helper()
	for {
		f, err := p.next()
		if err != nil {
			p.t.Errorf("no close frame: %v", err)
			return 0, 0
		}
		if f.op == opClose {
			code = f.code()
			break
		}
	}
	began := time.Now()
	if answer {
		p.write(closing(code, ""))
	}
	_, err := p.next()
	if err == nil {
		p.t.Error("something follows the close frame")
	}
	return code, time.Since(began)
}

// bubble runs a subtest in virtual time.
var bubble = testkit.Bubble
