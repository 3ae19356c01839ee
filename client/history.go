package client

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// SubscribeOption is an option of [Realtime.Subscribe].
type SubscribeOption func(*rewind)

// Rewind begins a loop with the last n messages of the channel. None is left out
// between them and what comes then, and none comes twice. A server permits 1 to 100 by
// default, and sends at most 256 KiB. With [RewindFor], both bounds count.
func Rewind(n int) SubscribeOption { return func(r *rewind) { r.Messages = &n } }

// RewindFor begins a loop with the messages that are at most so old, as the server
// counts: see [Rewind]. It is rounded up to milliseconds.
func RewindFor(d time.Duration) SubscribeOption {
	ms := (d + time.Millisecond - 1).Milliseconds()
	return func(r *rewind) { r.Millis = &ms }
}

// HistoryPage is a part of the past of a channel: see [realtime.HistoryPage].
type HistoryPage struct {
	Messages []Message // the oldest first
	Before   realtime.Cursor
	End      realtime.HistoryEnd
}

// History returns the messages of a channel before a cursor, at most n of them; the
// newest if before is "". A server permits 1 to 100 by default; with 0 it decides. For
// the page before that, pass Before of the last one, or the Cursor of its oldest message.
//
// It blocks until the server has answered, or ctx ends. Without a connection it waits for
// one. Errors: an [*Error] for the server's refusal, or with the code "too_many" if 100
// operations wait already; that of ctx; [realtime.ErrClosed].
func (r *Realtime) History(ctx context.Context, channel string, before realtime.Cursor, n int) (HistoryPage, error) {
	f, err := r.question(ctx, op{Op: "history", Channel: channel, Before: string(before), Limit: n})
	if err != nil {
		return HistoryPage{}, err
	}
	return f.page(), nil
}

func (f *frame) page() HistoryPage {
	p := HistoryPage{Before: realtime.Cursor(f.Before), End: realtime.HistoryEnd(f.End)}
	for i := range f.Messages {
		p.Messages = append(p.Messages, f.Messages[i].message())
	}
	return p
}
