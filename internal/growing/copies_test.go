package growing_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// Who follows a message gets it from the node that writes it, from the log, or is told why
// not.
func TestFollow(t *testing.T) {
	for name, f := range map[string]struct {
		before func(c *cluster, writer, reader *growing.Growing)
		want   error
		shows  string // content and end
		within time.Duration
	}{
		"open":    {func(c *cluster, w, _ *growing.Growing) { c.write(c.begin(w, "a1"), "text") }, nil, "text grows", 0},
		"nothing": {func(*cluster, *growing.Growing, *growing.Growing) {}, growing.ErrNotFound, "", 0},
		"ended": {func(c *cluster, w, _ *growing.Growing) {
			o := c.begin(w, "a1")
			c.write(o, "text")
			c.end(o, growing.Complete)
		}, nil, "text complete", 0},
		"ended, and known": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.write(o, "text")
			c.follow(r, "a1")
			c.end(o, growing.Complete)
			c.forget(0)
		}, nil, "text complete", 0},
		"ended, and begun again": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.write(o, "text")
			c.follow(r, "a1")
			c.end(o, growing.Complete)
			c.write(c.begin(w, "a1"), "again")
		}, nil, "again grows", 0},
		"ended here, and begun elsewhere": {func(c *cluster, w, r *growing.Growing) {
			c.end(c.begin(r, "a1"), growing.Complete)
			c.write(c.begin(w, "a1"), "elsewhere")
		}, nil, "elsewhere grows", 0},
		"the writer is silent": {func(c *cluster, w, _ *growing.Growing) {
			c.begin(w, "a1")
			c.separate("w", true)
		}, growing.ErrBusy, "", 3 * time.Second},
		"the store is broken": {func(c *cluster, w, _ *growing.Growing) {
			c.begin(w, "a1")
			c.store.fails(1, "get", errStore, false)
		}, errStore, "", 0},
		"the log is broken": {func(c *cluster, w, _ *growing.Growing) { c.breakLog() }, errStore, "", 0},
		"ended, and known, and the record is gone": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.write(o, "text")
			c.follow(r, "a1")
			c.end(o, growing.Complete)
			c.forget(0)
			overwrite(c.t, c.store, "a1", nil)
		}, nil, "text complete", 0},
		"it ends meanwhile": {func(c *cluster, w, _ *growing.Growing) {
			o := c.begin(w, "a1")
			c.separate("w", true)
			time.AfterFunc(time.Second, func() { c.end(o, growing.Complete) })
		}, nil, " complete", time.Second},
		"what comes cannot be read": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.separate("w", true)
			time.AfterFunc(time.Second, func() {
				r.Take(&backend.Event{Resource: backend.Control, Type: growing.Piece, Channel: "room", Key: "a1", Version: o.Run, Data: []byte{99}})
			})
		}, growing.ErrBusy, "", 3 * time.Second},
		"the node is closed": {func(c *cluster, w, r *growing.Growing) {
			c.begin(w, "a1")
			r.Close(c.t.Context(), growing.End{State: growing.Failed})
		}, bounded.ErrClosed, "", 0},
		"what is logged is no end": {func(c *cluster, _, _ *growing.Growing) {
			for _, data := range []string{"{", `{"type":"stream","stream":"a1","run":"r","state":"complete"}`, `{"type":"stream","stream":"a2","run":"r","state":"complete","bytes":0}`} {
				c.spell(data)
				_, err := c.nodes["r"].Follow(c.t.Context(), room)
				wantErr(c.t, data, err, growing.ErrNotFound)
			}
		}, growing.ErrNotFound, "", 0},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			f.before(c, w, r)
			began := time.Now()
			text, err := r.Follow(t.Context(), room)
			wantErr(t, "follow", err, f.want)
			if took := time.Since(began); took != f.within {
				t.Errorf("it took %v, want %v", took, f.within)
			}
			if err == nil {
				content, end, _ := strings.Cut(f.shows, " ")
				time.Sleep(time.Second)
				c.wantText("followed", text, content, end)
			} else if text != nil {
				t.Errorf("it returned %v", text)
			}
		})
	}
	inCluster(t, "the caller goes", func(t *testing.T, c *cluster) {
		w, r := c.node("w"), c.node("r")
		c.begin(w, "a1")
		c.separate("w", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Follow(ctx, room)
		wantErr(t, "follow", err, context.DeadlineExceeded)
	})
}

// A copy grows with the message, whatever is lost on the way; its bytes are counted while
// it is here.
func TestCopyGrows(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, r := c.node("w"), c.node("r")
		o := c.begin(w, "a1")
		c.write(o, strings.Repeat("x", 100_000)) // some pieces
		text := c.follow(r, "a1")
		want := strings.Repeat("x", 100_000)
		c.wantText("at once", text, want, "grows")
		for i := range 20 {
			c.separate("w", i%3 == 1) // what is written now is lost
			c.write(o, fmt.Sprint(i, " "))
			want += fmt.Sprint(i, " ")
			time.Sleep(100 * time.Millisecond)
		}
		c.separate("w", false)
		time.Sleep(12 * time.Second) // it asks for what may have been lost
		c.wantText("after a while", text, want, "grows")
		c.separate("w", true)
		c.write(o, "lost")
		time.Sleep(time.Second)
		c.separate("w", false)
		c.write(o, "gap") // by which it sees that something was
		want += "lostgap"
		time.Sleep(200 * time.Millisecond)
		c.wantText("in the end", text, want, "grows")
		if s := r.Stats(); s.Copies != 1 || s.Open != 0 || s.Bytes != int64(len(want)) || s.Followers != 1 {
			t.Errorf("%+v", s)
		}
		if s := w.Stats(); s.Copies != 0 || s.Bytes != int64(len(want)) {
			t.Errorf("%+v", s)
		}
		c.end(o, growing.Complete)
		c.wantText("ended", text, want, "complete")
	})
}

// A node sends pieces only to who has asked lately, and asks again in time, and not more.
func TestInterest(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, r := c.node("w"), c.node("r")
		o := c.begin(w, "a1")
		c.write(o, "x")
		time.Sleep(time.Second)
		if n := c.count("w", growing.Piece); n != 0 {
			t.Errorf("%d pieces are sent that nobody wants", n)
		}
		text, err := r.Follow(t.Context(), room)
		wantErr(t, "follow", err, nil)
		f := text.Follow(func() {})
		if n := c.count("w", growing.Piece); n != 1 {
			t.Errorf("%d pieces answer", n)
		}
		c.count("r", growing.Ask)
		c.store.count()
		time.Sleep(time.Minute + time.Second)
		if n := c.count("r", growing.Ask); n < 5 || n > 7 {
			t.Errorf("asked %d times in a minute", n)
		}
		c.count("w", growing.Piece)
		c.write(o, "y")
		time.Sleep(time.Second)
		if n := c.count("w", growing.Piece); n != 1 {
			t.Errorf("%d pieces tell one write", n)
		}
		f.Close()
		time.Sleep(20 * time.Second)
		if s := r.Stats(); s.Copies != 1 {
			t.Error("the copy is forgotten early")
		}
		time.Sleep(50 * time.Second)
		if s := r.Stats(); s.Copies != 0 || s.Bytes != 0 {
			t.Errorf("the copy is kept: %+v", s)
		}
		c.wantText("forgotten", text, "xy", "")
		if calls := c.store.count(); calls != 0 {
			t.Errorf("%d calls of the store about a message of which all is heard", calls)
		}
		c.count("w", growing.Piece)
		c.write(o, "z")
		time.Sleep(time.Second)
		if n := c.count("w", growing.Piece); n != 0 {
			t.Errorf("%d pieces are sent to nobody", n)
		}
		text = c.follow(r, "a1")
		c.wantText("followed again", text, "xyz", "grows")
	})
}

// Who follows what this node has asks nobody.
func TestFollowAsksNobody(t *testing.T) {
	for _, alone := range []bool{true, false} {
		inCluster(t, fmt.Sprint(alone), func(t *testing.T, c *cluster) {
			w, _ := c.start("w", alone, roomy)
			o := c.begin(w, "a1")
			follows := []*growing.Growing{w}
			if !alone {
				r := c.node("r")
				c.follow(r, "a1")
				follows = append(follows, r)
			}
			c.store.count()
			for _, g := range follows {
				c.follow(g, "a1")
			}
			if alone {
				c.end(o, growing.Complete)
				c.store.count()
				c.wantText("ended", c.follow(w, "a1"), "", "complete")
			}
			if calls := c.store.count(); calls != 0 {
				t.Errorf("%d calls of the store", calls)
			}
		})
	}
}

// Of what other nodes are to get, so much is taken at a time.
func TestOutgoing(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, r := silent(t, "w", c.store), silent(t, "r", c.store)
		var own []*growing.Own
		for i := range 3 {
			o, err := w.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: fmt.Sprint(i)}}, func(error) {})
			wantErr(t, "begin", err, nil)
			own = append(own, o)
			c.write(o, strings.Repeat("x", 40<<10))
			go r.Follow(t.Context(), o.Key)
			synctest.Wait()
			r.Lost(false) // asks once more, for what it is about to ask
		}
		for i, want := range []int{1, 1, 1, 0} {
			batch, more := r.Outgoing(1)
			if len(batch) != want || more != (i < 2) {
				t.Errorf("%d questions, more %v", len(batch), more)
			}
			for _, p := range batch {
				if p.Event.Source != "r" || p.Event.Type != growing.Ask {
					t.Errorf("%+v", p.Event)
				}
				w.Live(&p.Event)
				w.Live(&p.Event) // once more changes nothing
			}
		}
		// Each is two pieces of at most 32 KiB, and the messages take turns.
		for i, want := range []int{0, 2, 2, 1, 1, 0} {
			most := 33 << 10
			if i == 0 {
				most = 0
			} else if i > 2 {
				most = 1
			}
			batch, more := w.Outgoing(most)
			if len(batch) != want || more != (i < 4) {
				t.Errorf("%d: %d pieces, more %v", i, len(batch), more)
			}
			for _, p := range batch {
				r.Live(&p.Event)
			}
		}
		for _, o := range own {
			text, err := r.Follow(t.Context(), o.Key)
			wantErr(t, "follow", err, nil)
			if v := text.From(0); len(v.Content) != 40<<10 {
				t.Errorf("%d bytes have come", len(v.Content))
			}
		}
		// The size of a question or a piece is that of its channel and data, and some.
		long := growing.Key{Channel: strings.Repeat("c", 200), ID: "a1"}
		for i := range 4 {
			k := growing.Key{Channel: long.Channel, ID: fmt.Sprint(i)}
			_, err := w.Begin(t.Context(), growing.Begin{Key: k}, func(error) {})
			wantErr(t, "begin", err, nil)
			go r.Follow(t.Context(), k)
		}
		synctest.Wait()
		if batch, more := r.Outgoing(2 * (64 + 200 + 1)); len(batch) != 2 || !more {
			t.Errorf("%d questions, more %v", len(batch), more)
		}
	})
}

// The end that the log tells counts, with the content that it has or that the writer keeps.
func TestEndOfACopy(t *testing.T) {
	small := roomy
	small.Message = 100 // larger contents are not in the log
	for name, f := range map[string]struct {
		size  int
		last  string // written just before the end
		cut   time.Duration
		state growing.State
		shows string
		after time.Duration
	}{
		"in the log":                         {5, "last", 0, growing.Complete, "complete", 0},
		"in the log, though nothing came":    {5, "last", time.Minute, growing.Complete, "complete", 0},
		"too large for the log":              {500, "last", 0, growing.Complete, "complete", 2 * time.Second},
		"too large, and it comes late":       {500, strings.Repeat("last", 10_000), 3 * time.Second, growing.Complete, "complete", 4500 * time.Millisecond},
		"too large, and it never comes":      {500, "last", time.Hour, growing.Complete, "complete partial", 7500 * time.Millisecond},
		"too large, and the end has failed":  {500, "last", time.Hour, growing.Failed, "failed partial", 0},
		"too large, and all of it was there": {500, "", time.Hour, growing.Complete, "complete", 0},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, _ := c.start("w", false, small)
			r := c.node("r")
			o := c.begin(w, "a1")
			want := strings.Repeat("x", f.size)
			c.write(o, want)
			text := c.follow(r, "a1")
			time.Sleep(time.Second)
			if f.cut > 0 {
				c.separate("w", true)
				time.AfterFunc(f.cut, func() { c.separate("w", false) })
			}
			if f.last != "" {
				c.write(o, f.last)
			}
			c.end(o, f.state)
			synctest.Wait()
			if v := text.From(0); f.after > 0 && f.cut > 0 && v.End != nil {
				t.Errorf("it has ended without its end: %+v", v.End)
			}
			time.Sleep(f.after)
			if !strings.HasSuffix(f.shows, "partial") {
				want += f.last
			}
			c.wantText("the writer's", o.Text, strings.Repeat("x", f.size)+f.last, string(f.state))
			c.wantText("ended", text, want, f.shows)
			if n := r.Bytes(); n != int64(len(want)) {
				t.Errorf("%d bytes of %d are counted", n, len(want))
			}
			late, err := r.Follow(t.Context(), room)
			wantErr(t, "follow", err, nil)
			c.wantText("later", late, want, f.shows)
		})
	}
}

// A node that hears nothing of a message finds out what has become of it.
func TestUnheard(t *testing.T) {
	for name, f := range map[string]struct {
		do    func(c *cluster, w *growing.Growing, o *growing.Own)
		shows string
		after time.Duration
	}{
		"it is open":                     {func(*cluster, *growing.Growing, *growing.Own) {}, "grows", time.Minute},
		"it has ended, and that is lost": {func(c *cluster, _ *growing.Growing, o *growing.Own) { c.end(o, growing.Complete) }, "complete", 25 * time.Second},
		"its id is another one's": {func(c *cluster, w *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.begin(w, "a1")
		}, "complete", 25 * time.Second},
		"nobody knows": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.forget(0)
		}, "", 25 * time.Second},
		"the log knows of another one": {func(c *cluster, w *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.end(c.begin(w, "a1"), growing.Failed)
			c.forget(1)
		}, "", 25 * time.Second},
		"the log cannot be read": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.spell("{")
		}, "", 25 * time.Second},
		"the store is broken": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.store.fails(-1, "get", errStore, false)
		}, "grows", time.Minute},
		"the store is broken for a while": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.store.fails(30, "get", errStore, false)
		}, "complete", time.Minute},
		"the log is broken": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			c.breakLog()
		}, "grows", time.Minute},
		"the store is silent": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.end(o, growing.Complete)
			n := 0
			c.store.set(func(ctx context.Context, call string, do func() error) error {
				if n++; n <= 2 {
					<-ctx.Done()
					return ctx.Err()
				}
				return do()
			})
		}, "complete", time.Minute},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			o := c.begin(w, "a1")
			c.write(o, "text")
			text := c.follow(r, "a1")
			c.deafen("r")
			c.separate("r", true)
			f.do(c, w, o)
			c.store.count()
			time.Sleep(18 * time.Second)
			if c.wantText("for a while", text, "text", "grows"); c.store.count() != 0 && c.store.hook == nil {
				t.Error("the store is called early")
			}
			time.Sleep(f.after)
			c.wantText("in the end", text, "text", f.shows)
			if calls := c.store.count(); calls > 6 && c.store.hook == nil && name != "the log is broken" {
				t.Errorf("%d calls of the store", calls)
			}
			if copies := r.Stats().Copies; (copies == 1) != (f.shows != "") {
				t.Errorf("%d copies", copies)
			}
		})
	}
}

// If the log has lost something, nodes find out at once what has become of what they
// follow.
func TestLostWhatWasFollowed(t *testing.T) {
	for _, ended := range []bool{false, true} {
		inCluster(t, fmt.Sprint(ended), func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			o := c.begin(w, "a1")
			c.write(o, "text")
			text := c.follow(r, "a1")
			time.Sleep(15 * time.Second)
			c.deafen("r")
			if ended {
				c.end(o, growing.Complete)
			} else {
				c.separate("w", true)
				c.write(o, "more")
				time.Sleep(100 * time.Millisecond)
				c.separate("w", false)
			}
			c.count("r", growing.Ask)
			r.Lost(false)
			if n := c.count("r", growing.Ask); n != 1 {
				t.Errorf("asked %d times", n)
			}
			time.Sleep(1500 * time.Millisecond)
			if ended {
				c.wantText("lost", text, "text", "complete")
			} else {
				c.wantText("lost", text, "textmore", "grows")
			}
		})
	}
}

// A node whose memory is full begins no copy, and gives up those that would take more.
func TestMemoryOfFollowed(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w := c.node("w")
		limits := roomy
		limits.Memory = 1000
		r, _ := c.start("r", false, limits)
		o, o2 := c.begin(w, "a1"), c.begin(w, "a2")
		c.write(o, strings.Repeat("x", 750))
		text := c.follow(r, "a1")
		text2 := c.follow(r, "a2") // not yet crowded
		c.write(o, strings.Repeat("x", 250))
		time.Sleep(time.Second)
		c.wantText("just full", text, strings.Repeat("x", 1000), "grows")
		c.begin(w, "a3")
		_, err := r.Follow(t.Context(), growing.Key{Channel: "room", ID: "a3"})
		wantErr(t, "crowded", err, growing.ErrTooMany)
		c.write(o2, "y")
		time.Sleep(time.Second)
		c.wantText("beyond it by one", text2, "y", "grows")
		_, err = r.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: "a4"}}, func(error) {})
		wantErr(t, "begin", err, growing.ErrTooMany)
		c.write(o2, "z")
		time.Sleep(time.Second)
		c.wantText("given up", text2, "y", "")
		if s := r.Stats(); s.Copies != 1 || s.Bytes != 1000 {
			t.Errorf("%+v", s)
		}
	})
}
