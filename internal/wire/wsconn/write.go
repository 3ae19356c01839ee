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
	own := make([]byte, Room+min(len(msg), Fragment))
	for op := byte(opText); ; op = opContinue {
		n := copy(own[Room:], msg)
		msg = msg[n:]
		if err := c.send(putHeader(own[:Room+n], op, len(msg) == 0), false); err != nil || len(msg) == 0 {
			return err
		}
	}
}

// WriteWithRoom is Write of a message that stands after [Room] bytes, all of which the
// connection may change.
func (c *Conn) WriteWithRoom(b []byte) error {
	for op := byte(opText); ; op = opContinue {
		n := min(len(b), Room+Fragment)
		last := n == len(b)
		if err := c.send(putHeader(b[:n], op, last), false); err != nil || last {
			return err
		}
		b = b[n-Room:] // what was sent makes room for the next header
	}
}

// WriteFrame is Write of a message that [Frame] has made a frame of. It does not change
// it.
func (c *Conn) WriteFrame(frame []byte) error {
	if msg := Text(frame); len(msg) > Fragment {
		return c.Write(msg)
	}
	return c.send(frame, false)
}

// send writes a frame when it is its turn. last: it is a close frame.
func (c *Conn) send(frame []byte, last bool) error {
	c.turn <- struct{}{}
	err := c.put(frame, last)
	return c.pass(err)
}

// put writes a frame, for which the peer has limited time. The caller must have the
// turn.
func (c *Conn) put(frame []byte, last bool) error {
	if c.ended {
		return net.ErrClosed
	}
	c.ended = last
	now := time.Now()
	if err := c.net.SetWriteDeadline(now.Add(c.backlog.Allow(c.net, c.opts.WriteTime, now))); err != nil {
		return err
	}
	_, err := c.net.Write(frame)
	c.backlog.Add(len(frame), time.Now())
	return err
}

// controlFrame returns a control frame with a payload of at most maxControl bytes.
func controlFrame(op byte, p []byte) []byte {
	return append(appendHeader(make([]byte, 0, 2+len(p)), op, true, len(p)), p...)
}

// pass ends a turn. It first answers pings that came meanwhile. So the goroutine that
// has the turn answers for the reader, which need not wait for a peer that is slow
// to take a fragment.
func (c *Conn) pass(err error) error {
	for {
		if p := c.pong.Swap(nil); p != nil && err == nil && !c.ended {
			err = c.put(controlFrame(opPong, *p), false)
		}
		<-c.turn
		if c.pong.Load() == nil {
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
	payload = bytes.Clone(payload)
	c.pong.Store(&payload)
}

// answerPing answers a ping now or, if a fragment is being sent, leaves the answer to
// the goroutine that sends it.
func (c *Conn) answerPing() error {
	if c.pong.Load() == nil {
		return nil
	}
	if s := c.sender(); s != nil {
		s.wake()
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
	before, wait := c.backlog.Written(), c.backlog.Wait(time.Now())
	err := c.put(controlFrame(opPing, strconv.AppendUint(nil, n, 10)), false)
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
		case <-c.heard.wait():
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
	if c.turn == nil { // the Sender was not finished: nobody else writes
		c.turn = make(chan struct{}, 1)
	}
	p := binary.BigEndian.AppendUint16(nil, uint16(code))
	if c.send(controlFrame(opClose, append(p, reason[:min(len(reason), maxControl-2)]...)), true) != nil {
		return
	}
	late := time.NewTimer(closeTime)
	defer late.Stop()
	select {
	case <-c.heard.wait():
	case <-late.C:
	case <-c.deaf.wait():
		// To close a connection with unread bytes resets it, and the peer then loses
		// what it has not read yet.
		late.Reset(lingering)
		select {
		case <-c.heard.wait():
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
	return c.send(controlFrame(opClose, p), true)
}
