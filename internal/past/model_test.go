package past_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// channels are a history of two channels, and the list of what was put into one of them.
type channels struct {
	rnd  *rand.Rand
	keep int
	ring *ring.Ring
	seq  uint64
	room []uint64
}

func (c *channels) put() {
	c.seq++
	ev := *message(c.seq)
	if c.rnd.IntN(3) == 0 {
		ev.Channel = "hall"
	} else {
		c.room = append(c.room, c.seq)
	}
	c.ring.Put([]*backend.Logged{{Pos: backend.Position{Epoch: 1, Seq: c.seq}, Event: ev}})
}

// evicted reports whether a message has left the history.
func (c *channels) evicted(seq uint64) bool { return seq+uint64(c.keep) <= c.seq }

// The pages of a channel, of any size, are together the list of its messages, whatever is
// published and evicted between them. The last page says whether that is all.
func TestPagesAreAList(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 15))
		keep := 1 + rnd.IntN(40)
		history := ring.New(ring.Limits{Records: keep, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
		c := &channels{rnd: rnd, keep: keep, ring: history}
		for range rnd.IntN(80) {
			c.put()
		}
		r := &past.Reader{Ring: history, Settle: func(context.Context) {}, Logger: slog.New(slog.DiscardHandler)}
		want, before := c.room, ""
		for end := ring.End(""); end == ""; {
			ask := session.Want{Messages: 1 + rnd.IntN(10), Bytes: rnd.IntN(2) * len(wire.Message(message(1), cursor(1))) * (1 + rnd.IntN(5))}
			p, err := r.Read(t.Context(), past.Query{Channel: "room", Before: before, Want: ask})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, m := range p.Messages {
				if len(want) == 0 || m.Cursor != cursor(want[len(want)-1]) {
					t.Fatalf("seed %d: %s is not the message before; left are %v", seed, m.Event.Data, want)
				}
				want = want[:len(want)-1]
			}
			before, end = p.Next, p.End
			all := len(c.room) == 0 || !c.evicted(c.room[0])
			switch left := len(want) > 0; {
			case end == ring.Beginning && left, end == ring.Gone && (all || left && !c.evicted(want[len(want)-1])):
				t.Fatalf("seed %d: the end is %q; left are %v of %v", seed, end, want, c.room)
			case end == "" && len(p.Messages) == 0:
				t.Fatalf("seed %d: a page without messages is not the last", seed)
			}
			for range rnd.IntN(4) {
				c.put()
			}
		}
	}
}
