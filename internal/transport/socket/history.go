package socket

import (
	"errors"
	"slices"

	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// historyCost is how many operations one page of history counts as: it is read from
// memory, or from the host's database, and may have a quarter of a megabyte.
const historyCost = 5

// mayRead decides whether the client may read the past of a channel.
func (s *socket) mayRead(channel string) *wire.Error {
	verb := policy.Subscribe
	if s.node.Policy.AskHistory {
		verb = policy.History
	}
	return s.allow(verb, channel)
}

// history sends a page of the past of a channel. At most one page waits for a client
// that does not read.
func (s *socket) history(op wire.Op) *wire.Error {
	n, refused := op.PageSize(s.node.Limits.Page)
	if refused == nil {
		refused = s.mayRead(op.Channel)
	}
	if refused != nil {
		return refused
	}
	// A page that is asked for after a subscription begins where that begins, or later.
	if !s.hasBegun() {
		return s.failed("history", bounded.ErrClosed)
	}
	select {
	case <-s.paged:
	case <-s.ctx.Done():
		return s.failed("history", bounded.ErrClosed)
	}
	checks := s.checks.Load()
	p, refused := s.page(op, n)
	if refused == nil && s.checks.Load() != checks { // History.Older has perhaps called Recheck, which does not wait for it
		refused = s.mayRead(op.Channel)
	}
	if refused != nil {
		return refused
	}
	sent := make(chan struct{})
	s.paged = sent
	s.do(func() {
		s.session.History(op.Ref, p)
		s.session.Do(func() { close(sent) }) // when this is written
	})
	return nil
}

// page reads a page.
func (s *socket) page(op wire.Op, n int) (session.Page, *wire.Error) {
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	call := &rights.Call{Conn: &s.conn, Holds: true} // History.Older may call Revoke
	ctx, end := call.Begin(ctx)
	defer end()
	page, err := s.node.Past.Read(ctx, past.Query{
		Channel: op.Channel, Before: op.Before, Want: session.Want{Messages: n, Bytes: wire.MaxPage}, View: s.view(s.id),
	})
	switch {
	case s.ctx.Err() != nil: // it may have been revoked meanwhile
		return session.Page{}, s.failed("history", bounded.ErrClosed)
	case errors.Is(err, past.ErrBadCursor):
		return session.Page{}, wire.Errorf("bad_request", "%s is not a cursor", wire.Quote(op.Before))
	case err != nil:
		return session.Page{}, s.failed("history", err)
	}
	p := session.Page{Channel: op.Channel, End: string(page.End)}
	if p.End == "" {
		p.Before = page.Next
	}
	for _, m := range slices.Backward(page.Messages) {
		p.Messages = append(p.Messages, session.PageMessage{Event: m.Event, Encoded: m.Encoded})
	}
	return p, nil
}
