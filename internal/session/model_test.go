package session_test

import (
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
)

var seeds = flag.Int("seeds", 100, "how many random stories the model tests tell")

// stories runs tell with one seed after the other, each of which tells the same story
// again.
func stories(t *testing.T, tell func(t *testing.T, r *rand.Rand)) {
	for seed := range uint64(*seeds) {
		tell(t, rand.New(rand.NewPCG(seed, 0)))
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

var (
	modelChannels = []string{"a", "b", "c"}
	modelUsers    = []string{"ada", "bob", "cy", "dan"}
	modelLimits   = ring.Limits{Records: 12, Bytes: 1 << 20, Age: time.Hour}
)

// budget is any.
func anyBudget(r *rand.Rand) session.Budget {
	return session.Budget{Events: 1 + r.IntN(5), Bytes: []int{1, 300, 1000, 64 << 10}[r.IntN(4)]}
}

// world is a log in which anything happens, with what it means.
type world struct {
	*history
	r       *rand.Rand
	present map[string]map[string]bool // users by channel
	from    int                        // where in log the history began again
	lost    bool                       // something was lost before
}

func newWorld(r *rand.Rand) *world {
	w := &world{history: newHistory(modelLimits), r: r, present: make(map[string]map[string]bool)}
	for _, name := range modelChannels {
		w.present[name] = make(map[string]bool)
	}
	return w
}

// happen adds an event, or loses some.
func (w *world) happen() {
	channel := modelChannels[w.r.IntN(len(modelChannels))]
	switch n := w.r.IntN(40); {
	case n == 0: // records are lost; nobody knows of what
		w.Reset(backend.Position{Epoch: epoch, Seq: w.Head().Seq + 1 + w.r.Uint64N(3)})
		w.from, w.lost = len(w.log), true
	case n == 1:
		for range 15 {
			w.say(channel) // more than the history holds
		}
	case n < 22:
		w.say(channel)
	case n < 26:
		w.put("kv")
	default:
		user := modelUsers[w.r.IntN(len(modelUsers))]
		if here := w.present[channel]; here[user] {
			delete(here, user)
			w.move(backend.PresenceLeave, channel, user)
		} else {
			here[user] = true
			w.move(backend.PresenceJoin, channel, user)
		}
	}
}

// there lists who is in a channel at a place in the log.
func (w *world) there(channel string, pos backend.Position) string {
	here := make(map[string]bool)
	for _, rec := range w.log {
		if rec.Event.Channel == channel && rec.Pos.Compare(pos) <= 0 {
			switch rec.Event.Type {
			case backend.PresenceJoin:
				here[rec.Event.User] = true
			case backend.PresenceLeave:
				delete(here, rec.Event.User)
			}
		}
	}
	return names(here)
}

func names(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), " ") }

// between returns the first event that match is true of after one place and up to another.
func (w *world) between(after, upto backend.Position, match func(*backend.Event) bool) *backend.Logged {
	for _, rec := range w.log {
		if rec.Pos.Compare(after) > 0 && rec.Pos.Compare(upto) <= 0 && match(&rec.Event) {
			return rec
		}
	}
	return nil
}

// held returns the messages of a channel before a place that the history has, the
// oldest first.
func (w *world) held(channel string, before backend.Position) (list []*backend.Logged) {
	for _, rec := range w.log[max(w.from, len(w.log)-modelLimits.Records):] {
		if rec.Event.Channel == channel && rec.Event.Type == backend.Message && rec.Pos.Compare(before) < 0 {
			list = append(list, rec)
		}
	}
	return list
}
