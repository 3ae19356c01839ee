package session_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// say adds messages to channels.
func (h *history) say(channels ...string) {
	for _, name := range channels {
		h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: name, Data: large})
	}
}

// move adds a presence event.
func (h *history) move(typ, channel, user string) {
	h.add(presence.NewEvent(typ, channel, user, nil, "", time.Now()))
}

// object is what a connection with channels is told.
type object struct {
	wire.Frame
	ID       string          `json:"id"`
	Part     int             `json:"part"`
	More     bool            `json:"more"`
	Metadata json.RawMessage `json:"metadata"`
	Before   string          `json:"before"`
	End      string          `json:"end"`
	Messages []object        `json:"messages"`
	Members  []struct {
		UserID   string          `json:"userId"`
		Metadata json.RawMessage `json:"metadata"`
	} `json:"members"`
}

// objects parses messages.
func objects(t testing.TB, messages ...string) (list []object) {
	t.Helper()
	for _, msg := range messages {
		for line := range strings.SplitSeq(msg, "\n") {
			var o object
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			list = append(list, o)
		}
	}
	return list
}

func (o object) String() string {
	words := []string{strings.TrimPrefix(o.Event, "presence.")}
	if o.Ref != nil {
		words[0] += fmt.Sprint("#", *o.Ref)
	}
	for _, word := range []string{o.Channel, o.State, o.UserID, o.Reason, o.Code, seq(o.ID)} {
		if word != "" {
			words = append(words, word)
		}
	}
	if o.Event == "presence.state" {
		if o.Part > 0 {
			words = append(words, fmt.Sprint("part ", o.Part))
		}
		words = append(words, fmt.Sprint("of ", len(o.Members)))
		if o.More {
			words = append(words, "more")
		}
	}
	if o.Cursor != "" {
		words = append(words, seq(o.Cursor))
	}
	if o.Messages != nil {
		words = append(words, "with")
		for _, m := range o.Messages {
			words = append(words, seq(m.ID))
		}
		words = append(words, "then", seq(o.Before)+o.End)
	}
	return strings.Join(words, " ")
}

// short says what messages tell: objects of a message with commas between them,
// messages with bars.
func short(t testing.TB, messages []string) string {
	t.Helper()
	var all []string
	for _, msg := range messages {
		var words []string
		for _, o := range objects(t, msg) {
			words = append(words, o.String())
		}
		all = append(all, strings.Join(words, ", "))
	}
	return strings.Join(all, " | ")
}

// asked is a roster that a session has asked for.
type asked struct {
	channel string
	done    func(*session.Roster, *wire.Error)
	stopped bool
}

// channels is a connection with channels, its driver and its host.
type channels struct {
	driver
	*session.Channels
	ring       *history
	view       *view
	asked      []*asked // that have not been answered
	unreadable string   // why the connection must end
}

func newChannels(t testing.TB, h *history) *channels {
	c := &channels{driver: driver{t: t, budget: session.Batch}, ring: h, view: &view{}}
	c.Channels = session.NewChannels(h.Ring, c.wake, c, c.view, 3)
	c.s = &c.Session
	return c
}

func (c *channels) Roster(channel string, done func(*session.Roster, *wire.Error)) (stop func()) {
	a := &asked{channel: channel, done: done}
	c.asked = append(c.asked, a)
	return func() { a.stopped = true }
}

func (c *channels) Unreadable(why *wire.Error) { c.unreadable = why.Code }

// answer answers the oldest question for a roster: with members as they are at the
// head of the log, or an error.
func (c *channels) answer(why *wire.Error, users ...string) {
	c.t.Helper()
	if len(c.asked) == 0 {
		c.t.Fatal("no roster was asked for")
	}
	a := c.asked[0]
	c.asked = c.asked[1:]
	if why != nil {
		a.done(nil, why)
		return
	}
	a.done(c.roster(a.channel, users...), nil)
}

func (c *channels) roster(channel string, users ...string) *session.Roster {
	var members []presence.Member
	for _, user := range users {
		metadata := json.RawMessage("1")
		if strings.HasPrefix(user, "large") { // two of them are more than a part
			metadata = json.RawMessage(`"` + strings.Repeat("x", wire.MaxPart/2) + `"`)
		}
		members = append(members, presence.Member{User: user, Metadata: metadata})
	}
	return session.NewRoster(channel, c.ring.Head(), members, c.view.Uniform())
}

// subscribe asks for a channel, with a cursor and for presence where given.
func (c *channels) subscribe(ref int64, channel, since string, withPresence bool) {
	c.rewind(ref, channel, since, withPresence, 0, 0)
}

// rewind is subscribe with so much of the past.
func (c *channels) rewind(ref int64, channel, since string, withPresence bool, n int, age time.Duration) {
	back := session.Rewind{Back: wire.Back{Messages: n, Age: age}}
	turn := c.Turn()
	c.Do(func() {
		c.Subscribe(wire.Op{Ref: &ref, Channel: channel, Since: since, Presence: withPresence}, back, turn)
	})
}

func (c *channels) unsubscribe(ref int64, channel string) {
	c.Do(func() { c.Unsubscribe(wire.Op{Ref: &ref, Channel: channel}) })
}

func (c *channels) ping() { c.Do(func() { c.Ping(1) }) }

func (c *channels) told() string { return short(c.t, c.run()) }
