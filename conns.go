package realtime

import (
	"context"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/time/rate"
)

// conns are the open connections, so that they can be ended.
type conns struct {
	mu       sync.Mutex
	closing  bool
	open     map[*conn]struct{}
	arriving map[*arrival]struct{}
	users    map[string]*user // who has connections
	all      sync.WaitGroup   // of open
	limits   Limits
}

// user is somebody who has connections.
type user struct {
	conns int
	pace  *rate.Limiter // of the operations of all of them
	flood *rate.Limiter // of their frames
}

// conn is an open connection.
type conn struct {
	user   string        // guarded by conns.mu, as pace when it is set
	pace   *rate.Limiter // of the user; nil for anonymous, as flood
	flood  *rate.Limiter
	cancel context.CancelCauseFunc // with an *ending, to end it in an orderly way
	done   chan struct{}           // closed when nothing is written from now on

	// recheck asks the policy again about what the connection has.
	// At most as many questions are open as turns has room for.
	recheck func(ctx context.Context, turns chan struct{})
	writing atomic.Bool // while the writer waits for the client to read

	mu      sync.Mutex
	drop    func() // frees a goroutine that writes to a client that does not read; nil when it must not be called
	aborted bool
	ended   bool // end was called
}

// abort ends the connection at once, whatever it is doing.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.drop != nil {
		c.drop()
	}
}

// onAbort sets what abort calls until the connection is removed.
func (c *conn) onAbort(drop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drop = drop; c.aborted {
		drop()
	}
}

func (c *conn) isAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}

// end ends the connection in order, and drops it if the client does not take the goodbye
// in time.
func (c *conn) end(why *ending) {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.cancel(why)
	time.AfterFunc(farewell, c.abort)
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// farewell is the time in which a client whose rights have ended must take the goodbye.
const farewell = 500 * time.Millisecond

// expire ends the connection when its identity expires, unless stop is called.
func (c *conn) expire(id Identity) (stop func() bool) {
	if id.Expires.IsZero() {
		return func() bool { return false }
	}
	return time.AfterFunc(time.Until(id.Expires), func() { c.end(outdated) }).Stop
}

// ending says why, and how, the server ends a connection.
type ending struct {
	reason string
	rest   backend.Position // events up to here are delivered first
	retry  time.Duration    // when the client may come back
	code   int              // the WebSocket close code
}

func (e *ending) Error() string { return "realtime: connection ended: " + e.reason }

// The ways in which connections end.
func closing(rest backend.Position, retry time.Duration) *ending {
	return &ending{reason: "closing", rest: rest, retry: retry, code: 1012}
}

var (
	rotated  = &ending{reason: "rotate", retry: 100 * time.Millisecond, code: 4503}
	outdated = &ending{reason: "expired", code: 4401}
	revoked  = &ending{reason: "revoked", code: 4403}
	noHello  = &ending{reason: "hello_required", code: 4408}
)

// arrival is a client that is being authenticated. Its user is not known yet. So every
// Recheck and Revoke meanwhile is recorded here, and the client is turned away (503, with
// retry) if it turns out to be that user.
type arrival struct {
	conns   *conns
	changed []string
}

// arrive must be called before a client is authenticated, and gone at the end of that.
func (cs *conns) arrive() *arrival {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.arriving == nil {
		cs.arriving, cs.open, cs.users = make(map[*arrival]struct{}), make(map[*conn]struct{}), make(map[string]*user)
	}
	a := &arrival{conns: cs}
	cs.arriving[a] = struct{}{}
	return a
}

func (a *arrival) gone() {
	a.conns.mu.Lock()
	defer a.conns.mu.Unlock()
	delete(a.conns.arriving, a)
}

// identify sets the user of a connection when it is known.
func (a *arrival) identify(c *conn, user string) *refusal {
	a.conns.mu.Lock()
	defer a.conns.mu.Unlock()
	return a.identifyLocked(c, user)
}

func (a *arrival) identifyLocked(c *conn, user string) *refusal {
	if slices.Contains(a.changed, user) {
		return unavailable() // it is authenticated again when it comes back
	}
	return a.conns.own(c, user)
}

// own moves c to the connections of a user.
func (cs *conns) own(c *conn, name string) *refusal {
	if name == c.user {
		return nil
	}
	var u *user
	if name != "" {
		if u = cs.users[name]; u == nil {
			u = &user{
				pace:  rate.NewLimiter(rate.Limit(cs.limits.UserRate), cs.limits.UserBurst),
				flood: rate.NewLimiter(rate.Limit(floodFactor*cs.limits.UserRate), floodFactor*cs.limits.UserBurst),
			}
		}
		if u.conns >= cs.limits.Connections {
			return refuse(http.StatusTooManyRequests, "too_many", "more than %d connections of one user", cs.limits.Connections).retry()
		}
	}
	cs.disown(c)
	if u != nil {
		u.conns++
		cs.users[name] = u
		c.user, c.pace, c.flood = name, u.pace, u.flood
	}
	return nil
}

func (cs *conns) disown(c *conn) {
	if u := cs.users[c.user]; u != nil {
		if u.conns--; u.conns == 0 {
			delete(cs.users, c.user)
		}
	}
	c.user, c.pace, c.flood = "", nil, nil
}

// add registers a connection; its owner must call remove. It fails when the connections
// are being drained.
func (a *arrival) add(c *conn, user string) *refusal {
	cs := a.conns
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closing {
		return goingAway()
	}
	if f := a.identifyLocked(c, user); f != nil {
		return f
	}
	c.done = make(chan struct{})
	cs.open[c] = struct{}{}
	cs.all.Add(1)
	return nil
}

// remove removes a connection, after its last write.
func (cs *conns) remove(c *conn) {
	c.onAbort(func() {}) // after the handler returns, drop must not touch the server's connection
	cs.mu.Lock()
	delete(cs.open, c)
	cs.disown(c)
	cs.mu.Unlock()
	close(c.done)
	cs.all.Done()
}

// matching returns the open connections that match.
func (cs *conns) matching(match func(*conn) bool) []*conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var found []*conn
	for c := range cs.open {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// shut refuses new connections from now on.
func (cs *conns) shut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closing = true
}

func (cs *conns) isShut() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.closing
}

// drain ends all connections, after delivering the events up to rest, before ctx ends,
// which must have a deadline. It gives up when late ends.
func (cs *conns) drain(ctx, late context.Context, rest backend.Position) error {
	deadline, _ := ctx.Deadline()
	spread := max(time.Until(deadline), time.Second)
	every := func(*conn) bool { return true }
	for _, c := range cs.matching(every) {
		c.cancel(closing(rest, mathrand.N(spread)))
	}
	drop := context.AfterFunc(ctx, func() {
		for _, c := range cs.matching(every) {
			c.abort()
		}
	})
	err := await(late, &cs.all)
	if !drop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// distrust returns the open connections of a user. It also records the change of rights
// with all clients that are being authenticated, except the one whose authentication
// makes the call.
func (cs *conns) distrust(user string, within *policyCall) []*conn {
	cs.mu.Lock()
	for a := range cs.arriving {
		if !within.authenticates(a) {
			a.changed = append(a.changed, user)
		}
	}
	cs.mu.Unlock()
	return cs.matching(func(c *conn) bool { return c.user == user })
}
