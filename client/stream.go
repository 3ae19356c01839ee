package client

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
)

// StreamPart is what a loop over a growing message gets: what was added, or how it ended.
type StreamPart struct {
	// Text, or Items of one of JSON values, is what was added since the part before. If
	// Whole is set, it is all there is, and replaces what came before.
	Text  string
	Items []json.RawMessage
	Whole bool

	State realtime.StreamState // how it ended, in the last part; before that, [realtime.StreamStreaming]
	Err   *Error               // of one that failed
	// Partial: it has ended, and the server does not have all of it any longer.
	Partial bool

	// What the message is; the same in all parts.
	Metadata json.RawMessage // nil if there is none
	UserID   string          // who writes it, "" for nobody
	From     string          // tag of the client that caused it, "" for none
}

// Stream follows a growing message of a channel: see [realtime.Realtime.Stream] of package
// realtime. The loop gets what there is of it in one part, then what is added, and ends
// after the part that says how the message has ended, or with ctx. Leaving the loop does
// not stop the message. A loop that lags gets fewer and larger parts. After a lost
// connection it continues where it was. It can be ranged over once.
//
// The last pair has the error of ctx, an [*Error] if the server refuses ("not_found": there
// is no such message, or it has ended long ago) or has taken the right away, or
// [realtime.ErrClosed].
func (r *Realtime) Stream(ctx context.Context, channel, id string) iter.Seq2[StreamPart, error] {
	f := &following{channel: channel, id: id, wake: make(chan struct{}, 1)}
	return func(yield func(StreamPart, error) bool) {
		if r.begin(&f.used) {
			yield(StreamPart{}, errTwice)
			return
		}
		r.mu.Lock()
		if f.err = r.ended; f.err == nil {
			r.followings = append(r.followings, f)
			r.ask(f)
		}
		r.mu.Unlock()
		defer r.unfollow(f)
		for {
			part, ok, err := r.nextPart(ctx, f)
			switch {
			case err != nil:
				yield(StreamPart{}, err)
				return
			case !ok:
				await(ctx, f.wake)
			case !yield(part, nil) || part.State != realtime.StreamStreaming:
				return
			}
		}
	}
}

// StopStream asks for the end of a growing message. It returns nil when the server that
// writes it has been asked, or the message has ended. It blocks until the server has
// answered, or ctx ends. Without a connection it waits for one. Errors: an [*Error] for
// the server's refusal, or with the code "too_many" if 100 operations wait already; that of
// ctx; [realtime.ErrClosed].
func (r *Realtime) StopStream(ctx context.Context, channel, id string) error {
	_, err := r.question(ctx, op{Op: "stop", Channel: channel, ID: id})
	return err
}

// following is a loop over a growing message. The client's lock guards it.
type following struct {
	channel, id string
	used        bool
	wake        chan struct{} // holds one

	run   string
	next  int64 // the place up to which the loop has the content, or finds it in part
	known bool  // this connection has answered
	call  *call // the operation that has no answer yet
	rest  time.Time

	part  StreamPart // what the loop has not taken
	ready bool       // there is something in part
	err   error      // how it ended, after part
}

// nextPart returns what a loop has not seen.
func (r *Realtime) nextPart(ctx context.Context, f *following) (part StreamPart, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return part, false, r.over(ctx)
	}
	if !f.ready {
		return part, false, f.err
	}
	part, f.ready = f.part, false
	f.part.Text, f.part.Items, f.part.Whole = "", nil, false
	return part, true, nil
}

// ask asks for what a loop lacks, if there is a connection. The client must be locked.
func (r *Realtime) ask(f *following) {
	if !r.out.open || f.call != nil || f.known || f.over() {
		return
	}
	o := op{Op: "stream", Channel: f.channel, ID: f.id, Run: f.run}
	if f.run != "" {
		next := f.next
		o.Offset = &next
	}
	c := &call{op: o, due: f.rest}
	c.done = func(answer frame, err error) {
		f.call = nil
		switch {
		case err != nil:
			f.end(err)
		case !slices.Contains(r.followings, f): // the loop is over
			r.leave(f.channel, f.id)
		default:
			f.known = true
			f.take(answer)
		}
	}
	f.call = c
	r.out.add(c)
}

// take takes a frame with content, or an end.
func (f *following) take(a frame) {
	p := &f.part
	p.State = realtime.StreamStreaming
	switch {
	case a.Event == "stream.append" && a.Offset != f.next:
		return // it was in the answer
	case a.Event == "stream":
		keep := a.Partial && a.Run == f.run && f.next > a.Next
		if a.Offset == 0 && !keep {
			p.Text, p.Items, p.Whole = "", nil, true
		} else if keep {
			a.Text, a.Items, a.Next = "", nil, f.next
		}
		f.run = a.Run
		p.Metadata, p.UserID, p.From, p.Partial = a.Metadata, a.UserID, a.From, a.Partial && !keep
	}
	p.Text += a.Text
	p.Items = append(p.Items, a.Items...)
	if a.Next > 0 || a.Event == "stream" {
		f.next = a.Next
	}
	if a.State != "" {
		p.State = realtime.StreamState(a.State)
	}
	if e := a.Error; e != nil {
		p.Err = &Error{Code: e.Code, Message: e.Message, Retry: e.Retry}
	}
	f.ready = true
	kick(f.wake)
}

// cut forgets what the connection had been told.
func (f *following) cut() { f.known, f.call = false, nil }

// over reports whether the message has ended, as far as the loop can know.
func (f *following) over() bool {
	return f.err != nil || f.part.State != "" && f.part.State != realtime.StreamStreaming
}

func (f *following) end(err error) {
	if f.err == nil {
		f.err = err
	}
	kick(f.wake)
}

// grown handles what a server says of growing messages, beside answers.
func (r *Realtime) grown(a frame) {
	for _, f := range r.followings {
		switch {
		case f.channel != a.Channel || f.id != a.ID || !f.known:
		case a.Event != "unstreamed":
			f.take(a)
		case a.Retry:
			f.known, f.rest = false, time.Now().Add(pause())
			r.ask(f)
		default:
			f.known = false
			f.end(a.refusal())
		}
	}
}

// unfollow ends a loop.
func (r *Realtime) unfollow(f *following) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followings = slices.DeleteFunc(r.followings, func(other *following) bool { return other == f })
	if f.known && !f.over() {
		r.leave(f.channel, f.id)
	}
}

// leave tells the server that no loop follows a message any longer, if that is so.
func (r *Realtime) leave(channel, id string) {
	others := slices.ContainsFunc(r.followings, func(f *following) bool {
		return f.channel == channel && f.id == id && (f.known || f.call != nil)
	})
	if others || !r.out.open {
		return
	}
	r.out.add(&call{op: op{Op: "unstream", Channel: channel, ID: id}, done: func(frame, error) {}})
}

// question sends an operation that outlives connections, and returns the answer.
func (r *Realtime) question(ctx context.Context, o op) (frame, error) {
	type answer struct {
		frame
		err error
	}
	answered := make(chan answer, 1)
	c := &call{op: o, keep: true, done: func(f frame, err error) { answered <- answer{f, err} }}
	r.mu.Lock()
	err := r.keep(c)
	r.mu.Unlock()
	if err != nil {
		return frame{}, err
	}
	select {
	case a := <-answered:
		return a.frame, a.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.out.remove(c) {
		a := <-answered
		return a.frame, a.err
	}
	return frame{}, fault.Errorf("client: %s: %w", o.Op, r.waited(ctx.Err()))
}
