package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// log is a log of which the test reads what it has, and of which the node reads nothing
// unless the test puts it into the ring.
type log struct {
	backend.Log
	entries []backend.Entry
	err     error
	given   context.Context // for Read
	others  uint64          // events of other nodes, before those of this one
	epoch   uint64          // since the one that the ring began with
	busy    chan struct{}   // Append ends with it; nil: at once
}

func (l *log) Append(_ context.Context, e backend.Entry) (backend.Position, error) {
	if l.busy != nil {
		<-l.busy
	}
	if l.err != nil {
		return backend.Position{}, l.err
	}
	l.entries = append(l.entries, e)
	return l.head(), nil
}

func (l *log) Read(ctx context.Context, _ backend.Position, _ int) (backend.Page, error) {
	l.given = ctx
	return backend.Page{Head: l.head()}, l.err
}

func (l *log) head() backend.Position {
	return backend.Position{Epoch: 1 + l.epoch, Seq: l.others + uint64(len(l.entries))}
}

// node is a Publisher with its log and ring.
func node(tracer publish.Tracer) (*publish.Publisher, *log, *ring.Ring) {
	l, sender := &log{}, live.New()
	sender.Rate = 100
	history := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	return publish.New(l, history, sender, tracer), l, history
}

// come has the ring read what was appended.
func come(history *ring.Ring, l *log) {
	for next := history.Head().Seq + 1; next <= l.head().Seq; next++ {
		history.Put([]*backend.Logged{{Pos: backend.Position{Epoch: 1, Seq: next}, Event: publish.Message("room", json.RawMessage("1"))}})
	}
}

// An entry has what the event is attributed to.
func TestOrigin(t *testing.T) {
	p, l, _ := node(publish.Tracer{Publish: func(ctx context.Context, _ backend.Event) (context.Context, backend.Trace, func(error)) {
		return ctx, backend.Trace{Parent: "parent"}, func(error) {}
	}})
	from := publish.Origin{User: "ada", Client: "client-0123456789", ID: "once", Depth: 3}
	if _, err := p.Append(t.Context(), publish.Message("room", json.RawMessage(`"hi"`)), from); err != nil {
		t.Fatal(err)
	}
	payload, err := backend.DecodePayload(l.entries[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	ev := payload.Event
	if l.entries[0].ID != "once" || payload.Depth != 3 || payload.Trace.Parent != "parent" ||
		ev.User != "ada" || ev.Source != wire.Tag(from.Client) || ev.UnixMilli == 0 || ev.Channel != "room" {
		t.Errorf("the entry is %+v, with id %q", payload, l.entries[0].ID)
	}
}

// Events of handlers are let in for longer than those of the host; the library's own as
// long as either.
func TestGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := node(publish.Tracer{})
		try := func() (said string) {
			_, host := p.Append(t.Context(), backend.Event{}, publish.Origin{})
			_, handler := p.Append(t.Context(), backend.Event{}, publish.Origin{Depth: 1})
			for _, err := range []error{
				host, p.Pass(publish.Message("room", nil), publish.Origin{}), handler, p.AppendControl(t.Context(), backend.Entry{}),
			} {
				switch {
				case err == nil:
					said += "+"
				case errors.Is(err, backend.ErrClosed):
					said += "-"
				default:
					t.Fatal(err)
				}
			}
			return said
		}
		for _, c := range []struct {
			end  func(context.Context)
			want string
		}{{func(context.Context) {}, "++++"}, {p.EndHost, "--++"}, {p.EndHandlers, "----"}} {
			c.end(t.Context())
			if got := try(); got != c.want || p.IsEnded() != (c.want == "----") {
				t.Errorf("let in: %s, want %s; ended: %v", got, c.want, p.IsEnded())
			}
		}
		if got := p.Stats(); got.Calls.Outcomes["closed"] != 3 || got.Ephemeral["closed"] != 2 {
			t.Errorf("outcomes: %v, %v", got.Calls.Outcomes, got.Ephemeral)
		}
	})
}

// What was appended counts as unread until the node has read it back, for which Settle
// waits, but not for ever.
func TestPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l, history := node(publish.Tracer{})
		for range 2 {
			if _, err := p.Append(t.Context(), publish.Message("room", nil), publish.Origin{}); err != nil {
				t.Fatal(err)
			}
		}
		if p.Stats().Unread != 2 || p.Now() != l.head() || history.Head() == l.head() {
			t.Errorf("unread: %d, now: %v", p.Stats().Unread, p.Now())
		}
		waited := func(wait func(context.Context)) time.Duration {
			began := time.Now()
			wait(t.Context())
			return time.Since(began)
		}
		catchUp := func(ctx context.Context) {
			if err := p.CatchUp(ctx); errors.Is(err, context.DeadlineExceeded) == (history.Head() == l.head()) {
				t.Errorf("caught up at %v: %v", history.Head(), err)
			}
		}
		for _, wait := range []func(context.Context){p.Settle, catchUp, func(ctx context.Context) { p.Reach(ctx, l.head()) }} {
			if got := waited(wait); got != 2*time.Second {
				t.Errorf("waited %v for what does not come", got)
			}
		}
		time.AfterFunc(time.Second, func() { come(history, l) })
		if got := waited(p.Settle); got != time.Second || p.Stats().Unread != 0 {
			t.Errorf("waited %v, unread: %d", got, p.Stats().Unread)
		}
		if err := p.CatchUp(t.Context()); err != nil || l.given.Err() == nil {
			t.Errorf("%v, and the context of the log goes on", err)
		}
		if got := waited(catchUp); got != 0 {
			t.Errorf("waited %v for what has come", got)
		}
		l.err = backend.ErrClosed
		if err := p.CatchUp(t.Context()); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("caught up with a log that is closed: %v", err)
		}
	})
}

// A span ends with the error of what it is of.
func TestSpans(t *testing.T) {
	var ended []error
	end := func(err error) { ended = append(ended, err) }
	p, l, _ := node(publish.Tracer{
		Publish: func(ctx context.Context, _ backend.Event) (context.Context, backend.Trace, func(error)) {
			return ctx, backend.Trace{}, end
		},
		Append: func(context.Context, backend.Event) func(error) { return end },
	})
	for _, err := range []error{nil, backend.ErrMaybeStored} {
		l.err, ended = err, nil
		if _, got := p.Append(t.Context(), backend.Event{}, publish.Origin{}); got != err || len(ended) != 2 || ended[0] != err || ended[1] != err {
			t.Errorf("with %v: %v, and the spans ended with %v", err, got, ended)
		}
	}
}

// marshaler is JSON, or what a host takes for it.
type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

// What the host gives is compact JSON within the limit; and memory that is used again has
// the same.
func TestEncode(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		data any
		want string // "": an error
	}{
		{map[string]int{"n": 1}, `{"n":1}`},
		{json.RawMessage(" [1,\n2] "), `[1,2]`},
		{json.RawMessage(`{`), ""},
		{json.RawMessage("\"\xff\""), ""},
		{make(chan int), ""},
		{json.RawMessage(`"` + long + `"`), ""},
		{long, ""},
		{json.RawMessage(`"<` + long[:97] + `"`), `"<` + long[:97] + `"`},
		{marshaler("\"\xff\""), ""},
		{marshaler(`"yes"`), `"yes"`},
		{strings.Repeat("x", 98), `"` + strings.Repeat("x", 98) + `"`},
	} {
		pooled := publish.NewEncoder()
		for _, e := range []*publish.Encoder{nil, pooled} {
			got, err := e.Encode(c.data, 100)
			if string(got) != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%T encodes as %s, %v", c.data, got, err)
			}
		}
		pooled.Release()
	}
	if _, err := publish.Encode(long, 10); !errors.Is(err, refused.ErrTooLarge) {
		t.Errorf("too long: %v", err)
	}
}

// Unread are the events of this node that come after all that the ring has, in the same
// epoch.
func TestUnread(t *testing.T) {
	for name, c := range map[string]struct {
		before, after int    // appended by this node, before and after the ring has read
		others        uint64 // in the log, and read, after those of this node
		epoch         uint64 // that has begun since the ring has read
		want          uint64
	}{
		"nothing":         {},
		"all read":        {before: 3},
		"some read":       {before: 1, after: 2, want: 2},
		"others are last": {before: 1, others: 2},
		"another epoch":   {before: 1, after: 2, epoch: 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, l, history := node(publish.Tracer{})
			appendTo := func(n int) {
				for range n {
					if _, err := p.Append(t.Context(), publish.Message("room", nil), publish.Origin{}); err != nil {
						t.Fatal(err)
					}
				}
			}
			appendTo(c.before)
			l.others = c.others
			come(history, l)
			l.epoch = c.epoch
			appendTo(c.after)
			if got := p.Stats(); got.Unread != c.want || got.Calls.Outcomes["ok"] != uint64(c.before+c.after) {
				t.Errorf("unread: %d, want %d; outcomes: %v", got.Unread, c.want, got.Calls.Outcomes)
			}
		})
	}
}

// EndHost waits for what is on its way: into the log, and back from it.
func TestEnd(t *testing.T) {
	for name, c := range map[string]struct {
		busy, unread time.Duration // how long an event is not in the log, and then not read
		err          error
		want         time.Duration
	}{
		"all is done":       {},
		"slow":              {busy: time.Second, want: time.Second},
		"not read":          {unread: time.Second, want: time.Second},
		"both":              {busy: time.Second, unread: time.Second / 2, want: 1500 * time.Millisecond},
		"hangs":             {busy: time.Hour, want: 2 * time.Second},
		"is never read":     {unread: time.Hour, want: 2 * time.Second},
		"fails":             {err: backend.ErrMaybeStored},
		"fails after a bit": {busy: time.Second, err: backend.ErrMaybeStored, want: time.Second},
	} {
		for _, control := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, l, history := node(publish.Tracer{})
					l.busy, l.err = make(chan struct{}), c.err
					time.AfterFunc(c.busy, func() { close(l.busy) })
					done := make(chan error)
					go func() {
						var err error
						if control {
							err = p.AppendControl(t.Context(), backend.Entry{})
						} else {
							_, err = p.Append(t.Context(), publish.Message("room", nil), publish.Origin{})
						}
						time.Sleep(c.unread)
						come(history, l)
						done <- err
					}()
					synctest.Wait()
					began, want := time.Now(), c.want
					if control { // nobody waits to read it
						want = min(c.busy, 2*time.Second)
					}
					if p.EndHost(t.Context()); time.Since(began) != want {
						t.Errorf("control %v: ended after %v, want %v", control, time.Since(began), want)
					}
					if err := <-done; !errors.Is(err, c.err) {
						t.Errorf("control %v: %v", control, err)
					}
				})
			})
		}
	}
}

// What is live only goes to the sender with who sends it and with its kind: a newer one of
// both replaces it there.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sender := passer()
		typing, drawing := json.RawMessage(`{"type":"typing"}`), json.RawMessage(`{"type":"drawing"}`)
		for i, c := range []struct {
			user    string
			data    json.RawMessage
			waiting int
		}{{"ada", typing, 1}, {"ada", typing, 1}, {"bob", typing, 2}, {"ada", drawing, 3}} {
			if err := p.Pass(publish.Message("room", c.data), publish.Origin{User: c.user}); err != nil || sender.Stats().Waiting != c.waiting {
				t.Errorf("%d: %v, %d wait", i, err, sender.Stats().Waiting)
			}
		}
		most := json.RawMessage(`"` + strings.Repeat("x", wire.MaxEphemeral-2) + `"`)
		if err := p.Pass(publish.Message("large", most), publish.Origin{}); err != nil {
			t.Error(err)
		}
		if err := p.Pass(publish.Message("large", append(most, ' ')), publish.Origin{}); !errors.Is(err, refused.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		var err error
		for i := 0; err == nil && i < 1<<20; i++ {
			err = p.Pass(publish.Message(fmt.Sprint(i), nil), publish.Origin{})
		}
		if !errors.Is(err, bounded.ErrTemporary) || !errors.Is(err, live.ErrFull) {
			t.Errorf("too many: %v", err)
		}
		if got := p.Stats().Ephemeral; got["ok"] < 5 || got["too_large"] != 1 || got["full"] != 1 {
			t.Errorf("outcomes: %v", got)
		}
		began := time.Now()
		if p.EndHost(t.Context()); time.Since(began) != 0 {
			t.Error("a message is still on its way")
		}
	})
}

// passer is a Publisher with its sender, which nobody runs.
func passer() (*publish.Publisher, *live.Sender) {
	sender := live.New()
	sender.Rate = 100
	history := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	return publish.New(&log{}, history, sender, publish.Tracer{}), sender
}
