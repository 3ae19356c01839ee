package clusterfaults

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/client"
)

// trial is an engine with processes as its nodes.
type trial struct {
	name   string
	engine *engine
	nodes  []*node
	number int // of the next node
}

func (r *trial) add(b *testing.B) {
	r.nodes = append(r.nodes, startNode(b, r.number, r.engine.config(r.engine.proxied), nil))
	r.number++
}

// trials starts each engine that is measured, with so many nodes. They are measured at
// the same time, since they have little to do.
func trials(b *testing.B, nodes int) (all []*trial) {
	b.Helper()
	for i, e := range measured {
		r := &trial{name: e.name, engine: e.start(b), number: 100 * i}
		for range nodes {
			r.add(b)
		}
		all = append(all, r)
	}
	return all
}

// have has the host of a node do something that must not fail.
func have(b *testing.B, n *node, what string, q ask) answer {
	b.Helper()
	a, err := n.call(context.Background(), what, q)
	if err != nil || a.Error != "" {
		b.Error(what, err, a.Error)
	}
	return a
}

// BenchmarkIdleNode measures two nodes of each engine that have nothing to do. Each has
// one group of handlers.
func BenchmarkIdleNode(b *testing.B) {
	all := trials(b, 2)
	time.Sleep(5 * time.Second) // what they do when they start is over
	before := make(map[*node]used)
	for _, r := range all {
		for _, n := range r.nodes {
			before[n] = have(b, n, "usage", ask{}).Used
		}
	}
	for b.Loop() {
		time.Sleep(10 * time.Second) // twice what they do most rarely
	}
	seconds := b.Elapsed().Seconds()
	for _, r := range all {
		var cpu time.Duration
		var calls uint64
		for _, n := range r.nodes {
			after := have(b, n, "usage", ask{}).Used
			cpu += after.CPU - before[n].CPU
			calls += after.Calls - before[n].Calls
		}
		b.ReportMetric(cpu.Seconds()*1e3/seconds/float64(len(r.nodes)), r.name+"-ms/s")
		b.ReportMetric(float64(calls)/seconds/float64(len(r.nodes)), r.name+"-calls/s")
	}
}

// BenchmarkTakeover kills the node that holds a group of handlers, and waits until
// another one handles what is published.
func BenchmarkTakeover(b *testing.B) {
	all := trials(b, 2)
	took := make([][]time.Duration, len(all))
	for b.Loop() {
		var each sync.WaitGroup
		for i, r := range all {
			r.add(b)
			each.Go(func() { took[i] = append(took[i], r.takeover(b)) })
		}
		each.Wait()
	}
	for i, r := range all {
		var sum, most time.Duration
		for _, d := range took[i] {
			sum, most = sum+d, max(most, d)
		}
		b.ReportMetric(sum.Seconds()/float64(len(took[i])), r.name+"-s")
		b.ReportMetric(most.Seconds(), r.name+"-max-s")
	}
}

func (r *trial) takeover(b *testing.B) time.Duration {
	holder := r.handles(b, r.nodes, time.Now())
	rest := r.nodes[:0:0]
	for _, n := range r.nodes {
		if n != holder {
			rest = append(rest, n)
		}
	}
	r.nodes = rest
	holder.kill()
	began := time.Now()
	r.handles(b, rest, began)
	return time.Since(began)
}

// handles publishes until one of some nodes has begun to handle something, and returns
// it.
func (r *trial) handles(b *testing.B, nodes []*node, since time.Time) (found *node) {
	id := 0
	within(b, patience, "a node handles messages", func() bool {
		id++
		have(b, nodes[0], "publish", ask{Channel: channels[0], ID: id})
		for _, n := range nodes {
			n.mu.Lock()
			if last := len(n.handled) - 1; last >= 0 && n.handled[last].began.After(since) {
				found = n
			}
			n.mu.Unlock()
		}
		return found != nil
	})
	return found
}

// many is how many channels are followed in BenchmarkChannels.
const many = 10_000

// BenchmarkChannels has clients of one node follow 10,000 channels, and another node
// publish to each of them, which is one iteration. A third node does nothing but follow
// the log.
func BenchmarkChannels(b *testing.B) {
	for _, e := range measured {
		b.Run(e.name, func(b *testing.B) {
			r := &trial{name: e.name, engine: e.start(b)}
			for range 3 {
				r.add(b)
			}
			follows, publishes, third := r.nodes[0], r.nodes[1], r.nodes[2]
			memory := func(n *node) float64 { return float64(have(b, n, "memory", ask{}).Used.Memory) }
			there, elsewhere := memory(follows), memory(third)
			got, listed := followMany(b, follows, third)
			channels := have(b, third, "channels", ask{}).Took
			following, other := memory(follows), memory(third)
			before := make([]used, len(r.nodes))
			for i, n := range r.nodes {
				before[i] = have(b, n, "usage", ask{}).Used
			}
			sent := int64(0)
			for b.Loop() {
				have(b, publishes, "flood", ask{ID: many})
				sent += many
				within(b, patience, "all messages arrive", func() bool { return got.Load() == sent })
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(listed.Seconds(), "all-listed-s")
			b.ReportMetric(channels.Seconds()*1e3, "Channels-ms")
			b.ReportMetric((following-there)/many, "B/channel")
			b.ReportMetric((other-elsewhere)/many, "B/channel-third")
			for i, what := range []string{"follows", "publishes", "third"} {
				cpu := have(b, r.nodes[i], "usage", ask{}).Used.CPU - before[i].CPU
				b.ReportMetric(float64(cpu.Microseconds())/float64(sent), "us-"+what)
			}
			b.ReportMetric((memory(third)-other)/float64(sent), "B/message-third")
		})
	}
}

// followMany has clients of a node follow many channels, 50 each. It returns how many
// messages have come, and how long it took until another node listed all of the channels.
func followMany(b *testing.B, n, other *node) (got *atomic.Int64, listed time.Duration) {
	b.Helper()
	const perClient = 50
	began := time.Now()
	got = new(atomic.Int64)
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	b.Cleanup(func() {
		stop()
		following.Wait()
	})
	for i := range many / perClient {
		rt, err := client.NewRealtime("http://"+n.addr+"/api/maravilla/realtime", &client.RealtimeOptions{
			Header: http.Header{"X-User": {fmt.Sprint("user", i)}}, Logger: silent,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = rt.Close() })
		for k := range perClient {
			messages := rt.Subscribe(ctx, manyChannel(i*perClient+k))
			following.Go(func() {
				for _, err := range messages {
					if err == nil {
						got.Add(1)
					}
				}
			})
		}
		rt.Connect()
	}
	within(b, patience, "all channels are listed", func() bool { return have(b, other, "channels", ask{}).Used.Channels >= many })
	return got, time.Since(began)
}
