package renstream

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// parked is a stream without a goroutine, over a connection that was taken over from
// net/http. A shard runs it: what is ready goes out at once and in one piece, as far as
// the connection takes it.
type parked struct {
	*stream
	task *shard.Task
	link shard.Link
	gone atomic.Bool           // the client is
	room atomic.Bool           // there may be: the connection can be written again
	why  atomic.Pointer[error] // why the stream ends; nil until it is to

	// the shard's
	head   []byte    // of the response; nil when it was sent
	out    []byte    // what is left of a message, which buf has
	chunk  int       // what is left of its chunk
	slowAt time.Time // when the client must have taken the chunk
	bye    bool      // the session was told to say its last words
	over   bool      // and has nothing more to say

	pingAt, rotateAt, expireAt time.Time // zero: never
}

// newParked is newStream for a stream that is parked.
func (d *Driver) newParked(r *http.Request, ask request, handshake *conns.Handshake) (*stream, *refused.Refusal) {
	p := new(parked)
	// What is kept must not keep the text of the request.
	for i, name := range ask.domains {
		ask.domains[i] = strings.Clone(name)
	}
	ask.client = strings.Clone(ask.client)
	s := &stream{Driver: d, ask: ask, parked: p}
	p.stream, p.task = s, d.node.Shards.NewTask(p)
	if f := s.begin(r, handshake, p.task.Wake); f != nil {
		return nil, f
	}
	s.conn.Cancel = p.cancel
	return s, nil
}

// cancel has the stream end. The first reason counts.
func (p *parked) cancel(why error) {
	if why == nil {
		why = context.Canceled
	}
	p.why.CompareAndSwap(nil, &why)
	p.task.Wake()
}

// cause returns why the stream ends, or nil.
func (p *parked) cause() error {
	if why := p.why.Load(); why != nil {
		return *why
	}
	return nil
}

// Ready implements [poll.Listener].
func (p *parked) Ready(ev poll.Events) {
	if ev&poll.Gone != 0 {
		p.gone.Store(true)
	}
	if ev&poll.Writable != 0 {
		p.room.Store(true)
	}
	p.task.Wake()
}

// park takes the connection over and gives it to a shard.
func (p *parked) park(w http.ResponseWriter, r *http.Request, handshake *conns.Handshake) {
	d := p.Driver
	if f := d.node.Refusal(handshake.Add(&p.conn, p.id.User)); f != nil {
		refuseStream(w, r, d.node.Refused.Add(f.From(r)))
		return
	}
	conn, _, missing := httpwriter.Hijack(w)
	if missing != nil {
		d.node.Conns.Remove(&p.conn)
		d.node.RefuseWriter(w, missing)
		return
	}
	tcp.Tune(conn, true, d.node.WriteTimeout)
	sse.SetHeaders(w.Header())
	p.net, p.head = conn, responseHead(w.Header())
	p.sent = d.tally.Open()
	now := time.Now()
	p.pingAt, p.rotateAt = d.node.FirstPing(now), now.Add(p.life())
	if at := p.id.Expires; !at.IsZero() {
		p.expireAt = now.Add(time.Until(at)) // by the monotonic clock
	}
	p.conn.OnAbort(p.task.Wake)
	p.link = d.node.Shards.Link(conn, p)
	p.task.Start()
}

// responseHead is what net/http sends before a stream.
func responseHead(set http.Header) []byte {
	h := maps.Clone(set)
	for _, name := range []string{"Content-Encoding", "Content-Length", "Trailer", "Transfer-Encoding"} {
		delete(h, name)
	}
	if _, is := h["Date"]; !is {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	h.Set("Connection", "close")
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b) // a buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// Run implements [shard.Runner].
func (p *parked) Run() (again time.Time, live bool) {
	ended := true // unless step says no
	err := conns.Guard(p.node.Logger, func() (err error) {
		ended, err = p.step(time.Now())
		return err
	})
	if ended {
		p.end(err)
		return time.Time{}, false
	}
	return p.next(), true
}

// step does what is due. When the stream has ended, the error says why.
func (p *parked) step(now time.Time) (ended bool, why error) {
	p.keepTime(now)
	if p.gone.Load() || p.conn.IsAborted() {
		return true, p.cause()
	}
	if written, err := p.flush(now); !written {
		return err != nil, err
	}
	if p.over {
		return true, p.cause()
	}
	switch why = p.cause(); {
	case why == nil && !now.Before(p.pingAt):
		p.ping(now)
	case why == nil || p.bye:
	case !p.sayBye(why):
		return true, why
	}
	more := p.fill()
	if p.over = p.bye && !more; more || p.over {
		p.task.Wake()
	}
	_, err := p.flush(now)
	return err != nil, err
}

// sayBye has the session say why the server ends the stream, where it is the server.
func (p *parked) sayBye(why error) bool {
	var end *conns.Ending
	if p.bye = errors.As(why, &end); p.bye {
		p.session.Bye(driver.LastWords(end))
	}
	return p.bye
}

// keepTime ends the stream when its time has come. Like others, it is told that by
// conn.Cancel.
func (p *parked) keepTime(now time.Time) {
	if !p.expireAt.IsZero() && !now.Before(p.expireAt) {
		p.expireAt = time.Time{}
		p.conn.End(conns.Expired)
	}
	if !p.rotateAt.IsZero() && !now.Before(p.rotateAt) {
		p.rotateAt = time.Time{}
		p.conn.Cancel(conns.Rotated)
	}
}

// ping says that the stream lives.
func (p *parked) ping(now time.Time) {
	p.pingAt = driver.NextPing(p.pingAt, now, p.node.Heartbeat)
	p.session.Do(func() { p.session.Ping(now.UnixMilli()) })
}

// next returns when something is due that nobody wakes the stream for.
func (p *parked) next() time.Time {
	next := p.pingAt
	if p.conn.Writing.Load() { // a ping would have to wait
		next = p.slowAt
	}
	for _, at := range [...]time.Time{p.rotateAt, p.expireAt} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// fill makes the next message.
func (p *parked) fill() (more bool) {
	p.buf = session.NewBuffer()
	more = p.session.Fill(p.buf, session.Batch)
	if p.out = p.buf.Bytes; p.head != nil {
		p.out, p.head = append(p.head, p.out...), nil
	}
	return more
}

// flush writes what is left of a message. If that is not all, the stream is run again
// when the connection takes more. A client has time as long as it makes progress.
func (p *parked) flush(now time.Time) (written bool, err error) {
	if p.conn.Writing.Load() && !p.room.Swap(false) && now.Before(p.slowAt) {
		return false, nil // woken by something else
	}
	for len(p.out) > 0 {
		if p.chunk == 0 {
			p.chunk = min(len(p.out), chunk)
			p.slowAt = now.Add(p.backlog.Allow(p.net, p.node.WriteTimeout, now))
		}
		n, err := p.link.Write(p.out[:p.chunk])
		p.backlog.Add(n, now)
		p.out, p.chunk = p.out[n:], p.chunk-n
		switch {
		case err != nil:
			return false, p.failure(err)
		case p.chunk == 0:
		case now.Before(p.slowAt):
			p.sent.Wait(&p.conn, true)
			return false, nil
		default:
			return false, p.failure(driver.ErrSlow)
		}
	}
	p.sent.Wait(&p.conn, false)
	if p.out = nil; p.buf != nil { // others use its memory from now on
		p.tally.Sent(p.sent, p.buf, now)
		p.buf.Release()
		p.buf = nil
	}
	return true, nil
}

// failure returns why the stream ends with an error of a write.
func (p *parked) failure(err error) error {
	if why := p.cause(); why != nil {
		return fault.Errorf("%w: %w", why, err)
	}
	return err
}

// end ends the stream. What was not written, a link may still be reading.
func (p *parked) end(why error) {
	p.sent.Wait(&p.conn, false)
	p.session.Close()
	p.link.Close()
	p.buf, p.out = nil, nil
	p.tally.Close(why)
	p.node.Conns.Remove(&p.conn)
}
