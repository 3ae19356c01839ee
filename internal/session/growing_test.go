package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// growth is a connection with channels, and a node that writes messages which grow.
type growth struct {
	*channels
	g      *growing.Growing
	broken chan struct{} // if set, the store fails once it is closed
}

func newGrowth(t *testing.T) *growth {
	x := &growth{channels: newChannels(t, newHistory(roomy))}
	x.g = growing.New(growing.Node{
		Name: func() string { return "n" }, Alone: true, Store: &breakable{memory.New(memory.Limits{}), x}, Send: func() {},
		Append: func(context.Context, backend.Entry) error { return nil },
		Limits: growing.Limits{Bytes: 1 << 20, Memory: 1 << 30, Open: 9, Channel: 9, Idle: time.Hour, Message: 1 << 20},
		Logger: slog.New(slog.DiscardHandler), Running: t.Context(), Go: func(f func()) { go f() },
		Ended: func(context.Context, growing.Key) (*backend.Event, error) { return nil, nil },
	})
	go x.g.Run(t.Context())
	return x
}

type breakable struct {
	backend.Store
	of *growth
}

func (b *breakable) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if b.of.broken != nil {
		<-b.of.broken
		return 0, errors.New("broken")
	}
	return b.Store.Put(ctx, w)
}

// run fills until nothing wakes the driver.
func (x *growth) run() (all []string) {
	x.t.Helper()
	synctest.Wait()
	for all = x.channels.run(); x.dirty.Load(); {
		all = append(all, x.channels.run()...)
	}
	return all
}

// begin begins a message of ada in the channel a.
func (x *growth) begin(id, text string) *growing.Own {
	x.t.Helper()
	b := growing.Begin{Key: growing.Key{Channel: "a", ID: id}, User: "ada"}
	o, err := x.g.Begin(x.t.Context(), b, func(error) {})
	if err != nil {
		x.t.Fatal(err)
	}
	x.write(o, text)
	return o
}

// write adds to a message, of which the followers are told.
func (x *growth) write(o *growing.Own, text string) {
	x.t.Helper()
	if _, err := o.Write([]byte(text)); err != nil {
		x.t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

func (x *growth) finish(o *growing.Own, e growing.End) {
	x.t.Helper()
	if err := o.End(x.t.Context(), e); err != nil {
		x.t.Fatal(err)
	}
	synctest.Wait()
}

func (x *growth) grow(ref int64, t *growing.Text) { x.growOp(wire.Op{Ref: &ref, ID: t.ID}, t) }

func (x *growth) growOp(op wire.Op, t *growing.Text) {
	turn := x.Turn()
	x.Do(func() { x.Grow(op, t, turn) })
}

func (x *growth) unstream(ref int64, id string) {
	x.Do(func() { x.Unstream(wire.Op{Ref: &ref, Channel: "a", ID: id}) })
}

// told says what the client is told: of a message its content, and where that begins and
// ends.
func (x *growth) told() string {
	x.t.Helper()
	var words []string
	for line := range strings.SplitSeq(strings.Join(x.run(), "\n"), "\n") {
		var f struct {
			Event, ID, State, Code, Text string
			Ref, Offset, Next            *int64
			Error                        *wire.Error
			Retry                        bool
		}
		if line == "" {
			continue
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			x.t.Fatalf("%s: %v", line, err)
		}
		word := strings.TrimPrefix(f.Event, "stream.")
		if f.Ref != nil {
			word += fmt.Sprint("#", *f.Ref)
		}
		for _, s := range []string{f.ID, f.State, f.Code} {
			word += strings.TrimSuffix(" "+s, " ")
		}
		if f.Offset != nil {
			word += fmt.Sprintf(" %d %s", *f.Offset, f.Text)
		}
		if f.Next != nil {
			word += fmt.Sprint(" ", *f.Next)
		}
		if f.Error != nil {
			word += " " + f.Error.Code
		}
		if f.Retry {
			word += " retry"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

var (
	complete = growing.End{State: growing.Complete}
	failed   = growing.End{State: growing.Failed, Error: wire.Errorf("timeout", "too slow")}
)

// growCases are what is done with messages that grow, and what is told of them.
var growCases = map[string]struct {
	do   func(x *growth)
	want string
	open string // the channels that are followed then
}{
	"what there is, what is added and the end": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.write(o, "two")
		expect(x.t, "told", x.told(), "append m 3 two 6")
		x.write(o, "three")
		expect(x.t, "told", x.told(), "append m 6 three 11")
		x.write(o, "four")
		x.finish(o, complete)
	}, "append m 11 four 15, end m complete 15", ""},
	"the end alone": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.finish(o, failed)
	}, "end m failed 3 timeout", ""},
	"from a place": {func(x *growth) {
		o, at := x.begin("m", "onetwo"), int64(3)
		x.growOp(wire.Op{Run: o.Run, Offset: &at}, o.Text)
	}, "stream m streaming 3 two 6", "a"},
	"from a place of another one": {func(x *growth) {
		o, at := x.begin("m", "onetwo"), int64(3)
		x.growOp(wire.Op{Run: "other", Offset: &at}, o.Text)
	}, "stream m streaming 0 onetwo 6", "a"},
	"from no place": {func(x *growth) {
		o := x.begin("m", "one")
		x.growOp(wire.Op{Run: o.Run}, o.Text)
	}, "stream m streaming 0 one 3", "a"},
	"one that has ended": {func(x *growth) {
		o := x.begin("m", "one")
		x.finish(o, failed)
		x.grow(1, o.Text)
	}, "stream#1 m failed 0 one 3 timeout", ""},
	"between other answers": {func(x *growth) {
		x.ping()
		x.grow(1, x.begin("m", "one").Text)
		x.ping()
	}, "ping, stream#1 m streaming 0 one 3, ping", "a"},
	"added and ended between pings": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.ping()
		x.write(o, "two")
		x.finish(o, complete)
		x.ping()
	}, "ping, append m 3 two 6, end m complete 6, ping", ""},
	"hidden": {func(x *growth) {
		x.view.hidden = map[string]bool{"ada": true}
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.write(o, "two")
		x.grow(2, o.Text)
	}, "error#2 not_found", ""},
	"too many": {func(x *growth) {
		var all []*growing.Own
		for i := range 4 {
			all = append(all, x.begin(fmt.Sprint("m", i), "one"))
			x.grow(int64(i), all[i].Text)
		}
		expect(x.t, "told", x.told(), "stream#0 m0 streaming 0 one 3, stream#1 m1 streaming 0 one 3, stream#2 m2 streaming 0 one 3, error#3 too_many")
		x.write(all[3], "two")
		x.grow(4, all[0].Text)
		x.finish(all[1], complete) // which makes room
		x.grow(5, all[3].Text)
	}, "stream#4 m0 streaming 0 one 3, end m1 complete 3, stream#5 m3 streaming 0 onetwo 6", "a"},
	"again: those who share the connection lack nothing": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.grow(2, o.Text)
		x.write(o, "two")
		expect(x.t, "told", x.told(), "append m 3 two 6, stream#2 m streaming 0 onetwo 6")
		x.grow(3, o.Text)
		x.finish(o, complete)
	}, "end m complete 6, stream#3 m complete 0 onetwo 6", ""},
	"another one with its id": {func(x *growth) {
		old := x.begin("m", "one")
		for i, o := range []*growing.Own{old, x.begin("x", ""), x.begin("y", "")} {
			x.grow(int64(i), o.Text)
		}
		x.run()
		x.unstream(3, "none")
		x.finish(old, complete)
		o := x.begin("m", "again")
		x.Do(func() { x.Grow(wire.Op{}, o.Text, 1) })
		x.write(o, "!")
	}, "ok#3, end m complete 3, stream m streaming 0 again! 6", "a"},
	"another one with its id, before the end is told": {func(x *growth) {
		old := x.begin("m", "one") // there is no room for more than these
		for i, o := range []*growing.Own{old, x.begin("x", ""), x.begin("y", "")} {
			x.grow(int64(i), o.Text)
		}
		x.run()
		var o *growing.Own
		x.Do(func() { x.Grow(wire.Op{}, o.Text, 1) })
		x.finish(old, complete)
		o = x.begin("m", "again")
		x.run()
		x.write(o, "!")
	}, "append m 5 ! 6", "a"},
	"no longer": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.unstream(2, "m")
		x.write(o, "two")
	}, "ok#2", ""},
	"taken away": {func(x *growth) {
		o, other := x.begin("m", "one"), x.begin("n", "one")
		x.grow(1, o.Text) // turn 1
		x.run()
		restrict := func(turn uint64, channel string, why *wire.Error) {
			x.Do(func() { x.Restrict(turn, map[string]*wire.Error{channel: why}) })
		}
		restrict(0, "a", forbidden) // it was allowed later
		restrict(2, "b", forbidden)
		restrict(3, "a", nil)
		restrict(2, "a", forbidden)
		x.grow(4, other.Text) // turn 2
		expect(x.t, "told", x.told(), "stream#4 n streaming 0 one 3")
		x.Do(func() { x.Grow(wire.Op{ID: "n"}, other.Text, 5) }) // allowed again
		x.run()
		restrict(4, "a", forbidden)
		expect(x.t, "told", x.told(), "unstreamed m forbidden")
		x.write(o, "two")
		restrict(5, "a", forbidden)
	}, "unstreamed n forbidden", ""},
	"hidden from now on": {func(x *growth) {
		o := x.begin("m", "one")
		x.grow(1, o.Text)
		x.run()
		x.view.hidden = map[string]bool{"bob": true}
		x.Do(x.ShowAgain)
		expect(x.t, "told", x.told(), "")
		x.view.hidden = map[string]bool{"ada": true}
		x.Do(x.ShowAgain)
		x.write(o, "two")
	}, "unstreamed m forbidden", ""},
	"lost": {func(x *growth) {
		x.broken = make(chan struct{})
		k := growing.Key{Channel: "a", ID: "m"}
		go x.g.Begin(x.t.Context(), growing.Begin{Key: k}, func(error) {})
		synctest.Wait()
		lost, err := x.g.Follow(x.t.Context(), k)
		if err != nil {
			x.t.Fatal(err)
		}
		x.grow(1, lost)
		x.run()
		close(x.broken)
		time.Sleep(time.Second)
		expect(x.t, "told", x.told(), "unstreamed m unavailable retry")
		x.grow(2, lost)
	}, "error#2 unavailable retry", ""},
}

// What those are told who follow messages that grow, and in which order.
func TestGrow(t *testing.T) {
	for name, c := range growCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newGrowth(t)
				c.do(x)
				expect(t, "told", x.told(), c.want)
				expect(t, "told again", x.told(), "")
				expect(t, "followed", strings.Join(x.Asked(), " "), c.open)
				x.Close()
				if n := x.g.Stats().Followers; n != 0 {
					t.Errorf("%d follow after the end", n)
				}
			})
		})
	}
}

// Who asks for a message while it ends is told of its end, with the content or after it.
func TestGrowWhileItEnds(t *testing.T) {
	text := strings.Repeat("x", 200_000) // which takes a while to encode
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			x := newGrowth(t)
			o := x.begin("m", text)
			asked := make(chan struct{})
			x.Do(func() { close(asked) })
			x.grow(1, o.Text)
			go func() {
				<-asked
				if err := o.End(t.Context(), complete); err != nil {
					t.Error(err)
				}
			}()
			x.channels.run() // both at once
			x.run()
			expect(t, "followed", strings.Join(x.Asked(), " "), "")
			x.Close()
		})
	}
}

// The policy is asked once about each channel that is followed, in whatever way.
func TestAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newGrowth(t)
		for i, name := range []string{"b", "a"} {
			x.subscribe(int64(i), name, "", false)
		}
		x.grow(3, x.begin("m", "one").Text)
		x.grow(4, x.begin("n", "one").Text)
		x.run()
		expect(t, "followed", strings.Join(x.Asked(), " "), "a b")
		x.unsubscribe(5, "a")
		x.run()
		expect(t, "followed", strings.Join(x.Asked(), " "), "a b")
	})
}
