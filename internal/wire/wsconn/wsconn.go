// Package wsconn is a server's end of WebSockets (RFC 6455), without extensions.
//
// The server must bound the cost of frames without a message, must give a slow peer
// time while it makes progress, and must answer pings in the middle of a message
// that it sends to such a peer. A general library answers control frames without
// letting its caller count them, and waits some seconds for each. So the server has
// its own framing; clients use github.com/coder/websocket.
package wsconn

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/tcp"
)

// Options are all required.
type Options struct {
	// Subprotocol is accepted if the client asks for it.
	Subprotocol string
	// ReadLimit is the size of the largest message, in bytes.
	ReadLimit int
	// Patience is the time in which each [Progress] bytes of an unfinished message
	// must arrive. A message that takes longer in all must also bring [Slowest] bytes
	// a second on average. Patience is also the time in which a peer must answer a
	// ping.
	Patience time.Duration
	// WriteTime is the time in which a peer must take each [Fragment], and longer if
	// much was written before it: see [tcp.Backlog].
	WriteTime time.Duration
	// Admit is called, by the goroutine that reads, for each frame that counts against
	// the limit on frames: the first of a message, a small one that continues it,
	// and each control frame. If it returns false, the connection ends.
	Admit func() bool
}

const (
	// Fragment is the largest payload of a frame that is sent, in bytes, so that
	// control frames need not wait for a whole message.
	Fragment = 16 << 10
	// Progress is the number of bytes of an unfinished message that must arrive within
	// Patience.
	Progress = 1 << 10
	// Slowest is the least average rate of an unfinished message, in bytes a second.
	Slowest = 1 << 10
)

// Conn is a server's end of a WebSocket. One goroutine may read, one may write and
// one may ping, at the same time. Any goroutine may call Drop.
type Conn struct {
	net  net.Conn
	opts Options

	// the reader's
	src   source
	br    *bufio.Reader
	left  int64 // bytes of a frame's payload that have not been read
	heard latch // shut when the peer sends nothing from now on
	deaf  latch // shut when no goroutine reads from now on

	turn    chan struct{}          // holds one while a frame is being written; nil while shared writes
	backlog tcp.Backlog            // guarded by turn, as ended
	pong    atomic.Pointer[[]byte] // the payload of a ping that is not answered yet
	shared  *Sender                // writes all frames except the last ones; nil: those who have the turn do

	// These stand together so that they take one word.
	astray    bool          // the reader's: the next byte is not the beginning of a frame
	ended     bool          // a close frame was written
	receiving atomic.Bool   // a message is being received, so no pong can come in the middle of its frames
	asked     atomic.Uint64 // the number in the last ping
	answered  chan uint64   // numbers in pongs
}

// CloseError has the code with which a connection must be, or was, closed.
type CloseError struct {
	Code   int
	Reason string
	Peer   bool // the peer has closed it
}

func (e *CloseError) Error() string { return fmt.Sprintf("websocket: %d %s", e.Code, e.Reason) }

// The close codes of RFC 6455, section 7.4.1, that the package uses.
const (
	protocolError = 1002
	unsupported   = 1003
	noStatus      = 1005
	invalidData   = 1007
	tooMuch       = 1008
	tooBig        = 1009
)

// Accept upgrades a request whose connection has been hijacked. The caller must have
// checked the handshake (RFC 6455, section 4.2.1) and the origin. The answer includes
// the headers in extra. If it cannot be written, the connection is closed.
func Accept(conn net.Conn, rw *bufio.ReadWriter, r *http.Request, extra http.Header, opts Options) (*Conn, error) {
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // cannot fail
	c := &Conn{
		net: conn, opts: opts, src: source{conn: conn, early: slices.Clone(early)}, br: rw.Reader,
		turn: make(chan struct{}, 1), answered: make(chan uint64, 1),
	}
	c.src.idle = c.answerPing
	c.br.Reset(&c.src)
	if err := c.shake(r, extra); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) shake(r *http.Request, extra http.Header) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(c.opts.WriteTime)); err != nil {
		return err
	}
	answer := bytes.NewBuffer(make([]byte, 0, 256)) // whose methods do not fail
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	answer.WriteString(acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	if r.Header.Get("Sec-WebSocket-Protocol") != "" {
		answer.WriteString("\r\nSec-WebSocket-Protocol: ")
		answer.WriteString(c.opts.Subprotocol)
	}
	answer.WriteString("\r\n")
	_ = extra.WriteSubset(answer, notExtra)
	answer.WriteString("\r\n")
	_, err := c.net.Write(answer.Bytes())
	return err
}

// notExtra are headers of a body, or of the connection, or ours.
var notExtra = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Keep-Alive": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Extensions": true, "Sec-Websocket-Protocol": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// acceptKey is the answer to a client's key: RFC 6455, section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Drop closes the connection without a close frame. Calls that wait for it return.
func (c *Conn) Drop() { c.net.Close() }

// source reads the connection with a deadline. It sets the deadline only when a read
// has to wait, which is rare in the middle of a message.
type source struct {
	conn    net.Conn
	try     Reader       // reads what is between messages; nil: conn does
	early   []byte       // what the HTTP server, or TryPong, had read already
	failed  error        // of TryPong, after that
	idle    func() error // is called before each read
	by, set time.Time    // the deadline: as it should be, and as it is
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	s.early = nil
	if s.failed != nil {
		return 0, s.failed
	}
	if err := s.idle(); err != nil {
		return 0, err
	}
	if !s.by.Equal(s.set) {
		if err := s.conn.SetReadDeadline(s.by); err != nil {
			return 0, err
		}
		s.set = s.by
	}
	if s.try != nil && s.by.IsZero() {
		n, err := s.try.TryRead(p)
		if n == 0 && err == nil {
			err = ErrIdle
		}
		return n, err
	}
	n, err := s.conn.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, tooSlow
	}
	return n, err
}
