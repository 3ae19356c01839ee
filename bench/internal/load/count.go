package load

import (
	"bytes"
	"fmt"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

var magic = []byte(target.Magic)

func (c *Client) scan(k *conn, b []byte) {
	k.tailLen = 0
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			// The start of a mark may be the end of what came.
			for j := max(0, len(b)-len(magic)+1); j < len(b); j++ {
				if bytes.HasPrefix(magic, b[j:]) {
					k.tailLen = uint8(copy(k.tail[:], b[j:]))
					return
				}
			}
			return
		}
		if len(b)-i < markLen {
			k.tailLen = uint8(copy(k.tail[:], b[i:]))
			return
		}
		ts := unhex(b[i+len(magic) : i+markLen])
		b = b[i+markLen:]
		if ts < k.last {
			c.Disorder++
		}
		k.last = ts
		k.count++
		c.Count++
	}
}

func unhex(b []byte) (v uint64) {
	for _, d := range b {
		if d >= 'a' {
			d -= 'a' - 10
		} else {
			d -= '0'
		}
		v = v<<4 | uint64(d)
	}
	return v
}

// Until serves subscribers until Count reaches n; false when quiet (no message
// for that long) came first.
//
// It looks at the sockets every nap and never sleeps on them: a sleeping reader
// would have to be woken by the very system call of the target that is being
// measured, a cost no remote reader causes. A nap of zero sleeps on them
// nonetheless, for the sake of latency.
func (c *Client) Until(n uint64, quiet, nap time.Duration) (bool, error) {
	heard := time.Now()
	for c.Count < n {
		before := c.Count
		wait := time.Duration(0)
		if nap == 0 {
			wait = quiet
		}
		if err := c.poll(wait); err != nil {
			return false, err
		}
		if c.Count != before {
			heard = time.Now()
			continue
		}
		if time.Since(heard) > quiet {
			return false, nil
		}
		if nap > 0 {
			ts := syscall.NsecToTimespec(int64(nap))
			syscall.Nanosleep(&ts, nil)
		}
	}
	return true, nil
}

// Pump serves subscribers for d.
func (c *Client) Pump(d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		if err := c.poll(left + time.Millisecond); err != nil {
			return err
		}
	}
}

// Warm publishes to channel until every subscriber has had a message, so that
// all are known to be subscribed.
func (c *Client) Warm(cmd string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		if _, err := c.Do(timeout, "%s", cmd); err != nil {
			return err
		}
		if err := c.Pump(300 * time.Millisecond); err != nil {
			return err
		}
		cold := 0
		for _, k := range c.conns {
			if k.state == stOpen && k.count == 0 {
				cold++
			}
		}
		if cold == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("warm: %d of %d subscribers got nothing", cold, c.open)
		}
	}
	c.Reset()
	return nil
}

// Reset zeroes the counters.
func (c *Client) Reset() {
	c.Count, c.Disorder = 0, 0
}
