package client

import (
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"golang.org/x/time/rate"
)

// call is an operation that waits for its answer.
type call struct {
	op    op
	keep  bool                          // outlives the connection, and is sent again on the next
	sent  bool                          // at least once, on any connection
	due   time.Time                     // not before; zero: at once
	tries int                           // attempts that were refused with retry
	done  func(answer frame, err error) // called once, with the client locked
}

// outbox holds the calls in order. It sends no faster than the server's limits, so that
// calls are not refused. The client's lock guards it.
type outbox struct {
	calls   []*call
	wake    chan struct{} // holds one: there is something to send
	open    bool
	limits  limits
	limiter *rate.Limiter
	pause   time.Time // nothing is sent before
	ref     int64
	held    func(*call) bool // whether a call has to wait for others
}

// kept returns the number of calls that outlive connections.
func (o *outbox) kept() (n int) {
	for _, c := range o.calls {
		if c.keep {
			n++
		}
	}
	return n
}

func (o *outbox) add(c *call) {
	o.calls = append(o.calls, c)
	kick(o.wake)
}

// begin opens the outbox on a new connection. Calls that first adds are sent before
// those left from the last connection.
func (o *outbox) begin(l limits, first func()) {
	// A little less than allowed, since the network may deliver together what was sent
	// apart.
	o.limits = l
	o.limiter = rate.NewLimiter(rate.Limit(max(0.9*float64(l.Rate), 0.1)), max(l.Burst*8/10, 1))
	o.pause, o.ref, o.open = time.Time{}, 0, true
	left := o.calls
	o.calls = nil
	first()
	o.calls = append(o.calls, left...)
	kick(o.wake)
}

// cut closes the outbox: the connection is gone.
func (o *outbox) cut() {
	o.open = false
	o.calls = slices.DeleteFunc(o.calls, func(c *call) bool {
		if c.op.Ephemeral {
			c.done(frame{}, nil)
		}
		return !c.keep
	})
	for _, c := range o.calls {
		c.op.Ref = 0
	}
}

// next returns the next frame to send, or how long to wait for one (0: until wake).
func (o *outbox) next() (text []byte, wait time.Duration) {
	for o.open {
		c, wait := o.first()
		if c == nil {
			return nil, wait
		}
		if wait := time.Until(o.pause); wait > 0 {
			return nil, wait
		}
		turn := o.limiter.Reserve()
		if wait := turn.Delay(); wait > 0 {
			turn.Cancel()
			return nil, wait
		}
		if text := o.put(c); text != nil {
			return text, 0
		}
	}
	return nil, 0
}

// first returns the first call that can be sent, or how long to wait for one (0:
// unknown).
func (o *outbox) first() (c *call, wait time.Duration) {
	for _, c := range o.calls {
		if c.op.Ref != 0 || o.held(c) {
			continue
		}
		left := time.Until(c.due)
		if left <= 0 {
			return c, 0
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return nil, wait
}

// put numbers and encodes a call. It refuses one that is too large: the server would
// close the connection each time it is sent.
func (o *outbox) put(c *call) []byte {
	c.op.Ref = o.ref + 1
	text, err := json.Marshal(&c.op)
	switch {
	case err != nil: // not reached: it was JSON when it came
		o.settle(c, frame{}, err)
	case o.limits.Message > 0 && len(text) > o.limits.Message:
		o.settle(c, frame{}, &Error{Code: "too_large", Message: fmt.Sprintf("larger than %d bytes", o.limits.Message)})
	default:
		o.ref, c.sent = c.op.Ref, true
		return text
	}
	return nil
}

// answer handles an answer. It returns false if no call waits for it.
func (o *outbox) answer(f frame) bool {
	i := slices.IndexFunc(o.calls, func(c *call) bool { return c.op.Ref != 0 && c.op.Ref == f.Ref })
	if i < 0 {
		return false
	}
	c := o.calls[i]
	switch {
	case f.Event != "error":
		o.settle(c, f, nil)
	case f.Code == "rate_limited":
		// It is sent again, and nothing before it, in a second or two.
		c.op.Ref = 0
		o.pause = time.Now().Add(pause())
		kick(o.wake)
	case f.Retry && !c.keep && !c.op.Ephemeral:
		c.op.Ref, c.tries = 0, c.tries+1
		c.due = time.Now().Add(spread(bound(c.tries, maxBackoff)))
		kick(o.wake)
	default:
		o.settle(c, f, f.refusal())
	}
	return true
}

// pause returns the wait before an operation that was refused with retry is sent again.
func pause() time.Duration { return time.Second + mathrand.N(time.Second) }

// fail fails all waiting calls.
func (o *outbox) fail(err error) {
	for _, c := range slices.Clone(o.calls) {
		o.settle(c, frame{}, c.unanswered(err))
	}
}

// unanswered returns err. If the call was sent without an answer, it also matches
// [realtime.ErrMaybeStored].
func (c *call) unanswered(err error) error {
	if c.sent && c.op.Op == "publish" {
		return fault.Errorf("client: %s: %w: %w", c.op.Op, realtime.ErrMaybeStored, err)
	}
	return err
}

func (o *outbox) settle(c *call, f frame, err error) {
	if o.remove(c) {
		c.done(f, err)
	}
}

// remove reports whether the call was there.
func (o *outbox) remove(c *call) bool {
	i := slices.Index(o.calls, c)
	if i < 0 {
		return false
	}
	o.calls = slices.Delete(o.calls, i, i+1)
	return true
}
