package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
)

// A goCall is what a host does with a node.
type goCall func(t *testing.T, rt *realtime.Realtime) error

type badGoCall struct {
	name string
	call goCall
	want any // an error, or where errors.As is to find one; nil: any error
}

func TestBadGoCalls(t *testing.T) {
	for _, c := range slices.Concat(badPublishes, badEmits, badPresenceCalls, badPatterns) {
		bubble(t, c.name, c.refused)
	}
}

// refused calls, and wants the error and nothing else to happen.
func (c badGoCall) refused(t *testing.T) {
	rt, err := realtime.New(open(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	before := rt.Cursor()
	err = c.call(t, rt)
	switch want := c.want.(type) {
	case nil:
		if err == nil {
			t.Error("no error")
		}
	case error:
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	default:
		if !errors.As(err, want) {
			t.Errorf("%v, want a %T", err, want)
		}
	}
	if err != nil {
		brief(t, c.name, strings.ReplaceAll(err.Error(), "json:", ""))
	}
	synctest.Wait()
	if rt.Cursor() != before {
		t.Error("what was refused has happened")
	}
}

var notUTF8 = json.RawMessage("\"\xff\"")

func cyclic() map[string]any {
	m := map[string]any{}
	m["self"] = m
	return m
}

func callPublish(channel string, data any, opts ...realtime.EventOption) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		return rt.Publish(t.Context(), channel, data, opts...)
	}
}

func callPublishCancelled(t *testing.T, rt *realtime.Realtime) error {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return rt.Publish(ctx, "room", 1)
}

var badPublishes = []badGoCall{
	{"empty channel", callPublish("", 1), realtime.ErrBadChannel},
	{"reserved channel", callPublish("$x", 1), realtime.ErrBadChannel},
	{"long channel", callPublish(long[:256], 1), realtime.ErrBadChannel},
	{"channel with a line break", callPublish("a\nb", 1), realtime.ErrBadChannel},
	{"channel not UTF-8", callPublish("a\xff", 1), realtime.ErrBadChannel},
	{"data: func", callPublish("room", func() {}), new(*json.UnsupportedTypeError)},
	{"data: channel", callPublish("room", make(chan int)), new(*json.UnsupportedTypeError)},
	{"data: NaN", callPublish("room", math.NaN()), new(*json.UnsupportedValueError)},
	{"data: cyclic", callPublish("room", cyclic()), new(*json.UnsupportedValueError)},
	{"data: not JSON", callPublish("room", json.RawMessage("{")), new(*json.SyntaxError)},
	{"data: two values", callPublish("room", json.RawMessage("1 2")), new(*json.SyntaxError)},
	{"data: empty", callPublish("room", json.RawMessage("")), nil},
	{"data: not UTF-8", callPublish("room", notUTF8), nil},
	{"data: not UTF-8 within", callPublish("room", map[string]any{"a": notUTF8}), nil},
	{"data: not UTF-8 from a Marshaler", callPublish("room", marshaler("\"\xff\"")), nil},
	{"data: too large", callPublish("room", strings.Repeat("x", 1<<20)), realtime.ErrTooLarge},
	{"cancelled", callPublishCancelled, context.Canceled},
	{"bad user", callPublish("room", 1, realtime.AsUser("a\x00")), realtime.ErrBadUser},
	{"long user", callPublish("room", 1, realtime.AsUser(long)), realtime.ErrBadUser},
	{"bad client", callPublish("room", 1, realtime.FromClient("short")), realtime.ErrBadClientID},
	{"long id", callPublish("room", 1, realtime.WithID(long)), realtime.ErrBadEvent},
}

// callEmit wants Emit and Validate to agree as well.
func callEmit(ev realtime.RenEvent, opts ...realtime.EventOption) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		err := rt.Emit(t.Context(), ev, opts...)
		if bad := ev.Validate(); (bad != nil) != errors.Is(err, realtime.ErrBadEvent) && !errors.Is(err, realtime.ErrTooLarge) {
			t.Errorf("%+v: Validate says %v, Emit says %v", ev, bad, err)
		}
		return err
	}
}

func callEmitCustom(change func(*realtime.RenEvent)) goCall {
	ev := realtime.RenEvent{Type: "x", Resource: "custom", Key: "k"}
	change(&ev)
	return callEmit(ev)
}

var badEmits = []badGoCall{
	{"no event", callEmit(realtime.RenEvent{}), realtime.ErrBadEvent},
	{"no type", callEmit(realtime.RenEvent{Resource: "x"}), realtime.ErrBadEvent},
	{"no resource", callEmit(realtime.RenEvent{Type: "x"}), realtime.ErrBadEvent},
	{"type of db in storage", callEmit(realtime.RenEvent{Resource: "storage", Type: "db.document.created"}), realtime.ErrBadEvent},
	{"leave of another resource", callEmitCustom(func(ev *realtime.RenEvent) { ev.Type = "presence.leave" }), realtime.ErrBadEvent},
	{"reserved type", callEmitCustom(func(ev *realtime.RenEvent) { ev.Type = "$x" }), realtime.ErrBadEvent},
	{"reserved resource", callEmitCustom(func(ev *realtime.RenEvent) { ev.Resource = "$x" }), realtime.ErrBadEvent},
	{"any resource", callEmitCustom(func(ev *realtime.RenEvent) { ev.Resource = "*" }), realtime.ErrBadEvent},
	{"long resource", callEmitCustom(func(ev *realtime.RenEvent) { ev.Resource = long[:65] }), realtime.ErrBadEvent},
	{"message", callEmit(realtime.RenEvent{Type: "realtime.message", Resource: "realtime", Channel: "room"}), realtime.ErrBadEvent},
	{"presence", callEmit(realtime.RenEvent{Type: "presence.leave", Resource: "presence", Channel: "room"}), realtime.ErrBadEvent},
	{"channel", callEmitCustom(func(ev *realtime.RenEvent) { ev.Channel = "room" }), realtime.ErrBadEvent},
	{"key with a line break", callEmitCustom(func(ev *realtime.RenEvent) { ev.Key = "a\rb" }), realtime.ErrBadEvent},
	{"key not UTF-8", callEmitCustom(func(ev *realtime.RenEvent) { ev.Key = "\xff" }), realtime.ErrBadEvent},
	{"long key", callEmitCustom(func(ev *realtime.RenEvent) { ev.Key = long }), realtime.ErrBadEvent},
	{"long namespace", callEmitCustom(func(ev *realtime.RenEvent) { ev.Namespace = long }), realtime.ErrBadEvent},
	{"long version", callEmitCustom(func(ev *realtime.RenEvent) { ev.Version = long }), realtime.ErrBadEvent},
	{"event's user not UTF-8", callEmitCustom(func(ev *realtime.RenEvent) { ev.User = "\xff" }), nil},
	{"event's user long", callEmitCustom(func(ev *realtime.RenEvent) { ev.User = long }), nil},
	{"event's data not JSON", callEmitCustom(func(ev *realtime.RenEvent) { ev.Data = []byte("{") }), realtime.ErrBadEvent},
	{"event's data empty", callEmitCustom(func(ev *realtime.RenEvent) { ev.Data = []byte("") }), realtime.ErrBadEvent},
	{"event's data not UTF-8", callEmitCustom(func(ev *realtime.RenEvent) { ev.Data = notUTF8 }), realtime.ErrBadEvent},
	{"event's data too large", callEmitCustom(func(ev *realtime.RenEvent) { ev.Data = make([]byte, 1<<20+1) }), realtime.ErrTooLarge},
	{"event from a bad client", callEmit(realtime.KVPut("n", "k"), realtime.FromClient(long)), realtime.ErrBadClientID},
}

func callJoin(channel, user string, metadata any, opts ...realtime.EventOption) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		return rt.Presence().Join(t.Context(), channel, user, metadata, opts...)
	}
}

func callLeave(channel, user string) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		return rt.Presence().Leave(t.Context(), channel, user)
	}
}

func callMembers(channel string) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		_, err := rt.Presence().Members(t.Context(), channel)
		return err
	}
}

var badPresenceCalls = []badGoCall{
	{"join: bad channel", callJoin("", "ada", nil), realtime.ErrBadChannel},
	{"join: no user", callJoin("room", "", nil), realtime.ErrBadUser},
	{"join: bad user", callJoin("room", "a\nb", nil), realtime.ErrBadUser},
	{"join: long user", callJoin("room", long, nil), realtime.ErrBadUser},
	{"join: bad client", callJoin("room", "ada", nil, realtime.FromClient("short")), realtime.ErrBadClientID},
	{"join: metadata too large", callJoin("room", "ada", long+long), realtime.ErrTooLarge},
	{"join: metadata not JSON", callJoin("room", "ada", json.RawMessage("{")), new(*json.SyntaxError)},
	{"join: metadata not UTF-8", callJoin("room", "ada", notUTF8), nil},
	{"join: metadata not UTF-8 within", callJoin("room", "ada", []any{notUTF8}), nil},
	{"leave: bad channel", callLeave("$x", "ada"), realtime.ErrBadChannel},
	{"leave: bad user", callLeave("room", ""), realtime.ErrBadUser},
	{"members: bad channel", callMembers(""), realtime.ErrBadChannel},
}

func callWaitFor(m realtime.EventMatch) goCall {
	return func(t *testing.T, rt *realtime.Realtime) error {
		_, err := rt.WaitFor(t.Context(), m, "")
		return err
	}
}

var badPatterns = []badGoCall{
	{"pattern: class", callWaitFor(realtime.EventMatch{Channel: "room:[a"}), realtime.ErrBadPattern},
	{"pattern: brace", callWaitFor(realtime.EventMatch{Key: "{a,b"}), realtime.ErrBadPattern},
	{"pattern: wildcards", callWaitFor(realtime.EventMatch{Key: "*a*b*c*"}), realtime.ErrBadPattern},
	{"pattern: long", callWaitFor(realtime.EventMatch{Key: "?" + long}), realtime.ErrBadPattern},
}

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

func TestAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		rt, err := realtime.New(open(), nil)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := rt.WaitFor(ctx, realtime.EventMatch{}, "")
			waiting <- err
		}()
		synctest.Wait()
		for range 2 {
			if err := rt.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-waiting; !errors.Is(err, realtime.ErrClosed) {
			t.Errorf("WaitFor that waited: %v", err)
		}
		for name, call := range map[string]func() error{
			"Publish":  func() error { return rt.Publish(ctx, "room", 1) },
			"Emit":     func() error { return rt.Emit(ctx, realtime.KVPut("n", "k")) },
			"Join":     func() error { return rt.Presence().Join(ctx, "room", "ada", nil) },
			"Leave":    func() error { return rt.Presence().Leave(ctx, "room", "ada") },
			"Members":  func() error { _, err := rt.Presence().Members(ctx, "room"); return err },
			"Channels": func() error { _, err := rt.Channels(ctx); return err },
			"WaitFor":  func() error { _, err := rt.WaitFor(ctx, realtime.EventMatch{}, ""); return err },
			"Events": func() error {
				for _, err := range rt.Events(ctx, realtime.EventMatch{}) {
					return err
				}
				return nil
			},
		} {
			if err := call(); !errors.Is(err, realtime.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if rt.Cursor() == "" {
			t.Error("no cursor")
		}
		if err := rt.Revoke(ctx, "ada"); err != nil {
			t.Errorf("Revoke: %v", err)
		}
	})
}
