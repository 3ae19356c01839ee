package past_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/refused"
)

var errClosed = errors.New("closed")

// host asks a host that answers with messages.
func host(ctx context.Context, answer past.Older) *past.Host {
	return past.NewHost(ctx, errClosed, slog.New(slog.DiscardHandler), answer)
}

// What the host leaves out of a message is filled in; what makes it none is an error that
// says which one it is.
func TestHostsMessages(t *testing.T) {
	for name, c := range map[string]struct {
		ev     backend.Event
		cursor string
		fault  string // "": none
	}{
		"the least":       {backend.Event{Data: []byte(" [1] ")}, "1", ""},
		"all":             {backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "room", User: "ada", Data: []byte("1")}, "1", ""},
		"no cursor":       {backend.Event{Data: []byte("1")}, "", "cursor"},
		"a long cursor":   {backend.Event{Data: []byte("1")}, strings.Repeat("x", 256), "cursor"},
		"another channel": {backend.Event{Channel: "lobby", Data: []byte("1")}, "1", "not a message of the channel"},
		"another type":    {backend.Event{Type: backend.KVPut, Data: []byte("1")}, "1", "not a message of the channel"},
		"a bad user":      {backend.Event{User: "a\nb", Data: []byte("1")}, "1", "user or source"},
		"no JSON":         {backend.Event{Data: []byte("{")}, "1", "data"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t.Context(), func(context.Context, string, string, int) ([]past.Message, error) {
				good := message(1)
				return []past.Message{{Event: good, Cursor: "0"}, {Event: &c.ev, Cursor: c.cursor}}, nil
			})
			list, err := h.Older(t.Context(), "room", "", 2)
			if c.fault != "" {
				if !errors.Is(err, refused.ErrBadEvent) || !strings.Contains(err.Error(), "message 2 of 2: ") || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ev := list[1].Event; ev.Type != backend.Message || ev.Resource != backend.Realtime || ev.Channel != "room" || strings.Contains(string(ev.Data), " ") {
				t.Errorf("the message is %+v", ev)
			}
		})
	}
}

// A host that does not answer is asked again later; after the end of the node it is not
// waited for.
func TestHostHangs(t *testing.T) {
	for name, c := range map[string]struct {
		left bool // it ignores its context
		end  bool // the node ends
		want error
	}{
		"slow":             {want: bounded.ErrTemporary},
		"hangs":            {left: true, want: bounded.ErrTemporary},
		"slow, at the end": {end: true, want: errClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				running, end := context.WithCancel(t.Context())
				defer end()
				returns := make(chan struct{})
				h := host(running, func(ctx context.Context, _, _ string, _ int) ([]past.Message, error) {
					<-ctx.Done()
					if c.left {
						<-returns
					}
					return nil, ctx.Err()
				})
				if c.end {
					time.AfterFunc(time.Second, end)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if _, err := h.Older(ctx, "room", "", 1); !errors.Is(err, c.want) {
					t.Errorf("the error is %v", err)
				}
				close(returns)
				if err := h.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
