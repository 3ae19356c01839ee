package realtime_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// numbers calls f with each number within an options struct, by its path.
func numbers(path string, v reflect.Value, f func(path string, number reflect.Value)) {
	for field, value := range v.Fields() {
		switch name := path + "." + field.Name; value.Kind() {
		case reflect.Int, reflect.Int64:
			f(name, value)
		case reflect.Struct:
			numbers(name, value, f)
		}
	}
}

// off are the options that a negative value switches off.
var off = []string{
	"Options.Presence.CloseGrace", "Options.Presence.DropGrace", "Options.Limits.Channels", "Options.Limits.Rate", "Options.Limits.Burst",
	"Options.Limits.Connections", "Options.Limits.UserRate", "Options.Limits.UserBurst", "Options.Limits.Ephemeral",
	"Options.Streams.Open", "Options.Streams.Channel",
}

// TestBadOptionsAreNamed: each number there is, and no other than the one that is
// wrong.
func TestBadOptionsAreNamed(t *testing.T) {
	seen := 0
	check := func(path string, opts any, try func() error) {
		numbers(path, reflect.ValueOf(opts).Elem(), func(path string, number reflect.Value) {
			seen++
			number.SetInt(-1)
			defer number.SetInt(0)
			err := try()
			if slices.Contains(off, path) {
				noError(t, err)
				return
			}
			if !errors.Is(err, realtime.ErrBadOption) || !strings.Contains(err.Error(), path+" is -1") || strings.Count(err.Error(), "must be") != 1 {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	var opts realtime.Options
	check("Options", &opts, func() error {
		rt, err := realtime.New(realtime.Policy{}, &opts)
		if err == nil {
			rt.Close(context.Background())
		}
		return err
	})
	h := start(t, open(), nil)
	var group realtime.GroupOptions
	check("GroupOptions", &group, func() error {
		return h.Group("group", &group, func(*realtime.Group) error { return nil })
	})
	if seen < 20 {
		t.Errorf("looked at %d options", seen)
	}
	_, err := realtime.New(realtime.Policy{}, &realtime.Options{StreamLife: time.Second - 1, Limits: realtime.Limits{Publish: -7}})
	for _, want := range []string{"Options.StreamLife is 999.999999ms, and must be at least 1s", "Options.Limits.Publish is -7"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// Options that mean nothing to a method are refused, not swallowed.
func TestMeaninglessOptions(t *testing.T) {
	h := start(t, open(), nil)
	ctx, p := t.Context(), h.Presence()
	after := h.Cursor()
	for name, opt := range map[string]realtime.EventOption{
		"AsUser": realtime.AsUser("ada"), "WithID": realtime.WithID("1"), "AsUser(empty)": realtime.AsUser(""), "nil": nil,
		"PublishedAt": realtime.PublishedAt(new(realtime.Cursor)),
	} {
		word, _, _ := strings.Cut(name, "(")
		for method, err := range map[string]error{
			"Join":  p.Join(ctx, "room", "ada", nil, realtime.FromClient("browser-0001.tab1"), opt),
			"Leave": p.Leave(ctx, "room", "ada", opt),
		} {
			if !errors.Is(err, realtime.ErrBadOption) || !strings.Contains(err.Error(), word) {
				t.Errorf("%s with %s: %v", method, name, err)
			}
		}
	}
	ev := realtime.KVPut("demo", "a")
	ev.User = "ada"
	for name, err := range map[string]error{
		"Publish with nil":       h.Publish(ctx, "room", 1, nil),
		"Emit with nil":          h.Emit(ctx, ev, nil),
		"Publish at nil":         h.Publish(ctx, "room", 1, realtime.PublishedAt(nil)),
		"Emit at nil":            h.Emit(ctx, ev, realtime.PublishedAt(nil)),
		"Emit with another user": h.Emit(ctx, ev, realtime.AsUser("bob")),
	} {
		if !errors.Is(err, realtime.ErrBadOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	noError(t, h.Emit(ctx, ev, realtime.AsUser("ada")))
	got, err := h.WaitFor(ctx, realtime.EventMatch{}, after)
	if err != nil || got.Type != "kv.put" || got.User != "ada" {
		t.Errorf("the first event is %+v, %v", got, err)
	}
}

// fake is what a host may test its code against.
type fake struct{ said []realtime.EventOptions }

func (f *fake) Publish(_ context.Context, _ string, _ any, opts ...realtime.EventOption) error {
	f.said = append(f.said, realtime.EventOptionsOf(opts...))
	return nil
}

func (f *fake) Emit(ctx context.Context, _ realtime.RenEvent, opts ...realtime.EventOption) error {
	return f.Publish(ctx, "", nil, opts...)
}

var _ realtime.Publisher = (*fake)(nil)

// A fake Publisher sees what it was given.
func TestEventOptionsOf(t *testing.T) {
	var f fake
	var at realtime.Cursor
	noError(t, f.Publish(t.Context(), "room", 1))
	noError(t, f.Publish(t.Context(), "room", 1, realtime.AsUser("ada"), nil, realtime.FromClient("short"), realtime.WithID("1")))
	noError(t, f.Emit(t.Context(), realtime.KVPut("demo", "a"), realtime.AsUser("ada"), realtime.AsUser("bob"), realtime.PublishedAt(&at)))
	want := []realtime.EventOptions{{}, {User: "ada", Client: "short", ID: "1"}, {User: "bob", PublishedAt: &at}}
	if !slices.Equal(f.said, want) {
		t.Errorf("%+v, want %+v", f.said, want)
	}
}

// PublishedAt is the place of the event: what is read after it came later, and the
// event itself comes after what was there before.
func TestPublishedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		before := h.Cursor()
		var at, again, emitted realtime.Cursor
		noError(t, h.Publish(t.Context(), "room", 1, realtime.WithID("1"), realtime.PublishedAt(&at)))
		if at != h.Cursor() { // else a reader that begins there is reset
			t.Errorf("the message is at %q, and the node at %q", at, h.Cursor())
		}
		noError(t, h.Emit(t.Context(), realtime.KVPut("demo", "a"), realtime.PublishedAt(&emitted)))
		noError(t, h.Publish(t.Context(), "room", 2))
		noError(t, h.Publish(t.Context(), "room", 3, realtime.WithID("1"), realtime.PublishedAt(&again)))
		if at == "" || at != again {
			t.Errorf("the message is at %q, and its repetition at %q", at, again)
		}
		for _, c := range []struct {
			after realtime.Cursor
			want  string
		}{{before, "realtime.message 1"}, {at, "kv.put "}, {emitted, "realtime.message 2"}} {
			ev, err := h.WaitFor(t.Context(), realtime.EventMatch{}, c.after)
			if got := ev.Type + " " + string(ev.Data); err != nil || got != c.want {
				t.Errorf("after %q comes %s, %v, want %s", c.after, got, err, c.want)
			}
		}
		kept := at
		if err := h.Publish(t.Context(), "", 1, realtime.PublishedAt(&at)); err == nil || at != kept {
			t.Errorf("after %v the cursor is %q", err, at)
		}
	})
}

// A log that lags does not hold up who publishes for long, and the event counts.
func TestPublishedAtOfALaggingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: log})
		log.Hold()
		var at realtime.Cursor
		began := time.Now()
		noError(t, h.Publish(t.Context(), "room", 1, realtime.PublishedAt(&at)))
		if took := time.Since(began); took != 2*time.Second || at == "" {
			t.Errorf("published at %q after %v", at, took)
		}
		log.Release()
		synctest.Wait()
		if at != h.Cursor() {
			t.Errorf("the message is at %q, and the node at %q", at, h.Cursor())
		}
		log.Hold()
		began = time.Now()
		noError(t, h.Publish(t.Context(), "room", 2))
		if took := time.Since(began); took != 0 {
			t.Errorf("who asks for no place waits %v for the log", took)
		}
		log.Release()
	})
}
