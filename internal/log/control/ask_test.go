package control

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// asks has the nodes answer questions of who they are: the one that is asked for does.
func (c *cluster) asks(answer func(ctx context.Context, who string) json.RawMessage) {
	for i, n := range c.all {
		who := string(rune('a' + i))
		n.node.Asks = map[string]Ask{"$who": {
			Take: func(question json.RawMessage) func(context.Context) json.RawMessage {
				if string(question) != who {
					return nil
				}
				return func(ctx context.Context) json.RawMessage { return answer(ctx, who) }
			},
			Heard: func(answer json.RawMessage) { n.note("heard " + string(answer)) },
		}}
	}
}

// The node that can answers, whichever is asked, and all hear the answer.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b", "c")
		c.asks(func(_ context.Context, who string) json.RawMessage {
			time.Sleep(time.Minute) // longer than a change of rights may take
			return json.RawMessage("I am " + who)
		})
		defer func() {
			for _, n := range c.all {
				if logs := n.logs.String(); logs != "" {
					t.Error(logs)
				}
			}
		}()
		for i, who := range []string{"b", "a"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			said, err := c.all[0].Ask(ctx, "$who", json.RawMessage(who))
			c.work.Wait()
			if err != nil || string(said) != "I am "+who {
				t.Errorf("%s, %v", said, err)
			}
			for _, n := range c.all {
				if len(n.did) != i+1 || n.did[i] != "heard I am "+who {
					t.Errorf("%q", n.did)
				}
			}
		}
		if n := len(c.all[0].asking); n != 0 {
			t.Errorf("%d questions are kept", n)
		}
	})
}

// A question that nobody answers ends with its context, and one that nobody hears at once.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		c.asks(func(context.Context, string) json.RawMessage { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.all[0].Ask(ctx, "$who", json.RawMessage("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.fail = errDown
		if _, err := c.all[0].Ask(t.Context(), "$who", json.RawMessage("b")); !errors.Is(err, errDown) {
			t.Error(err)
		}
		c.all[0].Handle(backend.Event{Type: "$who", Source: "b", Key: "k", Data: json.RawMessage("a")})
		c.work.Wait()
		if logs := c.all[0].logs.String(); !strings.Contains(logs, "an answer to other nodes is not told") {
			t.Error(logs)
		}
		c.fail = nil
		c.all[0].stop()
		if _, err := c.all[0].Ask(t.Context(), "$who", json.RawMessage("x")); !errors.Is(err, errClosed) {
			t.Error(err)
		}
	})
}

// Only so many questions are answered at once, and a node that ends, or whose log was
// closed, does not complain that its answers are not told.
func TestTooManyQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		var answers atomic.Int64
		end := make(chan struct{})
		c.asks(func(context.Context, string) json.RawMessage {
			answers.Add(1)
			<-end
			return nil
		})
		b := c.all[1]
		ask := func() { b.Handle(backend.Event{Type: "$who", Source: "a", Key: "k", Data: json.RawMessage("b")}) }
		for range answerAtOnce + 3 {
			ask()
		}
		synctest.Wait()
		if n := answers.Load(); n != answerAtOnce {
			t.Errorf("%d at once", n)
		}
		close(end)
		c.work.Wait()
		if n := strings.Count(b.logs.String(), "too many requests"); n != 3 {
			t.Error(&b.logs)
		}
		for range answerAtOnce + 3 { // one after the other
			ask()
			c.work.Wait()
		}
		if n := answers.Load(); n != 2*answerAtOnce+3 {
			t.Errorf("%d answers", n)
		}
		for _, c.fail = range []error{errClosed, errDown} {
			ask()
			c.work.Wait()
			b.stop()
		}
		if logs := b.logs.String(); strings.Contains(logs, "not told") {
			t.Error(logs)
		}
	})
}

// A request that changes no rights is not logged as one that does.
func TestNamesOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		b := c.all[1]
		end := make(chan struct{})
		b.node.Do["$probe"] = func(context.Context, string) error { <-end; return errDown }
		for range doAtOnce + 1 {
			b.Handle(backend.Event{Type: "$probe", Source: "a", Key: "k", User: "secret"})
		}
		close(end)
		c.work.Wait()
		lines := strings.Split(strings.TrimSpace(b.logs.String()), "\n")
		if len(lines) != doAtOnce+1 || slices.ContainsFunc(lines, func(l string) bool {
			return !strings.Contains(l, "request=$probe") || strings.Contains(l, "rights") || strings.Contains(l, "secret")
		}) {
			t.Error(&b.logs)
		}
	})
}
