package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// texts lists the data of a page, the oldest first, and how it ends.
func texts(p realtime.HistoryPage) string {
	var list []string
	for _, ev := range p.Events {
		list = append(list, string(ev.Data))
	}
	return strings.Join(append(list, string(p.End)), " ")
}

func past(t *testing.T, rt *realtime.Realtime, channel string, before realtime.Cursor, n int) realtime.HistoryPage {
	t.Helper()
	p, err := rt.History(t.Context(), channel, before, n)
	if err != nil {
		t.Fatal(err)
	}
	if (p.End == "") != (p.Before != "") {
		t.Errorf("end %q, before %q", p.End, p.Before)
	}
	return p
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 20}})
		h.join("room", "ada", nil)
		for i := 1; i <= 7; i++ {
			h.publish("room", i, realtime.AsUser("ada"))
			h.publish("hall", -i)
		}
		// The cursor of the page, and that of its oldest message, lead to the page before.
		p := past(t, h.Realtime, "room", "", 3)
		if got := texts(p); got != "5 6 7 " {
			t.Errorf("the newest: %s", got)
		}
		if ev := p.Events[0]; ev.Channel != "room" || ev.User != "ada" || ev.Type != "realtime.message" || ev.UnixMilli == 0 {
			t.Errorf("%+v", ev)
		}
		for _, before := range []realtime.Cursor{p.Before, p.Events[0].Cursor} {
			if got := texts(past(t, h.Realtime, "room", before, 3)); got != "2 3 4 " {
				t.Errorf("before %s: %s", before, got)
			}
		}
		if got := texts(past(t, h.Realtime, "room", p.Before, 4)); got != "1 2 3 4 start" {
			t.Errorf("to the beginning: %s", got)
		}
		if got := texts(past(t, h.Realtime, "nowhere", "", 4)); got != "start" {
			t.Errorf("of a channel without messages: %s", got)
		}
		// The end of a page says that messages were evicted. A cursor of an evicted
		// message is not an error.
		for i := range 15 {
			h.publish("hall", i)
		}
		if got := texts(past(t, h.Realtime, "room", "", 5)); got != "6 7 evicted" {
			t.Errorf("evicted: %s", got)
		}
		if got := texts(past(t, h.Realtime, "room", p.Before, 5)); got != "evicted" {
			t.Errorf("before what was evicted: %s", got)
		}
	})
}

func TestHistoryRefusals(t *testing.T) {
	rt := bare(t, nil)
	for _, c := range []struct {
		channel string
		before  realtime.Cursor
		n       int
		want    error
	}{
		{"", "", 1, realtime.ErrBadChannel}, {"$x", "", 1, realtime.ErrBadChannel}, {"room", "", 0, realtime.ErrBadOption},
		{"room", "", -1, realtime.ErrBadOption}, {"room", "", 1001, realtime.ErrBadOption}, {"room", "garbage", 1, realtime.ErrBadOption},
		{"room", realtime.Cursor(strings.Repeat("1", 300)), 1, realtime.ErrBadOption},
	} {
		if _, err := rt.History(t.Context(), c.channel, c.before, c.n); !errors.Is(err, c.want) {
			t.Errorf("%q before %.20q, %d: %v, want %v", c.channel, c.before, c.n, err, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.History(ended, "room", "", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	for _, page := range []int{-1, 1001} {
		if _, err := realtime.New(realtime.Policy{}, &realtime.Options{Limits: realtime.Limits{Page: page}}); !errors.Is(err, realtime.ErrBadOption) {
			t.Errorf("Limits.Page %d: %v", page, err)
		}
	}
	closed := bare(t, nil)
	_ = closed.Close(t.Context())
	if _, err := closed.History(t.Context(), "room", "", 1); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// archive is a database of messages.
type archive struct {
	rows  []realtime.HistoryEvent
	asked []realtime.OlderQuery
}

func (a *archive) older(_ context.Context, q realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
	a.asked = append(a.asked, q)
	end := len(a.rows)
	if q.Before != "" {
		end = slices.IndexFunc(a.rows, func(ev realtime.HistoryEvent) bool { return ev.Cursor == q.Before })
	}
	return a.rows[max(0, end-q.Limit):end], nil
}

func (a *archive) store(data string, at realtime.Cursor) {
	a.rows = append(a.rows, realtime.HistoryEvent{RenEvent: realtime.RenEvent{Data: json.RawMessage(data), UnixMilli: 7}, Cursor: at})
}

// When the history ends, the host's database goes on, in the same page and with the same
// cursors.
func TestHistoryGoesOnInADatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var db archive
		for i := range 5 {
			db.store(fmt.Sprintf(`"old %d"`, i), realtime.Cursor(fmt.Sprint("row:", i))) // from before there was a log
		}
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 6, Older: db.older}})
		for i := range 8 {
			var at realtime.Cursor
			h.publish("room", i, realtime.PublishedAt(&at))
			db.store(fmt.Sprint(i), at)
		}
		var all []string
		var before realtime.Cursor
		for pages := 0; ; pages++ {
			p := past(t, h.Realtime, "room", before, 4)
			for _, ev := range slices.Backward(p.Events) {
				all = append(all, string(ev.Data))
			}
			if before = p.Before; p.End != "" {
				if p.End != realtime.HistoryStart || pages != 3 {
					t.Errorf("end %q after %d pages", p.End, pages)
				}
				break
			}
		}
		if got, want := strings.Join(all, " "), `7 6 5 4 3 2 1 0 "old 4" "old 3" "old 2" "old 1" "old 0"`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if len(db.asked) != 3 || db.asked[0].Limit != 2 || db.asked[0].Channel != "room" {
			t.Errorf("the database was asked %+v", db.asked)
		}
		// A page that the history fills does not ask; its end is not the host's.
		db.asked = nil
		if got := texts(past(t, h.Realtime, "room", "", 6)); got != "2 3 4 5 6 7 " || len(db.asked) > 0 {
			t.Errorf("%s, asked %d times", got, len(db.asked))
		}
	})
}

func TestHistoryOfADatabaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk on fire")
		var answer func(context.Context) ([]realtime.HistoryEvent, error)
		rt := bare(t, &realtime.Options{Logger: slog.New(slog.DiscardHandler), History: realtime.History{
			Older: func(ctx context.Context, _ realtime.OlderQuery) ([]realtime.HistoryEvent, error) { return answer(ctx) },
		}})
		message := func(ev realtime.RenEvent, at realtime.Cursor) func(context.Context) ([]realtime.HistoryEvent, error) {
			return func(context.Context) ([]realtime.HistoryEvent, error) {
				return []realtime.HistoryEvent{{RenEvent: ev, Cursor: at}}, nil
			}
		}
		good := realtime.RenEvent{Data: json.RawMessage("1")}
		for name, c := range map[string]struct {
			answer func(context.Context) ([]realtime.HistoryEvent, error)
			want   error
		}{
			"an error":             {func(context.Context) ([]realtime.HistoryEvent, error) { return nil, broken }, broken},
			"hangs":                {func(ctx context.Context) ([]realtime.HistoryEvent, error) { <-ctx.Done(); return nil, ctx.Err() }, realtime.ErrTemporary},
			"no cursor":            {message(good, ""), realtime.ErrBadEvent},
			"bad cursor":           {message(good, "a\nb"), realtime.ErrBadEvent},
			"other channel":        {message(realtime.RenEvent{Channel: "hall", Data: good.Data}, "1"), realtime.ErrBadEvent},
			"other type":           {message(realtime.RenEvent{Type: "x", Data: good.Data}, "1"), realtime.ErrBadEvent},
			"no data":              {message(realtime.RenEvent{}, "1"), realtime.ErrBadEvent},
			"data that is no JSON": {message(realtime.RenEvent{Data: json.RawMessage("{")}, "1"), realtime.ErrBadEvent},
			"bad user":             {message(realtime.RenEvent{User: "a\n", Data: good.Data}, "1"), realtime.ErrBadEvent},
		} {
			answer = c.answer
			began := time.Now()
			if _, err := rt.History(t.Context(), "room", "", 5); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: %v", name, took)
			}
		}
		// The page still has the messages of the history, and the client may ask for the
		// rest again.
		if err := rt.Publish(t.Context(), "room", 1); err != nil {
			t.Fatal(err)
		}
		answer = func(context.Context) ([]realtime.HistoryEvent, error) { return nil, broken }
		if p := past(t, rt, "room", "", 5); texts(p) != "1 " {
			t.Errorf("with a database that fails: %s", texts(p))
		}
		// More than was asked for is cut, and the newest stay.
		answer = func(context.Context) ([]realtime.HistoryEvent, error) {
			return []realtime.HistoryEvent{{good, "a"}, {good, "b"}, {good, "c"}}, nil
		}
		if p := past(t, rt, "hall", "", 2); texts(p) != "1 1 " || p.Before != "b" {
			t.Errorf("more than asked for: %s before %s", texts(p), p.Before)
		}
	})
}

// A cursor of a server before this one says that there were older messages: they are not
// there any longer, whatever this log has had.
func TestHistoryBeforeARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := start(t, open(), nil)
		before.publish("room", 1)
		before.publish("room", 2)
		cursor := past(t, before.Realtime, "room", "", 1).Before
		noError(t, before.Close(t.Context()))
		time.Sleep(time.Second)
		after := start(t, open(), nil)
		for _, channel := range []string{"room", "quiet"} {
			if got := texts(past(t, after.Realtime, channel, cursor, 3)); got != "evicted" {
				t.Errorf("%s, of which nothing is known: %s", channel, got)
			}
		}
		after.publish("room", 3)
		s := after.socket(get("/realtime"))
		if o := s.call(`"op":"history","channel":"room","before":"` + string(cursor) + `"`); !strings.Contains(o.raw, `"messages":[],"end":"evicted"`) {
			t.Errorf("%s", o.raw)
		}
		if got := texts(past(t, after.Realtime, "room", "", 3)); got != "3 start" {
			t.Errorf("the newest: %s", got)
		}
	})
}
