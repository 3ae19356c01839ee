package wsconn

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"strconv"
	"time"
)

// Write sends one text message. It returns [net.ErrClosed] after a close frame
// was sent. After another error the connection is unusable.
func (c *Conn) Write(msg []byte) error {
	for op := byte(opText); ; op = opContinue {
		n := min(len(msg), Fragment)
		if err := c.send(op, n == len(msg), msg[:n]); err != nil {
			return err
		}
		if msg = msg[n:]; len(msg) == 0 {
			return nil
		}
	}
}

// send writes a frame when it is its turn.
func (c *Conn) send(op byte, fin bool, p []byte) error {
	c.turn <- struct{}{}
	err := c.put(op, fin, p)
	return c.pass(err)
}

// put writes a frame, for which the peer has limited time. The caller must have the
// turn.
func (c *Conn) put(op byte, fin bool, p []byte) error {
	if c.ended {
		return net.ErrClosed
	}
	c.ended = op == opClose
	if err := c.net.SetWriteDeadline(time.Now().Add(c.opts.WriteTime + c.backlog.Allow(c.net))); err != nil {
		return err
	}
	var b [10]byte
	if b[0] = op; fin {
		b[0] |= finBit
	}
	h := b[:2]
	switch n := len(p); { // a server does not mask
	case n < 126:
		h[1] = byte(n)
	default: // a fragment is shorter than 64 KiB
		h[1] = 126
		h = binary.BigEndian.AppendUint16(h, uint16(n))
	}
	_, _ = c.bw.Write(h) // Flush reports it
	_, _ = c.bw.Write(p)
	err := c.bw.Flush()
	c.backlog.Add(len(p))
	return err
}

// pass ends a turn. It first answers pings that came meanwhile. So the goroutine that
// has the turn answers for the reader, which need not wait for a peer that is slow
// to take a fragment.
func (c *Conn) pass(err error) error {
	for {
		select {
		case p := <-c.pong:
			if err == nil && !c.ended {
				err = c.put(opPong, true, p)
			}
		default:
		}
		<-c.turn
		if len(c.pong) == 0 {
			return err
		}
		select {
		case c.turn <- struct{}{}:
		default:
			return err // the goroutine that has the turn will answer the ping
		}
	}
}

// owePong notes a ping. Only the latest one must be answered: RFC 6455, section 5.5.3.
func (c *Conn) owePong(payload []byte) {
	select {
	case <-c.pong: // drop an older ping that was not answered yet
	default:
	}
	c.pong <- bytes.Clone(payload) // does not block: only the reader sends
}

// answerPing answers a ping now or, if a fragment is being sent, leaves the answer to
// the goroutine that sends it.
func (c *Conn) answerPing() error {
	if len(c.pong) == 0 {
		return nil
	}
	select {
	case c.turn <- struct{}{}:
		return c.pass(nil)
	default:
		return nil
	}
}

// Ping asks whether the peer is there, and returns nil when it has answered, or
// [os.ErrDeadlineExceeded]. A slow peer gets more time, for what was written before:
// see [tcp.Backlog]. A peer that is sending a message may complete it first. Another
// goroutine must call Read meanwhile. Ping must not be called concurrently.
func (c *Conn) Ping(ctx context.Context) error {
	n := c.asked.Add(1)
	c.turn <- struct{}{}
	before, wait := c.backlog.Written(), c.backlog.Wait()
	err := c.put(opPing, true, strconv.AppendUint(nil, n, 10))
	if err := c.pass(err); err != nil {
		return err
	}
	late := time.NewTimer(c.opts.Patience + wait)
	defer late.Stop()
	for {
		select {
		case got := <-c.answered:
			if got == n {
				c.turn <- struct{}{}
				c.backlog.Confirm(before)
				return c.pass(nil)
			}
		case <-late.C:
			if !c.receiving.Load() {
				return os.ErrDeadlineExceeded
			}
			late.Reset(c.opts.Patience)
		case <-c.heard:
			return net.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	closeTime = 5 * time.Second // for the peer's answer to a close frame
	lingering = time.Second     // if no goroutine would read the answer
)

// Close sends a close frame, waits for the peer's answer and closes the connection.
// The goroutine that writes must call it, while the one that reads calls Discard. On a
// broken connection, or after a close frame of the peer, it does not wait.
func (c *Conn) Close(code int, reason string) {
	defer c.net.Close()
	p := binary.BigEndian.AppendUint16(nil, uint16(code))
	if c.send(opClose, true, append(p, reason[:min(len(reason), maxControl-2)]...)) != nil {
		return
	}
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-c.heard:
	case <-late.C:
	case <-c.deaf:
		// To close a connection with unread bytes resets it, and the peer then loses
		// what it has not read yet.
		late.Reset(lingering)
		select {
		case <-c.heard:
		case <-late.C:
		}
	}
}

// echoClose answers a close frame: RFC 6455, section 5.5.1.
func (c *Conn) echoClose(code int) error {
	var p []byte
	if code != noStatus {
		p = binary.BigEndian.AppendUint16(nil, uint16(code))
	}
	return c.send(opClose, true, p)
}
