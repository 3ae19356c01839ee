package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// diary is a tracer that writes spans down.
type diary struct {
	mu    sync.Mutex
	n     int
	spans []string
}

type spanKey struct{}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spans = append(d.spans, fmt.Sprintf(format, args...))
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.spans)
}

func (d *diary) Publish(ctx context.Context, ev realtime.RenEvent) (context.Context, realtime.TraceContext, func(error)) {
	d.mu.Lock()
	d.n++
	to := realtime.TraceContext{Parent: fmt.Sprintf("00-%d", d.n), State: "s=1"}
	d.mu.Unlock()
	within := ctx.Value(spanKey{})
	return ctx, to, func(err error) { d.write("publish %s%s in %v as %s: %v", ev.Channel, ev.Key, within, to.Parent, err) }
}

func (d *diary) Handle(ctx context.Context, from realtime.TraceContext, ev realtime.RenEvent, at realtime.Delivery) (context.Context, func(error)) {
	ctx = context.WithValue(ctx, spanKey{}, "handler of "+from.Parent)
	return ctx, func(err error) {
		d.write("handle %s from %s %s by %q, %d: %v", ev.Key, from.Parent, from.State, at.Group, at.Attempt, err)
	}
}

// The trace of a publish goes on in the handlers of its event, on other nodes too, and from
// there in what they publish.
func TestTraces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newCluster(), &diary{}
		h := start(t, open(), &realtime.Options{Backend: c.link(), Tracer: d})
		other := start(t, open(), &realtime.Options{Backend: c.link(), Tracer: d})
		failed := false
		noError(t, other.Group("work", nil, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
				if ev.Key == "panics" && !failed {
					failed = true
					panic("fault")
				}
				return other.Publish(ctx, "room", ev.Key)
			})
		}))
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		h.emit(realtime.KVPut("n", "k"))
		synctest.Wait()
		raw := s.want("message").raw
		s.answer(s.ask(`"op":"publish","channel":"room","data":1`))
		synctest.Wait()
		for _, o := range s.rest() {
			raw += o.raw
		}
		if strings.Contains(raw, "00-") || strings.Contains(raw, "s=1") {
			t.Errorf("clients are shown the trace: %s", raw)
		}
		h.emit(realtime.KVPut("n", "panics"))
		s.want("message")
		want := []string{
			"publish k in <nil> as 00-1: <nil>",
			"publish room in handler of 00-1 as 00-2: <nil>",
			`handle k from 00-1 s=1 by "work", 1: <nil>`,
			"publish room in <nil> as 00-3: <nil>",
			"publish panics in <nil> as 00-4: <nil>",
			`handle panics from 00-4 s=1 by "work", 1: realtime: a handler panicked, or ended its goroutine`,
			"publish room in handler of 00-4 as 00-5: <nil>",
			`handle panics from 00-4 s=1 by "work", 2: <nil>`,
		}
		synctest.Wait()
		got := d.all() // a handler may end before the publish that it handles
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("spans:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// spans is a tracer of deliveries too. All it makes is sampled, unless flags says otherwise.
type spans struct {
	diary
	flags string
}

func (s *spans) Publish(ctx context.Context, ev realtime.RenEvent) (context.Context, realtime.TraceContext, func(error)) {
	ctx, _, end := s.diary.Publish(ctx, ev)
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + s.flags
	return context.WithValue(ctx, spanKey{}, "publish"), realtime.TraceContext{Parent: parent}, end
}

func (s *spans) Append(ctx context.Context, ev realtime.RenEvent) func(error) {
	within := ctx.Value(spanKey{})
	return func(err error) { s.write("append %s in %v: %v", ev.Channel, within, err) }
}

func (s *spans) Deliver(from realtime.TraceContext, ev realtime.RenEvent, d realtime.ClientDelivery) {
	s.write("deliver %s%s over %s after %v with %s", ev.Channel, ev.Key, d.Kind, d.Written.Sub(d.Came), from.Parent[len(from.Parent)-2:])
}

// of lists the spans that begin with a word.
func (d *diary) of(word string) (list []string) {
	for _, s := range d.all() {
		if strings.HasPrefix(s, word) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// Appends and deliveries have spans where the publish was sampled, on all nodes, and only
// so many for one event; replays have none.
func TestSpansOfDeliveries(t *testing.T) {
	bubble(t, "sampled", spansOfSampled)
	bubble(t, "many", spansOfMany)
	for _, flags := range []string{"00", "02", "x"} {
		bubble(t, "flags "+flags, func(t *testing.T) {
			d := &spans{flags: flags}
			h := start(t, open(), &realtime.Options{Tracer: d})
			h.socket(get("/realtime")).ok(subscribe("room"))
			h.publish("room", 1)
			synctest.Wait()
			if got := d.of("deliver"); len(got) != 0 {
				t.Errorf("%q", got)
			}
		})
	}
	bubble(t, "an append fails", spansOfAFailedAppend)
}

func spansOfSampled(t *testing.T) {
	c, d, elsewhere := newCluster(), &spans{flags: "01"}, &spans{flags: "01"}
	h := start(t, open(), &realtime.Options{Backend: c.link(), Tracer: d})
	other := start(t, open(), &realtime.Options{Backend: c.link(), Tracer: elsewhere})
	plain := start(t, open(), &realtime.Options{Backend: c.link()})
	h.ren(get("/ren?s=kv"))
	for _, at := range []*host{h, other, plain} {
		at.socket(get("/realtime")).ok(subscribe("room"))
	}
	cursor := h.Cursor()
	h.publish("room", 1)
	h.emit(realtime.KVPut("n", "k"))
	synctest.Wait()
	want := []string{"deliver k over ren after 0s with 01", "deliver room over websocket after 0s with 01"}
	if got := d.of("deliver"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := elsewhere.of("deliver"); !slices.Equal(got, want[1:]) {
		t.Errorf("on another node: %q", got)
	}
	if got := d.of("append"); !slices.Equal(got, []string{"append  in publish: <nil>", "append room in publish: <nil>"}) {
		t.Errorf("%q", got)
	}
	time.Sleep(time.Second)
	h.socket(get("/realtime")).call(since("room", string(cursor)))
	h.ren(get("/ren", "Last-Event-ID", string(cursor)))
	synctest.Wait()
	if got := d.of("deliver"); len(got) != 2 {
		t.Errorf("with replays: %q", got)
	}
}

func spansOfMany(t *testing.T) {
	d := &spans{flags: "01"}
	h := start(t, open(), &realtime.Options{Tracer: d})
	for range 30 {
		h.socket(get("/realtime")).ok(subscribe("room"))
	}
	for range 2 {
		h.publish("room", 1)
		synctest.Wait()
	}
	if got := d.of("deliver"); len(got) != 32 {
		t.Errorf("%d spans of two events", len(got))
	}
}

func spansOfAFailedAppend(t *testing.T) {
	d, b := &spans{flags: "01"}, backendtest.NewFaulty(realtime.NewMemory())
	h := start(t, open(), &realtime.Options{Tracer: d, Backend: b})
	b.FailAppend(1, errDown)
	_ = h.Publish(t.Context(), "room", 1)
	if got := d.of("append"); !slices.Equal(got, []string{"append room in publish: down"}) {
		t.Errorf("%q", got)
	}
}

// A tracer that returns too much, or nothing, does no harm.
func TestTraceIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ give, want realtime.TraceContext }{
		"nothing":     {},
		"long parent": {give: realtime.TraceContext{Parent: strings.Repeat("x", 129), State: "s"}},
		"long state":  {realtime.TraceContext{Parent: "p", State: strings.Repeat("x", 513)}, realtime.TraceContext{Parent: "p"}},
		"both":        {realtime.TraceContext{Parent: "p", State: strings.Repeat("x", 512)}, realtime.TraceContext{Parent: "p", State: strings.Repeat("x", 512)}},
	} {
		bubble(t, name, func(t *testing.T) {
			tracer := &constant{give: c.give}
			h := start(t, open(), &realtime.Options{Tracer: tracer})
			noError(t, h.OnKVChange(realtime.KVMatch{}, nothing))
			h.emit(realtime.KVPut("n", "k"))
			synctest.Wait()
			if tracer.got != c.want {
				t.Errorf("the handler got %+v", tracer.got)
			}
			noError(t, h.Close(t.Context()))
			if err := h.Emit(t.Context(), realtime.KVPut("n", "k")); !errors.Is(err, realtime.ErrClosed) || !errors.Is(tracer.ended, realtime.ErrClosed) {
				t.Errorf("%v, and the span ended with %v", err, tracer.ended)
			}
		})
	}
}

// constant gives each event the same context.
type constant struct {
	give, got realtime.TraceContext
	ended     error
}

func (c *constant) Publish(ctx context.Context, _ realtime.RenEvent) (context.Context, realtime.TraceContext, func(error)) {
	return ctx, c.give, func(err error) { c.ended = err }
}

func (c *constant) Handle(ctx context.Context, from realtime.TraceContext, _ realtime.RenEvent, _ realtime.Delivery) (context.Context, func(error)) {
	c.got = from
	return ctx, func(error) {}
}
