package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

const (
	writeTime = 10 * time.Second // for one piece of a message
	piece     = 16 << 10         // bytes
	farewell  = 2 * time.Second  // for a server to take its leave when the client is closed
)

// run keeps a connection up until the client is closed or refused for good.
func (r *Realtime) run() {
	defer r.set.become(StateClosed)
	k := r.set.reconnector()
	for {
		r.set.become(StateConnecting)
		l := r.connection(&k)
		r.lose(l.err)
		if r.ctx.Err() != nil {
			return
		}
		wait, again := k.lost(l)
		r.set.log.Debug("client: connection lost", "error", l.err, "wait", wait, "again", again)
		if !again {
			r.fail(l.err)
			return
		}
		r.set.become(StateConnecting)
		if sleep(r.ctx, wait) != nil {
			return
		}
	}
}

func (r *Realtime) lose(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = why
	r.cut()
}

// session is one connection. The client's background goroutine reads it, another
// one writes.
type session struct {
	*Realtime
	reconnector *reconnector
	ws          *websocket.Conn
	expiry      chan time.Duration // holds one: how long the credentials last
	refused     *Error             // what the server said before it closed the connection
}

// connection makes one attempt, and runs what comes of it.
func (r *Realtime) connection(k *reconnector) disconnect {
	k.dialing()
	ws, l := r.dial()
	if ws == nil {
		return l
	}
	defer ws.CloseNow()
	s := session{Realtime: r, reconnector: k, ws: ws, expiry: make(chan time.Duration, 1)}
	// The reader has to go on until the closing handshake is over, so it does not
	// end with the client, but with the connection.
	reading, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	watch := time.AfterFunc(silence, func() { stop(errSilent) })
	defer watch.Stop()
	writing, stopWriting := context.WithCancel(r.ctx)
	var background sync.WaitGroup
	background.Go(func() { s.renew(writing) })
	background.Go(func() {
		err := s.write(writing)
		if r.ctx.Err() != nil && reading.Err() == nil {
			// A server that is told ends presence sooner.
			late := time.AfterFunc(farewell, func() { stop(r.ctx.Err()) })
			defer late.Stop()
			_ = ws.Close(websocket.StatusNormalClosure, "") // the server is gone, or is told
		}
		stop(err)
	})
	l = s.read(reading, watch)
	stop(nil)
	stopWriting()
	background.Wait()
	return l
}

func (r *Realtime) dial() (*websocket.Conn, disconnect) {
	ctx, cancel := context.WithTimeoutCause(r.ctx, silence, errSilent)
	defer cancel()
	token, err := r.set.askToken(ctx)
	if err != nil {
		return nil, disconnect{err: err}
	}
	ws, resp, err := websocket.Dial(ctx, r.set.url.String(), &websocket.DialOptions{
		HTTPClient: &r.set.http, HTTPHeader: r.set.headers(token), Subprotocols: []string{wire.Subprotocol},
	})
	switch {
	case err == nil && ws.Subprotocol() != wire.Subprotocol:
		ws.CloseNow()
		return nil, disconnect{err: fmt.Errorf("%w: another subprotocol", errUnreadable)}
	case err == nil:
		ws.SetReadLimit(-1) // messages are read line by line
		return ws, disconnect{}
	case resp != nil && resp.StatusCode != 101:
		return nil, r.set.refused(resp)
	}
	return nil, disconnect{err: because(ctx, err)}
}

// write says hello, and then what the outbox holds.
func (s *session) write(ctx context.Context) error {
	hello, err := json.Marshal(op{Op: "hello", CID: s.set.client})
	for text := hello; err == nil; {
		if err = s.send(ctx, text); err == nil {
			text, err = s.next(ctx)
		}
	}
	return err
}

// send sends a message, piece by piece: a slow link has writeTime for each of
// them, and the server sees that the message is on its way.
func (s *session) send(ctx context.Context, text []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(writeTime, cancel)
	defer late.Stop()
	if len(text) <= piece {
		return s.ws.Write(ctx, websocket.MessageText, text)
	}
	w, err := s.ws.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(text, piece) {
		if _, err := w.Write(part); err != nil {
			return err
		}
		late.Reset(writeTime)
	}
	return w.Close()
}

// next waits for the next frame to send.
func (s *session) next(ctx context.Context) ([]byte, error) {
	for {
		s.mu.Lock()
		text, wait := s.out.next()
		s.mu.Unlock()
		if text != nil {
			return text, nil
		}
		var turn <-chan time.Time // never, where there is nothing to send
		if wait > 0 {
			turn = time.After(wait)
		}
		select {
		case <-s.out.wake:
		case <-turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *session) read(ctx context.Context, watch *time.Timer) disconnect {
	for {
		_, msg, err := s.ws.Reader(ctx)
		if err != nil {
			return s.ending(ctx, err)
		}
		watch.Reset(silence)
		lines := newLineReader(watched{msg, watch, true})
		for more := true; more; {
			var text []byte
			var tooLong bool
			if text, tooLong, more, err = lines.next(); err != nil {
				return s.ending(ctx, err)
			}
			if tooLong {
				if l := s.skipped(text); l != nil {
					return *l
				}
			} else if l := s.take(text); l != nil {
				return *l
			}
		}
	}
}

// ending is what an error of reading means.
func (s *session) ending(ctx context.Context, err error) disconnect {
	l := disconnect{err: because(ctx, err)}
	switch code := websocket.CloseStatus(err); {
	case code == 4401:
		l = byeOf("unauthorized", 0)
	case code == 4403:
		l = byeOf("forbidden", 0)
	}
	if s.refused != nil {
		l.err = s.refused
	}
	return l
}

// unreadable ends a connection of which something could not be read, be it an
// event or an answer. In each channel the next one begins with a reset.
func (s *session) unreadable(err error) disconnect {
	s.set.log.Warn("client: unreadable frame; asking for a reset", "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.rooms {
		if m.sub != unsubscribed {
			m.cursor = nowhere
		}
	}
	for _, f := range s.followings {
		f.run = "" // all of it is asked for
	}
	return disconnect{err: err}
}

// take deals with one frame. It returns how the connection ends, or nil.
func (s *session) take(line []byte) *disconnect {
	f, err := decodeFrame(line)
	if err != nil {
		l := s.unreadable(err)
		return &l
	}
	if f.Event == "hello" {
		s.hello(f)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.Event {
	case "ping":
		s.complete(f.Cursor)
	case "bye":
		s.complete(f.Cursor)
		l := byeOf(f.Reason, f.RetryMs)
		if s.refused != nil {
			l.err = s.refused
		}
		return &l
	case "subscribed", "ok", "history", "stream":
		s.out.answer(f)
	case "stream.append", "stream.end", "unstreamed":
		s.grown(f)
	case "error":
		if !s.out.answer(f) {
			return s.complain(f)
		}
	default:
		s.event(f)
	}
	return nil
}

func (s *session) hello(f frame) {
	s.mu.Lock()
	if s.out.open || s.ended != nil {
		s.mu.Unlock()
		return
	}
	l := limits{Rate: 30, Burst: 60}
	if f.Limits != nil {
		l = *f.Limits
	}
	s.out.begin(l, func() {
		for _, m := range s.rooms {
			s.sync(m)
		}
		for _, f := range s.followings {
			s.ask(f)
		}
	})
	s.lost = nil
	s.mu.Unlock()
	s.reconnector.open()
	s.set.become(StateOpen)
	s.expires(f)
}

// complain is for errors that answer nothing. One in the place of the greeting
// ends the connection, for good where nothing can lift it.
func (s *session) complain(f frame) *disconnect {
	err := f.refusal()
	s.set.log.Warn("client: the server complains", "error", err)
	if s.out.open {
		return nil
	}
	s.refused = err
	if err.Retry || wantsCredentials(err.Code) {
		return nil // a bye follows, or a close
	}
	return &disconnect{err: err, final: true}
}

// complete says that everything up to the cursor has come, in every channel that
// is subscribed to.
func (r *Realtime) complete(cursor string) {
	for _, m := range r.rooms {
		if m.sub != unsubscribed && cursor != "" {
			m.cursor = cursor
		}
	}
}
