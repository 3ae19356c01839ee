package realtime_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
)

// Promise 3: one order for all.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const publishers = 64
		each := figure(20, 10_000)
		opts := *noLimits
		opts.History = realtime.History{Events: 1 << 20, Bytes: 1 << 32} // nobody is outrun
		h := start(t, open(), &opts)
		streams := []*ren{h.ren(get("/ren")), h.ren(get("/ren?s=realtime"))}
		sockets := []*socket{h.socket(get("/realtime")), h.socket(get("/realtime"))}
		for _, s := range sockets {
			s.ok(subscribe("a"), subscribe("b"))
		}
		var writers sync.WaitGroup
		for p := range publishers {
			writers.Go(func() {
				for i := range each {
					channel := "a"
					if (p+i)%2 == 0 {
						channel = "b"
					}
					h.publish(channel, fmt.Sprintf("%d.%d", p, i))
				}
			})
		}
		writers.Wait()
		var orders [][]string
		for _, s := range streams {
			var order []string
			for _, ev := range s.rest() {
				order = append(order, ev.ID+string(ev.Data))
			}
			orders = append(orders, order)
		}
		for _, s := range sockets {
			var order []string
			for _, o := range s.rest() {
				order = append(order, o.ID+string(o.Data))
			}
			orders = append(orders, order)
		}
		for i, order := range orders {
			if len(order) != publishers*each {
				t.Fatalf("subscriber %d got %d events", i, len(order))
			}
			for j := range order {
				if order[j] != orders[0][j] {
					t.Fatalf("subscriber %d got %s where another one got %s", i, order[j], orders[0][j])
				}
			}
		}
		inOrderOfPublishers(t, orders[0])
	})
}

// inOrderOfPublishers fails unless what each publisher said counts up from 0.
func inOrderOfPublishers(t *testing.T, order []string) {
	t.Helper()
	last := map[string]int{}
	for _, o := range order {
		var data string
		_ = json.Unmarshal([]byte(o[strings.Index(o, `"`):]), &data)
		p, i, _ := strings.Cut(data, ".")
		if n, _ := strconv.Atoi(i); n != last[p] {
			t.Fatalf("publisher %s: %d after %d", p, n, last[p]-1)
		}
		last[p]++
	}
}

// raceToSubscribe publishes while open runs, which returns what was got, once what was
// published is known to be all through.
func raceToSubscribe(t *testing.T, h *host, channel string, open func() (got func() []int)) {
	const burst = 8
	var started atomic.Int64
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for i := range burst {
			started.Store(int64(i) + 1)
			h.publish(channel, i)
		}
	})
	got := open()
	promised := int(started.Load())
	publisher.Wait()
	list := got()
	for i, n := range list {
		if n != list[0]+i {
			t.Fatalf("got %v", list)
		}
	}
	if n := len(list); n > 0 && list[n-1] != burst-1 || n < burst-promised {
		t.Fatalf("got %v, but all from %d on were promised", list, promised)
	}
}

// Promise 2: what is published once the client has its `subscribed` or hello
// arrives, and nothing after the first event is missing.
func TestNoHoleAtSubscribe(t *testing.T) {
	t.Run("WebSocket", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), noLimits)
			s := h.socket(get("/realtime"))
			for i := range figure(600, 100_000) {
				channel := fmt.Sprint("room:", i)
				raceToSubscribe(t, h, channel, func() func() []int {
					s.ok(subscribe(channel))
					return func() (list []int) {
						s.settle(channel, func(o object) {
							n, _ := strconv.Atoi(string(o.Data))
							list = append(list, n)
						})
						return list
					}
				})
			}
		})
	})
	t.Run("REN", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), nil)
			for range figure(100, 20_000) {
				raceToSubscribe(t, h, "room", func() func() []int {
					s := h.ren(get("/ren?s=realtime"))
					return func() (list []int) {
						for _, ev := range s.rest() {
							n, _ := strconv.Atoi(string(ev.Data))
							list = append(list, n)
						}
						s.cut()
						return list
					}
				})
			}
		})
	})
}

// settle calls f with what comes until all is quiet, and unsubscribes.
func (s *socket) settle(channel string, f func(object)) {
	s.t.Helper()
	for _, o := range s.rest() {
		if o.Event != "message" || o.Channel != channel {
			s.t.Errorf("unexpected %s", o.raw)
		}
		f(o)
	}
	s.ok(`"op":"unsubscribe","channel":"` + channel + `"`)
}
