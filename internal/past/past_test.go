package past_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func message(n uint64) *backend.Event {
	return &backend.Event{
		Type: backend.Message, Resource: backend.Realtime, Channel: "room", UnixMilli: time.Now().UnixMilli(), Data: fmt.Appendf(nil, `"message %d"`, n),
	}
}

func cursor(n uint64) string { return wire.Cursor(backend.Position{Epoch: 1, Seq: n}) }

// reader has the messages 6 to 9 in its history, and those from 1 on at the host, which
// knows what its own cursors "1", "2", … mean, and those of the log.
func reader(t *testing.T, host bool) *past.Reader {
	history := ring.New(ring.Limits{Records: 4, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	for n := uint64(1); n <= 9; n++ {
		history.Put([]*backend.Logged{{Pos: backend.Position{Epoch: 1, Seq: n}, Event: *message(n)}})
	}
	r := &past.Reader{Ring: history, Settle: func(context.Context) {}, Logger: slog.New(slog.DiscardHandler)}
	if host {
		r.Older = func(_ context.Context, _, before string, limit int) (list []past.Message, err error) {
			end := uint64(10)
			for n := uint64(1); n <= 9; n++ {
				if before == fmt.Sprint(n) || before == cursor(n) {
					end = n
				}
			}
			for n := end - min(end-1, uint64(limit)); n < end; n++ {
				list = append(list, past.Message{Event: message(n), Cursor: fmt.Sprint(n)})
			}
			return list, nil
		}
	}
	return r
}

// told is a page as a reader sees it: the numbers of its messages, and how it ends.
func told(p past.Page) string {
	var words []string
	for _, m := range slices.Backward(p.Messages) {
		words = append(words, strings.Trim(string(m.Event.Data), `"mesag `))
	}
	return strings.Join(append(words, string(p.End)), " ")
}

func TestRead(t *testing.T) {
	gone, start := string(ring.Gone), string(ring.Beginning)
	for _, c := range []struct {
		name   string
		host   bool
		before string
		n      int
		pages  []string // until the end
	}{
		{"the history alone", false, "", 3, []string{"7 8 9 ", "6 " + gone}},
		{"on into the host's", true, "", 3, []string{"7 8 9 ", "4 5 6 ", "1 2 3 ", start}},
		{"both on one page", true, "", 7, []string{"3 4 5 6 7 8 9 ", "1 2 " + start}},
		{"a full page at the end of the history", true, "", 4, []string{"6 7 8 9 ", "2 3 4 5 ", "1 " + start}},
		{"from a cursor of the log", true, cursor(8), 3, []string{"5 6 7 ", "2 3 4 ", "1 " + start}},
		{"from a cursor of the host's", true, "3", 5, []string{"1 2 " + start}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, before := reader(t, c.host), c.before
			for i, want := range c.pages {
				p, err := r.Read(t.Context(), past.Query{Channel: "room", Before: before, Want: session.Want{Messages: c.n}})
				if got := told(p); err != nil || got != want {
					t.Fatalf("page %d: %q, %v; want %q", i+1, got, err, want)
				}
				if slices.ContainsFunc(p.Messages, func(m past.Message) bool { return m.Encoded != nil }) {
					t.Errorf("page %d: encoded for nobody", i+1)
				}
				before = p.Next
			}
		})
	}
}

// A page for a client ends before it has too many bytes, and has one message at least.
func TestBytes(t *testing.T) {
	r := reader(t, true)
	for _, c := range []struct {
		bytes int
		want  string
	}{{1, "9 "}, {1 << 20, "1 2 3 4 5 6 7 8 9 "}, {len(wire.Message(message(1), cursor(1))) * 11 / 2, "5 6 7 8 9 "}} {
		p, err := r.Read(t.Context(), past.Query{Channel: "room", Want: session.Want{Messages: 9, Bytes: c.bytes}})
		if got := told(p); err != nil || got != c.want {
			t.Errorf("%d bytes: %q, %v; want %q", c.bytes, got, err, c.want)
		}
		for _, m := range p.Messages { // those of the host, too
			if len(m.Encoded) == 0 {
				t.Errorf("%d bytes: a message is not encoded", c.bytes)
			}
		}
	}
}

// A message that just fits is on the page, and the host is asked only for what the
// history does not have and the page has room for.
func TestBytesThatJustFit(t *testing.T) {
	read := func(bytes int) (p past.Page, asked bool) {
		r := reader(t, true)
		host := r.Older
		r.Older = func(ctx context.Context, channel, before string, limit int) ([]past.Message, error) {
			asked = true
			return host(ctx, channel, before, limit)
		}
		p, err := r.Read(t.Context(), past.Query{Channel: "room", Want: session.Want{Messages: 100, Bytes: bytes}})
		if err != nil {
			t.Fatal(err)
		}
		return p, asked
	}
	all, _ := read(1 << 20)
	bytes := 0
	for i, m := range all.Messages {
		bytes += len(m.Encoded)
		for missing, want := range []int{i + 1, max(i, 1)} {
			p, asked := read(bytes - missing)
			if room := want == 4 && missing == 1; len(p.Messages) != want || asked != (want > 4 || room) {
				t.Errorf("%d bytes have %d messages, want %d; the host was asked: %v", bytes-missing, len(p.Messages), want, asked)
			}
		}
	}
}

// So does one that has the host's messages only.
func TestBytesOfTheHost(t *testing.T) {
	p, err := reader(t, true).Read(t.Context(), past.Query{Channel: "room", Before: "5", Want: session.Want{Messages: 9, Bytes: 1}})
	if got := told(p); err != nil || got != "4 " {
		t.Errorf("%q, %v", got, err)
	}
}

// evens shows every other message.
type evens struct{ session.View }

func (evens) Channel(ev *backend.Event) bool { return (ev.Data[len(ev.Data)-2]-'0')%2 == 0 }

// A view hides messages of the host as it hides those of the history.
func TestView(t *testing.T) {
	p, err := reader(t, true).Read(t.Context(), past.Query{Channel: "room", View: evens{}, Want: session.Want{Messages: 9}})
	if got := told(p); err != nil || got != "2 4 6 8 "+string(ring.Beginning) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	broken := errors.New("no database")
	read := func(r *past.Reader, before string, n int) (past.Page, error) {
		return r.Read(t.Context(), past.Query{Channel: "room", Before: before, Want: session.Want{Messages: n}})
	}
	if _, err := read(reader(t, false), "no cursor", 3); !errors.Is(err, past.ErrBadCursor) {
		t.Errorf("without a host: %v", err)
	}
	r := reader(t, true)
	if _, err := read(r, "a\nb", 3); !errors.Is(err, past.ErrBadCursor) {
		t.Errorf("with control characters: %v", err)
	}
	var logs strings.Builder
	r.Logger = slog.New(slog.NewTextHandler(&logs, nil))
	r.Older = func(context.Context, string, string, int) ([]past.Message, error) {
		return []past.Message{{Event: message(5), Cursor: "5"}}, broken
	}
	if p, err := read(r, "", 9); err != nil || told(p) != "6 7 8 9 " {
		t.Errorf("the page before the fault: %q, %v", told(p), err)
	}
	if !strings.Contains(logs.String(), "no database") {
		t.Errorf("the log says %q", logs.String())
	}
	if _, err := read(r, cursor(6), 3); !errors.Is(err, broken) {
		t.Errorf("at the fault: %v", err)
	}
}
