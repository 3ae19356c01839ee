package simtest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// written is a growing message, as who wrote it knows it.
type written struct {
	name string // its metadata
	text string // what was written
	end  error  // of Close or Fail
	want realtime.StreamState
}

// grows writes growing messages, one after another. Few ids are used, so that they meet.
func (w *world) grows(i int) {
	for k := 0; !w.over(); k++ {
		is := func(aspect string, n int64) int64 { return draw(n, w.seed, "stream", i, k, aspect) }
		wait := 10 * time.Second
		if !w.faulty() {
			wait = 15 * time.Second
		}
		time.Sleep(time.Duration(is("pause", int64(wait))))
		if n := w.any("stream", i, k); !w.over() {
			w.write(n, fmt.Sprint("s", is("id", 3)), fmt.Sprintf("w%d.%d", i, k), is)
		}
	}
}

func (w *world) write(n *node, id, name string, is func(string, int64) int64) {
	s, err := n.rt.Stream(context.Background(), "room0", id, realtime.WithMetadata(name))
	n.trace("node %d begins %s %s: %v", n.id, id, name, err)
	if err != nil {
		return
	}
	made := written{name: name, want: realtime.StreamComplete}
	for j := range is("writes", 6) {
		time.Sleep(time.Duration(is(fmt.Sprint("write", j), int64(3*time.Second))))
		token := fmt.Sprintf("%s/%d ", name, j)
		if _, err := s.WriteString(token); err == nil {
			made.text += token
		}
	}
	switch is("end", 3) {
	case 0:
		made.want = realtime.StreamFailed
		made.end = s.Fail(errors.New("x"))
	case 1:
		other := w.any("stop", name)
		err := other.rt.StopStream(context.Background(), "room0", id)
		n.trace("node %d stops %s %s: %v", other.id, id, name, err)
		time.Sleep(time.Duration(is("stopped", int64(3*time.Second))))
		made.end = s.Close()
	default:
		made.end = s.Close()
	}
	n.trace("node %d ends %s %s as %s: %v", n.id, id, name, made.want, made.end)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, made)
}

// told is a message of the log that tells of a growing one.
type told struct {
	wire.StreamData
	epoch uint64
}

// checkStreams finds growing messages that have no end, or two, or another one than their
// writer was told.
func (w *world) checkStreams() {
	type place struct {
		run, state string
		epoch      uint64
	}
	seen := make(map[place]int)
	ends := make(map[string][]told) // by name
	open := make(map[string]told)   // by run
	last := make(map[string]backend.Revision)
	for _, r := range w.engine.all {
		p, err := backend.DecodePayload(r.Data)
		if err != nil || p.Event.Type != backend.Message || p.Event.Key == "" {
			continue
		}
		if r.Cause <= last[p.Event.Key] { // it came too late, and no node shows it
			continue
		}
		last[p.Event.Key] = r.Cause
		d := told{epoch: r.Pos.Epoch}
		if err := json.Unmarshal(p.Event.Data, &d.StreamData); err != nil {
			w.t.Error(err)
		}
		what := "end"
		if d.State == "streaming" {
			what = "beginning"
			open[d.Run] = d
		} else {
			delete(open, d.Run)
			ends[string(d.Metadata)] = append(ends[string(d.Metadata)], d)
		}
		at := place{d.Run, what, d.epoch}
		if seen[at]++; seen[at] > 1 {
			w.t.Errorf("%s has the %s twice in epoch %d", d.Metadata, what, d.epoch)
		}
	}
	for it, err := range w.driver(w.any("list").link).List(context.Background(), "stream", "") {
		if err != nil || !hasEnded(it.Value) {
			w.t.Errorf("%s is open for ever: %v", it.Name, err)
		}
	}
	for _, d := range open {
		if len(w.losses) == 0 {
			w.t.Errorf("%s has no end", d.Metadata)
		}
	}
	for _, made := range w.written {
		w.checkWritten(made, ends[fmt.Sprintf("%q", made.name)])
	}
}

// hasEnded reports whether a record is of a message that has ended.
func hasEnded(record []byte) bool {
	_, n := binary.Uvarint(record[1:])
	_, m := binary.Uvarint(record[1+n:])
	return record[1+n+m] == 1
}

// checkWritten compares what a writer was told with the ends in the log.
func (w *world) checkWritten(made written, ends []told) {
	want := made.want
	switch {
	case errors.Is(made.end, realtime.ErrStopped):
		want = realtime.StreamCancelled
	case errors.Is(made.end, realtime.ErrStreamEnded):
		want = realtime.StreamFailed
	case made.end != nil: // it does not know
		return
	}
	for _, d := range ends {
		if d.State == string(want) && (d.Text == made.text || want == realtime.StreamFailed) {
			return
		}
	}
	if len(w.losses) > 0 && made.end != nil { // the end that it was told was lost
		return
	}
	w.t.Errorf("%s was ended as %s with %q: %v; the log has %+v", made.name, want, made.text, made.end, ends)
}

// Growing messages end, once, whatever becomes of nodes and requests.
func TestStreams(t *testing.T) {
	first, end := int64(0), *seeds*3/10
	if *oneSeed >= 0 {
		first, end = *oneSeed, *oneSeed+1
	}
	for seed := first; seed < end; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Duration(draw(int64(time.Second), seed)))
				w := newWorld(t, seed)
				w.streaming = true
				w.run()
				if len(w.written) == 0 && w.rate < 40 {
					t.Error("nothing was written")
				}
				if *oneSeed >= 0 {
					t.Log("\n" + w.text())
				}
			})
		})
	}
}
