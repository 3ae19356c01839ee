package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
)

func TestBadGoCalls(t *testing.T) {
	invalid := json.RawMessage("\"\xff\"")
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	background := context.Background()
	type call = func(rt *realtime.Realtime) error
	pub := func(ctx context.Context, channel string, data any, opts ...realtime.EventOption) call {
		return func(rt *realtime.Realtime) error { return rt.Publish(ctx, channel, data, opts...) }
	}
	emit := func(ev realtime.RenEvent, opts ...realtime.EventOption) call {
		return func(rt *realtime.Realtime) error {
			err := rt.Emit(background, ev, opts...)
			if bad := ev.Validate(); (bad != nil) != errors.Is(err, realtime.ErrBadEvent) && !errors.Is(err, realtime.ErrTooLarge) {
				t.Errorf("%+v: Validate says %v, Emit says %v", ev, bad, err)
			}
			return err
		}
	}
	custom := func(change func(*realtime.RenEvent)) call {
		ev := realtime.RenEvent{Type: "x", Resource: "custom", Key: "k"}
		change(&ev)
		return emit(ev)
	}
	join := func(channel, user string, metadata any, opts ...realtime.EventOption) call {
		return func(rt *realtime.Realtime) error {
			return rt.Presence().Join(background, channel, user, metadata, opts...)
		}
	}
	wait := func(m realtime.EventMatch) call {
		return func(rt *realtime.Realtime) error { _, err := rt.WaitFor(background, m, ""); return err }
	}
	var unsupported *json.UnsupportedTypeError
	var unsupportedValue *json.UnsupportedValueError
	var syntax *json.SyntaxError

	for _, c := range []struct {
		name string
		call call
		want any // an error, or where errors.As is to find one; nil: any error
	}{
		{"empty channel", pub(background, "", 1), realtime.ErrBadChannel},
		{"reserved channel", pub(background, "$x", 1), realtime.ErrBadChannel},
		{"long channel", pub(background, long[:256], 1), realtime.ErrBadChannel},
		{"channel with a line break", pub(background, "a\nb", 1), realtime.ErrBadChannel},
		{"channel not UTF-8", pub(background, "a\xff", 1), realtime.ErrBadChannel},
		{"data: func", pub(background, "room", func() {}), &unsupported},
		{"data: channel", pub(background, "room", make(chan int)), &unsupported},
		{"data: NaN", pub(background, "room", math.NaN()), &unsupportedValue},
		{"data: cyclic", pub(background, "room", cyclic), &unsupportedValue},
		{"data: not JSON", pub(background, "room", json.RawMessage("{")), &syntax},
		{"data: two values", pub(background, "room", json.RawMessage("1 2")), &syntax},
		{"data: empty", pub(background, "room", json.RawMessage("")), nil},
		{"data: not UTF-8", pub(background, "room", invalid), nil},
		{"data: not UTF-8 within", pub(background, "room", map[string]any{"a": invalid}), nil},
		{"data: not UTF-8 from a Marshaler", pub(background, "room", marshaler("\"\xff\"")), nil},
		{"data: too large", pub(background, "room", strings.Repeat("x", 1<<20)), realtime.ErrTooLarge},
		{"cancelled", pub(cancelled, "room", 1), context.Canceled},
		{"bad user", pub(background, "room", 1, realtime.AsUser("a\x00")), realtime.ErrBadUser},
		{"long user", pub(background, "room", 1, realtime.AsUser(long)), realtime.ErrBadUser},
		{"bad client", pub(background, "room", 1, realtime.FromClient("short")), realtime.ErrBadClientID},
		{"long id", pub(background, "room", 1, realtime.WithID(long)), realtime.ErrBadEvent},

		{"no event", emit(realtime.RenEvent{}), realtime.ErrBadEvent},
		{"no type", emit(realtime.RenEvent{Resource: "x"}), realtime.ErrBadEvent},
		{"no resource", emit(realtime.RenEvent{Type: "x"}), realtime.ErrBadEvent},
		{"reserved type", custom(func(ev *realtime.RenEvent) { ev.Type = "$x" }), realtime.ErrBadEvent},
		{"reserved resource", custom(func(ev *realtime.RenEvent) { ev.Resource = "$x" }), realtime.ErrBadEvent},
		{"any resource", custom(func(ev *realtime.RenEvent) { ev.Resource = "*" }), realtime.ErrBadEvent},
		{"long resource", custom(func(ev *realtime.RenEvent) { ev.Resource = long[:65] }), realtime.ErrBadEvent},
		{"message", emit(realtime.RenEvent{Type: "realtime.message", Resource: "realtime", Channel: "room"}), realtime.ErrBadEvent},
		{"presence", emit(realtime.RenEvent{Type: "presence.leave", Resource: "presence", Channel: "room"}), realtime.ErrBadEvent},
		{"channel", custom(func(ev *realtime.RenEvent) { ev.Channel = "room" }), realtime.ErrBadEvent},
		{"key with a line break", custom(func(ev *realtime.RenEvent) { ev.Key = "a\rb" }), realtime.ErrBadEvent},
		{"key not UTF-8", custom(func(ev *realtime.RenEvent) { ev.Key = "\xff" }), realtime.ErrBadEvent},
		{"long key", custom(func(ev *realtime.RenEvent) { ev.Key = long }), realtime.ErrBadEvent},
		{"long namespace", custom(func(ev *realtime.RenEvent) { ev.Namespace = long }), realtime.ErrBadEvent},
		{"long version", custom(func(ev *realtime.RenEvent) { ev.Version = long }), realtime.ErrBadEvent},
		{"event's user not UTF-8", custom(func(ev *realtime.RenEvent) { ev.User = "\xff" }), nil},
		{"event's user long", custom(func(ev *realtime.RenEvent) { ev.User = long }), nil},
		{"event's data not JSON", custom(func(ev *realtime.RenEvent) { ev.Data = []byte("{") }), realtime.ErrBadEvent},
		{"event's data empty", custom(func(ev *realtime.RenEvent) { ev.Data = []byte("") }), realtime.ErrBadEvent},
		{"event's data not UTF-8", custom(func(ev *realtime.RenEvent) { ev.Data = invalid }), realtime.ErrBadEvent},
		{"event's data too large", custom(func(ev *realtime.RenEvent) { ev.Data = make([]byte, 1<<20+1) }), realtime.ErrTooLarge},
		{"event from a bad client", emit(realtime.KVPut("n", "k"), realtime.FromClient(long)), realtime.ErrBadClientID},

		{"join: bad channel", join("", "ada", nil), realtime.ErrBadChannel},
		{"join: no user", join("room", "", nil), realtime.ErrBadUser},
		{"join: bad user", join("room", "a\nb", nil), realtime.ErrBadUser},
		{"join: long user", join("room", long, nil), realtime.ErrBadUser},
		{"join: bad client", join("room", "ada", nil, realtime.FromClient("short")), realtime.ErrBadClientID},
		{"join: metadata too large", join("room", "ada", long+long), realtime.ErrTooLarge},
		{"join: metadata not JSON", join("room", "ada", json.RawMessage("{")), &syntax},
		{"join: metadata not UTF-8", join("room", "ada", invalid), nil},
		{"join: metadata not UTF-8 within", join("room", "ada", []any{invalid}), nil},
		{"leave: bad channel", func(rt *realtime.Realtime) error { return rt.Presence().Leave(background, "$x", "ada") }, realtime.ErrBadChannel},
		{"leave: bad user", func(rt *realtime.Realtime) error { return rt.Presence().Leave(background, "room", "") }, realtime.ErrBadUser},
		{"members: bad channel", func(rt *realtime.Realtime) error { _, err := rt.Presence().Members(background, ""); return err }, realtime.ErrBadChannel},

		{"pattern: class", wait(realtime.EventMatch{Channel: "room:[a"}), realtime.ErrBadPattern},
		{"pattern: brace", wait(realtime.EventMatch{Key: "{a,b"}), realtime.ErrBadPattern},
		{"pattern: wildcards", wait(realtime.EventMatch{Key: "*a*b*c*"}), realtime.ErrBadPattern},
		{"pattern: long", wait(realtime.EventMatch{Key: "?" + long}), realtime.ErrBadPattern},
	} {
		bubble(t, c.name, func(t *testing.T) {
			rt, err := realtime.New(open(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close(background)
			before := rt.Cursor()
			err = c.call(rt)
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
		})
	}
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
