package growing_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Stop reaches the writer wherever it is, for the message that is open.
func TestStop(t *testing.T) {
	for name, f := range map[string]struct {
		before func(c *cluster, w, r *growing.Growing)
		want   error
		log    string
	}{
		"open elsewhere": {func(c *cluster, w, _ *growing.Growing) { c.begin(w, "a1") }, nil, "streaming cancelled"},
		"followed here": {func(c *cluster, w, r *growing.Growing) {
			c.begin(w, "a1")
			c.follow(r, "a1")
		}, nil, "streaming cancelled"},
		"ended": {func(c *cluster, w, _ *growing.Growing) { c.end(c.begin(w, "a1"), growing.Complete) }, nil, "streaming complete"},
		"ended, and known here": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.follow(r, "a1")
			c.end(o, growing.Complete)
			synctest.Wait() // r has read it
			c.forget(0)
		}, nil, ""},
		"ended here": {func(c *cluster, _, r *growing.Growing) {
			c.end(c.begin(r, "a1"), growing.Complete)
			c.forget(0)
		}, nil, ""},
		"ended here, and open elsewhere": {func(c *cluster, w, r *growing.Growing) {
			c.end(c.begin(r, "a1"), growing.Complete)
			c.begin(w, "a1")
		}, nil, "streaming complete streaming cancelled"},
		"nothing":             {func(*cluster, *growing.Growing, *growing.Growing) {}, growing.ErrNotFound, ""},
		"the store is broken": {func(c *cluster, w, _ *growing.Growing) { c.begin(w, "a1"); c.store.fails(1, "get", errStore, false) }, errStore, "streaming"},
		"the log is broken":   {func(c *cluster, w, _ *growing.Growing) { c.begin(w, "a1"); c.store.fails(1, "append", errStore, false) }, errStore, "streaming"},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			f.before(c, w, r)
			wantErr(t, "stop", r.Stop(t.Context(), room), f.want)
			c.wantTold("stopped", "a1", f.log)
		})
	}
	for name, f := range map[string]struct {
		before func(c *cluster, g *growing.Growing)
		want   error
	}{
		"alone, and ended": {func(c *cluster, g *growing.Growing) { c.end(c.begin(g, "a1"), growing.Complete); c.forget(0) }, nil},
		"alone, and forgotten": {func(c *cluster, g *growing.Growing) {
			c.end(c.begin(g, "a1"), growing.Complete)
			time.Sleep(time.Minute)
		}, nil},
		"alone, and nothing": {func(*cluster, *growing.Growing) {}, growing.ErrNotFound},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			g, _ := c.start("n", true, roomy)
			f.before(c, g)
			c.store.count()
			if wantErr(t, "stop", g.Stop(t.Context(), room), f.want); c.store.count() != 0 {
				t.Error("the store is called")
			}
		})
	}
}

// An id can be used again once its message has ended, by any node, also by one that has not
// read the end yet.
func TestBeginAgain(t *testing.T) {
	for name, f := range map[string]struct {
		before func(c *cluster, w, r *growing.Growing)
		want   error
	}{
		"open elsewhere":                {func(c *cluster, w, _ *growing.Growing) { c.begin(w, "a1") }, growing.ErrTaken},
		"open elsewhere, followed here": {func(c *cluster, w, r *growing.Growing) { c.begin(w, "a1"); c.follow(r, "a1") }, growing.ErrTaken},
		"open here":                     {func(c *cluster, _, r *growing.Growing) { c.begin(r, "a1") }, growing.ErrTaken},
		"ended elsewhere":               {func(c *cluster, w, _ *growing.Growing) { c.end(c.begin(w, "a1"), growing.Complete) }, nil},
		"ended, and followed here": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.follow(r, "a1")
			c.end(o, growing.Complete)
		}, nil},
		"ended here": {func(c *cluster, _, r *growing.Growing) { c.end(c.begin(r, "a1"), growing.Complete) }, nil},
		"a record that nobody can read": {func(c *cluster, w, _ *growing.Growing) {
			c.begin(w, "a1")
			overwrite(c.t, c.store, "a1", []byte{2})
		}, errors.ErrUnsupported}, // any
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			f.before(c, w, r)
			o, err := r.Begin(t.Context(), growing.Begin{Key: room}, func(error) {})
			if f.want == errors.ErrUnsupported {
				if err == nil || o != nil {
					t.Errorf("it has begun: %v", err)
				}
				return
			}
			if wantErr(t, "begin", err, f.want); err == nil {
				c.write(o, "x")
				c.end(o, growing.Complete)
			}
		})
	}
}

// An end that the log tells twice, or of another run, or that cannot be read, changes
// nothing.
func TestOddEnds(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, r := c.node("w"), c.node("r")
		o := c.begin(w, "a1")
		c.write(o, "text")
		text := c.follow(r, "a1")
		tell := func(run, stream, content, state string) {
			data := wire.StreamData{Stream: stream, Run: run, State: state}
			data.SetContent(wire.Text, []byte(content))
			ev := backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "room", Key: "a1", Version: state, Data: data.Encode()}
			for _, g := range []*growing.Growing{w, r} {
				g.Take(&ev)
			}
		}
		c.count("w", growing.Piece)
		tell("another", "a1", "x", "complete")
		tell(o.Run, "a2", "x", "complete")
		tell(o.Run, "a1", "x", "streaming")
		for _, g := range []*growing.Growing{w, r} {
			g.Take(&backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "room", Key: "a1", Version: "complete", Data: []byte("{")})
			g.Take(&backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "room", Key: "a9", Version: "complete", Data: []byte("{}")})
			g.Take(&backend.Event{Resource: backend.Control, Type: growing.Piece, Channel: "room", Key: "a1", Version: "another", Data: growing.EncodePiece(4, 6, wire.Text, []byte("xx"))})
			g.Take(&backend.Event{Resource: backend.Control, Type: "$other", Channel: "room", Key: "a1", Version: o.Run, Data: growing.EncodePiece(4, 6, wire.Text, []byte("xx"))})
		}
		w.Take(&backend.Event{Resource: backend.Control, Type: growing.Piece, Channel: "room", Key: "a1", Version: o.Run, Data: growing.EncodePiece(4, 6, wire.Text, []byte("xx"))})
		w.Take(&backend.Event{Resource: backend.Control, Type: growing.Ask, Channel: "room", Key: "a1", Version: o.Run})
		r.Take(&backend.Event{Resource: backend.Control, Type: growing.Ask, Channel: "room", Key: "a1", Version: o.Run, Data: []byte{0}})
		r.Stopped(&backend.Event{Type: growing.Stop, Channel: "room", Key: "a1", Version: o.Run})
		time.Sleep(time.Second)
		c.wantText("writer", o.Text, "text", "grows")
		c.wantText("reader", text, "text", "grows")
		if n := c.count("w", growing.Piece) + c.count("r", growing.Piece); n != 0 {
			t.Errorf("%d pieces are sent", n)
		}
		tell(o.Run, "a1", "te", "failed")
		tell(o.Run, "a1", "text and more", "complete")
		r.Take(&backend.Event{Resource: backend.Control, Type: growing.Piece, Channel: "room", Key: "a1", Version: o.Run, Data: growing.EncodePiece(2, 4, wire.Text, []byte("xx"))})
		c.wantText("writer, ended", o.Text, "te", "failed")
		c.wantText("reader, ended", text, "te", "failed")
		if w.Bytes() != 2 || r.Bytes() != 2 || w.Stats().Ended["failed"] != 1 || w.Stats().Ended["complete"] != 0 {
			t.Errorf("%d and %d bytes, %+v", w.Bytes(), r.Bytes(), w.Stats())
		}
		_, err := o.Write([]byte("x"))
		wantErr(t, "write", err, growing.ErrEnded)
	})
}
