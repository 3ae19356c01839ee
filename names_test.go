package realtime_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
)

// An error of a bad name has the name and what is wrong with it. An error of a client id
// does not have it, since it is a secret.
func TestErrorsOfNames(t *testing.T) {
	h := start(t, open(), nil)
	ctx := t.Context()
	long := strings.Repeat("x", 300)
	event := func(change func(*realtime.RenEvent)) error {
		ev := realtime.KVPut("demo", "key")
		change(&ev)
		return h.Emit(ctx, ev)
	}
	members := func(channel string) error {
		_, err := h.Presence().Members(ctx, channel)
		return err
	}
	history := func(channel string) error {
		_, err := h.History(ctx, channel, "", 1)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"empty channel":     {h.Publish(ctx, "", 1), `bad channel "": it is empty`},
		"long channel":      {h.Publish(ctx, long, 1), `bad channel "` + long[:64] + `"…: it has 300 bytes, and may have 255`},
		"reserved channel":  {members("$x"), `bad channel "$x": names that begin with '$' are reserved`},
		"channel not UTF-8": {history("a\xff"), `it is not UTF-8`},
		"line in a channel": {h.Presence().Join(ctx, "a\nb", "ada", nil), `bad channel "a\nb": it has a control character`},
		"no user":           {h.Presence().Join(ctx, "room", "", nil), `bad user id "": it is empty`},
		"long user":         {h.Publish(ctx, "room", 1, realtime.AsUser(long)), `it has 300 bytes, and may have 255`},
		"client id":         {h.Publish(ctx, "room", 1, realtime.FromClient("secret")), `bad client id: 6 bytes, and must be 16 to 64`},
		"long key":          {event(func(ev *realtime.RenEvent) { ev.Key = long }), `bad event: key "` + long[:64] + `"…: it has 300 bytes`},
		"bad namespace":     {event(func(ev *realtime.RenEvent) { ev.Namespace = "\x00" }), `bad event: namespace "\x00": it has a control character`},
		"bad version":       {event(func(ev *realtime.RenEvent) { ev.Version = "\x00" }), `bad event: version "\x00": it has a control character`},
		"bad user":          {event(func(ev *realtime.RenEvent) { ev.User = "\x00" }), `bad event: user "\x00": it has a control character`},
		"no type":           {event(func(ev *realtime.RenEvent) { ev.Type = "" }), `bad event: type "": it is empty`},
		"no resource":       {event(func(ev *realtime.RenEvent) { ev.Resource = "my jobs" }), `bad event: resource "my jobs" is not 1 to 64 characters`},
		"data":              {event(func(ev *realtime.RenEvent) { ev.Data = json.RawMessage(`{`) }), `bad event: data: unexpected end`},
		"op":                {h.OnStorage(realtime.StorageMatch{Op: "create"}, func(context.Context, realtime.RenEvent) error { return nil }), `Op is "create", and must be the last word of one of ["storage.object.created"`},
		"group":             {h.Group("$x", nil, nil), `bad group: name "$x": names that begin with '$' are reserved`},
		"no register":       {h.Group("x", nil, nil), `the function that registers the handlers of a group is nil`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", name, c.err, c.want)
		}
	}
}
