// Package wsconn is a thin layer over coder/websocket that adds what that
// library leaves to its user: text must be UTF-8 (RFC 6455, section 8.1), a
// message must be complete in time, and a write must make progress.
package wsconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Options are all required.
type Options struct {
	Subprotocol string
	ReadLimit   int64         // bytes a message may have
	MessageTime time.Duration // from a message's first frame to its last
	WriteTime   time.Duration // a write may stand still
}

// Conn is a server's end of a WebSocket. One goroutine may read, one may write,
// and Ping and Close may be called by any.
type Conn struct {
	ws   *websocket.Conn
	net  net.Conn
	opts Options
}

// CloseError says with which code a connection should be, or was, closed.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("websocket: %d %s", e.Code, e.Reason) }

// Accept upgrades the request. It answers one that cannot be upgraded. The
// caller has checked the origin, and that the connection can be hijacked.
func Accept(w http.ResponseWriter, r *http.Request, opts Options) (*Conn, error) {
	h := hijacker{ResponseWriter: w, writeTime: opts.WriteTime}
	ws, err := websocket.Accept(&h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{opts.Subprotocol},
		InsecureSkipVerify: true, // see above
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(opts.ReadLimit)
	return &Conn{ws, h.conn, opts}, nil
}

// Read returns the next message. The error is a [*CloseError] where the peer
// closed the connection, or broke a rule and is to be told.
func (c *Conn) Read(ctx context.Context) ([]byte, error) {
	typ, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, readError(ctx, err)
	}
	if typ != websocket.MessageText {
		return nil, &CloseError{int(websocket.StatusUnsupportedData), "binary message"}
	}
	// The library's read limit counts bytes, so that empty fragments could go on
	// for ever.
	late := &CloseError{int(websocket.StatusPolicyViolation), "message not complete in time"}
	closed := make(chan struct{})
	timer := time.AfterFunc(c.opts.MessageTime, func() {
		defer close(closed)
		c.Close(late.Code, late.Reason)
	})
	msg, err := io.ReadAll(r)
	if !timer.Stop() {
		<-closed
		return nil, late
	}
	if err != nil {
		return nil, readError(ctx, err)
	}
	if !utf8.Valid(msg) {
		return nil, &CloseError{int(websocket.StatusInvalidFramePayloadData), "invalid UTF-8"}
	}
	return msg, nil
}

func readError(ctx context.Context, err error) error {
	var closed websocket.CloseError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &closed):
		return &CloseError{int(closed.Code), closed.Reason}
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &CloseError{int(websocket.StatusMessageTooBig), "message too large"}
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.As(err, new(net.Error)):
		return err
	}
	// What is left is a violation, most of which the library has answered itself.
	return &CloseError{int(websocket.StatusProtocolError), "protocol error"}
}

// Write sends one text message.
func (c *Conn) Write(ctx context.Context, msg []byte) error {
	return c.ws.Write(ctx, websocket.MessageText, msg)
}

// Ping returns when the peer has answered. It needs a concurrent Read.
func (c *Conn) Ping(ctx context.Context) error { return c.ws.Ping(ctx) }

// Close tells the peer why and waits up to 5 s for its answer. After a
// connection has broken, or a Close, it does nothing.
func (c *Conn) Close(code int, reason string) {
	c.ws.Close(websocket.StatusCode(code), reason) // the error says that the peer was gone already
}

// Drop closes the connection without a word. Unlike the library's CloseNow it
// does not wait for a Close that is under way.
func (c *Conn) Drop() { c.net.Close() }

// Release frees a connection that has ended, however it has. Nothing else of it
// may be running. The library sets a finalizer, which keeps what was not closed
// from being collected for ever: it is part of a cycle.
func (c *Conn) Release() { c.ws.CloseNow() } // the error says that it was closed already

// hijacker hands the library a connection whose writes have to make progress.
type hijacker struct {
	http.ResponseWriter
	writeTime time.Duration
	conn      net.Conn // once hijacked
}

// WriteHeader writes the header at once also where it is put off: gin keeps it
// until the first byte of a body, which an upgrade does not have.
func (h *hijacker) WriteHeader(status int) {
	h.ResponseWriter.WriteHeader(status)
	if now, ok := h.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		now.WriteHeaderNow()
	}
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = progressConn{conn, h.writeTime}
	return h.conn, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(h.conn)), nil
}

// progressConn ends writes that stand still for too long. A deadline for the
// whole write would end a slow peer together with a dead one.
type progressConn struct {
	net.Conn
	writeTime time.Duration
}

const chunk = 16 << 10

func (c progressConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.writeTime)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[:min(len(p), chunk)])
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}
