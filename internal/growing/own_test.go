package growing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// What is written is what is read, up to the limits, and a write that is refused leaves the
// message as it was.
func TestWrites(t *testing.T) {
	limits := roomy
	limits.Bytes, limits.Memory = 10, 15
	for _, steps := range [][]string{ // what is written, ! where it is refused; [ begins a value
		{"hello", "world", "!x", "="},
		{"hello", "![1]", "=hello"},
		{"[12345678]", "=12345678,"},
		{"[1234567]", "![12]", "[1]", "=1234567,1,"},
		{"[1]", "!x", "=1,"},
		{"\xc3", "\xa9", "=é"},
		{"\xc3", "![1]", "\xa9", "=é"},
		{"\xc3", "x", "=\ufffdx"},
		{"a\xf0\x9f", "\x92\xac", "=a💬"},
		{"12345678\xc3", "!\xa9x", "\xa9", "=12345678é"},
		{"\xff\xff\xff", "!\xff", "x", "=\ufffd\ufffd\ufffdx"},
		{"", "=", "[1]", "=1,"},
		{"123456789", "\xf0", "!\x9f", "=123456789"},
		{"![1234567890]", "ok", "=ok"},
	} {
		inCluster(t, strings.Join(steps, " "), func(t *testing.T, c *cluster) {
			g, _ := c.start("n", true, limits)
			o := c.begin(g, "a1")
			for _, s := range steps {
				want, refused := strings.CutPrefix(s, "=")
				if refused {
					if time.Sleep(time.Second); want != "" {
						c.wantText("written", o.Text, want, "grows")
					}
					continue
				}
				s, refused = strings.CutPrefix(s, "!")
				var err error
				if value, is := strings.CutPrefix(s, "["); is {
					err = o.WriteItem([]byte(strings.TrimSuffix(value, "]")))
				} else {
					var n int
					if n, err = o.Write([]byte(s)); err == nil && n != len(s) || err != nil && n != 0 {
						t.Errorf("%q: %d bytes are written: %v", s, n, err)
					}
				}
				if (err != nil) != refused || err != nil && !errors.Is(err, growing.ErrTooLarge) && !errors.Is(err, growing.ErrMixed) {
					t.Errorf("%q: %v", s, err)
				}
			}
		})
	}
}

// The memory of all messages has a limit, and messages that go give back what they took.
func TestMemoryOfAll(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		limits := roomy
		limits.Bytes, limits.Memory = 10, 15
		g, _ := c.start("n", true, limits)
		first, second := c.begin(g, "a1"), c.begin(g, "a2")
		c.write(first, "0123456789")
		c.write(second, "01234")
		for _, write := range []func() error{
			func() error { _, err := second.Write([]byte("x")); return err },
			func() error { return c.begin(g, "a3").WriteItem([]byte("1")) },
		} {
			wantErr(t, "beyond the memory", write(), growing.ErrTooLarge)
		}
		if n := g.Bytes(); n != 15 {
			t.Errorf("%d bytes", n)
		}
		c.end(first, growing.Complete)
		c.begin(g, "a1")
		if n := g.Bytes(); n != 5 {
			t.Errorf("%d bytes, once the first is forgotten", n)
		}
		c.write(second, "56789")
	})
}

// A text that ends within a character ends with U+FFFD, told once.
func TestEndWithinACharacter(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		g, _ := c.start("n", true, roomy)
		o := c.begin(g, "a1")
		c.write(o, "a\xc3")
		time.Sleep(time.Minute)
		c.wantText("open", o.Text, "a", "grows")
		began := time.Now().UnixMilli()
		c.end(o, growing.Complete)
		c.wantText("ended", o.Text, "a\ufffd", "complete")
		if v := o.From(0); v.End.UnixMilli < began {
			t.Errorf("it ended at %d, before %d", v.End.UnixMilli, began)
		}
		text, err := g.Follow(t.Context(), room)
		wantErr(t, "follow", err, nil)
		c.wantText("who comes later", text, "a\ufffd", "complete")
	})
}

// A node has so many messages open, so many in one channel, each id once; and one that
// has ended makes room.
func TestLimitsOfMessages(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		limits := roomy
		limits.Open, limits.Channel = 5, 3
		g, _ := c.start("n", true, limits)
		open := func(channel, id string, want error) *growing.Own {
			t.Helper()
			o, err := g.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: channel, ID: id}}, func(error) {})
			wantErr(t, channel+" "+id, err, want)
			return o
		}
		first := open("x", "1", nil)
		open("x", "1", growing.ErrTaken)
		open("x", "2", nil)
		open("x", "3", nil)
		open("x", "4", growing.ErrTooMany) // of the channel
		open("y", "1", nil)
		open("z", "1", nil)
		open("w", "1", growing.ErrTooMany)
		c.end(first, growing.Complete)
		open("x", "5", nil)
		open("y", "2", growing.ErrTooMany)
		s := g.Stats()
		if s.Open != 5 || s.Opened != 6 || s.Ended["complete"] != 1 || s.Copies != 0 {
			t.Errorf("%+v", s)
		}
		if open := g.Close(t.Context(), growing.End{State: growing.Failed}); open != 5 {
			t.Errorf("%d were open when it closed", open)
		}
		open("q", "1", bounded.ErrClosed)
		if s := g.Stats(); s.Open != 0 || s.Ended["failed"] != 5 {
			t.Errorf("closed: %+v", s)
		}
	})
}

// Writes are counted.
func TestCountedWrites(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		g, _ := c.start("n", true, roomy)
		o := c.begin(g, "a1")
		c.write(o, "hello")
		c.write(o, "")
		if s := g.Stats(); s.Appends != 2 || s.Written != 5 || s.Bytes != 5 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		woken := 0
		defer o.Follow(func() { woken++ }).Close()
		c.write(o, "")
		time.Sleep(time.Second)
		if woken != 0 {
			t.Error("somebody was woken for nothing")
		}
	})
}

// What ends a message says so to who writes it, and to the context of that.
func TestHowItEnds(t *testing.T) {
	for name, how := range map[string]struct {
		end   func(c *cluster, g *growing.Growing, o *growing.Own)
		write error
		cause string
		log   string
	}{
		"complete": {func(c *cluster, _ *growing.Growing, o *growing.Own) { c.end(o, growing.Complete) }, growing.ErrEnded, "complete", "streaming complete"},
		"stopped":  {func(_ *cluster, _ *growing.Growing, o *growing.Own) { o.Stop() }, growing.ErrStopped, "stopped", "streaming cancelled"},
		"stopped by a client": {func(c *cluster, g *growing.Growing, _ *growing.Own) {
			wantErr(c.t, "stop", g.Stop(c.t.Context(), room), nil)
		}, growing.ErrStopped, "stopped", "streaming cancelled"},
		"idle": {func(*cluster, *growing.Growing, *growing.Own) { time.Sleep(time.Hour + 5*time.Second) }, growing.ErrEnded, "failed", "streaming failed"},
		"closed": {func(c *cluster, g *growing.Growing, _ *growing.Own) {
			g.Close(c.t.Context(), growing.End{State: growing.Failed})
		}, growing.ErrEnded, "failed", "streaming failed"},
	} {
		for _, alone := range []bool{true, false} {
			inCluster(t, fmt.Sprint(name, " ", alone), func(t *testing.T, c *cluster) {
				g, _ := c.start("n", alone, roomy)
				var causes []error
				o, err := g.Begin(t.Context(), growing.Begin{Key: room}, func(why error) { causes = append(causes, why) })
				wantErr(t, "begin", err, nil)
				how.end(c, g, o)
				synctest.Wait()
				_, err = o.Write([]byte("x"))
				wantErr(t, "write", err, how.write)
				wantErr(t, "write a value", o.WriteItem([]byte("1")), how.write)
				select {
				case <-o.Done():
				default:
					t.Error("it is not done")
				}
				if len(causes) == 0 || !strings.Contains(causes[0].Error(), how.cause) {
					t.Errorf("its context ended with %v, want %s", causes, how.cause)
				}
				c.wantTold("ended", "a1", how.log)
				if err := o.End(t.Context(), growing.End{State: growing.Cancelled}); (err == nil) != (how.write == growing.ErrStopped) {
					t.Errorf("ended once more: %v", err)
				}
			})
		}
	}
}

// A message is idle only if nothing is written, and it fails just then.
func TestIdle(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		limits := roomy
		limits.Idle = 10 * time.Second
		g, _ := c.start("n", true, limits)
		o := c.begin(g, "a1")
		for range 10 {
			time.Sleep(9 * time.Second)
			c.write(o, "x")
		}
		time.Sleep(9 * time.Second)
		c.wantText("in time", o.Text, "xxxxxxxxxx", "grows")
		time.Sleep(3 * time.Second)
		c.wantText("idle", o.Text, "xxxxxxxxxx", "failed timeout")
	})
}

// A message that has ended is kept for half a minute, or for as long as somebody reads it,
// and then taken from the log.
func TestKept(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		g, _ := c.start("n", true, roomy)
		o := c.begin(g, "a1")
		c.write(o, "text")
		f := o.Follow(func() {})
		c.end(o, growing.Complete)
		time.Sleep(time.Minute)
		if g.Bytes() != 4 {
			t.Error("it is forgotten though it is read")
		}
		f.Close()
		time.Sleep(2 * time.Second)
		if g.Bytes() != 0 {
			t.Error("it is kept")
		}
		o = c.begin(g, "a2")
		c.write(o, "text")
		c.end(o, growing.Complete)
		time.Sleep(28 * time.Second)
		if g.Bytes() != 4 {
			t.Error("it is forgotten early")
		}
		time.Sleep(5 * time.Second)
		if g.Bytes() != 0 || g.Stats().Copies != 0 {
			t.Errorf("it is kept for too long: %+v", g.Stats())
		}
		text, err := g.Follow(t.Context(), growing.Key{Channel: "room", ID: "a2"})
		wantErr(t, "follow", err, nil)
		c.wantText("later", text, "text", "complete")
		if !text.IsPast() || o.IsPast() {
			t.Error("it is taken for open")
		}
	})
}
