package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

const epoch = 1

var roomy = ring.Limits{Records: 1 << 20, Bytes: 1 << 40, Age: time.Hour}

func at(seq uint64) backend.Position { return backend.Position{Epoch: epoch, Seq: seq} }

// history is a ring that numbers what it is given.
type history struct {
	*ring.Ring
	log []*backend.Logged
}

func newHistory(limits ring.Limits) *history { return &history{Ring: ring.New(limits, at(0))} }

func (h *history) add(ev backend.Event) *backend.Logged {
	ev.UnixMilli = time.Now().UnixMilli()
	rec := &backend.Logged{Pos: h.Head().Next(), Event: ev}
	h.log = append(h.log, rec)
	h.Put([]*backend.Logged{rec})
	return rec
}

// large is the data of events of which tight has room for one.
var large = json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)

// tight is a budget that takes several events at once, and has room to tell one.
var tight = session.Budget{Events: 256, Bytes: 1000}

// budgets are those that rules must not depend on.
var budgets = map[string]session.Budget{"whole batches": session.Batch, "tight": tight, "one by one": {Events: 1, Bytes: 1}}

// put adds events to resource domains.
func (h *history) put(domains ...string) {
	for _, name := range domains {
		h.add(backend.Event{Type: name + ".put", Resource: name, Data: large})
	}
}

// view shows everything but the users in hidden. The data of the resource domains in
// bare are not granted.
type view struct {
	hidden map[string]bool
	bare   string
}

func (v *view) Stream(ev *backend.Event) (seen, data bool) {
	return !v.hidden[ev.User], ev.Resource != v.bare
}
func (v *view) Channel(ev *backend.Event) bool { return !v.hidden[ev.User] }
func (v *view) Uniform() bool                  { return len(v.hidden) == 0 }

// topics are those of resource domains; "*" is all.
func topics(domains ...string) (list []ring.Topic) {
	for _, name := range domains {
		list = append(list, ring.Part{Resource: name}.Topic())
	}
	return list
}

// driver fills a session as the drivers do, and says what it got in short.
type driver struct {
	t      testing.TB
	s      *session.Session
	budget session.Budget
	buf    session.Buffer
	dirty  atomic.Bool // it was woken
	fills  []string
}

func (d *driver) wake() { d.dirty.Store(true) }

// fill is one Fill.
func (d *driver) fill() (out string, more bool) {
	d.dirty.Store(false)
	more = d.s.Fill(&d.buf, d.budget)
	out = string(d.buf.Bytes) + string(wsconn.Text(d.buf.Frame))
	if d.buf.Part != nil {
		if out != "" {
			out += "\n"
		}
		out += string(d.buf.Part)
	}
	if out != "" {
		d.fills = append(d.fills, out)
	}
	return out, more
}

// run fills until there is no more, and returns all of it.
func (d *driver) run() []string {
	d.t.Helper()
	var all []string
	for n := 0; ; n++ {
		out, more := d.fill()
		if out != "" {
			all = append(all, out)
		}
		if !more {
			return all
		}
		if n > 10_000 {
			d.t.Fatal("there is always more")
		}
	}
}

// seq shortens a cursor of the usual epoch.
func seq(cursor string) string {
	if pos, ok := wire.ParseCursor(cursor); ok && pos.Epoch == epoch {
		return fmt.Sprint("@", pos.Seq)
	}
	return cursor
}

// frames parses what a stream is told.
func frames(t testing.TB, out string) (list []sse.Event) {
	t.Helper()
	r := sse.NewReader(strings.NewReader(out), 1<<20)
	for {
		ev, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
}

// shortStream says what a stream is told: its events by their number, with "bare"
// where they have no data.
func shortStream(t testing.TB, out string) string {
	t.Helper()
	var words []string
	for _, ev := range frames(t, out) {
		var data struct {
			State, Reason string
			Domains       []string
			Data          json.RawMessage
		}
		if err := json.Unmarshal([]byte(ev.Data), &data); err != nil {
			t.Fatalf("%q: %v", ev.Data, err)
		}
		word := seq(ev.ID)
		if name, ok := strings.CutPrefix(ev.Name, "ren."); ok {
			word = strings.Join(strings.Fields(name+" "+data.State+" "+data.Reason+" "+strings.Join(data.Domains, ",")+" "+word), " ")
		} else if data.Data == nil {
			word += " bare"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}
