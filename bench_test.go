package realtime_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// The benchmarks deliver through real handlers over loopback sockets. Clients
// and server share the process, so that only ratios to BenchmarkDeliverRaw, a
// loop that writes prebuilt bytes to raw sockets, say something about the
// server.

// payload has 128 bytes as JSON, and ends with mark, which stands nowhere else.
var payload = strings.Repeat("x", 124) + mark

const mark = "@!"

// crowd is many clients that count the events they get.
type crowd struct {
	conns []net.Conn
	got   atomic.Int64
	wake  chan struct{}
	want  atomic.Int64
	done  sync.WaitGroup
}

// gather dials n clients, each of which says hello and is ready after an answer
// that holds ready.
func gather(b *testing.B, addr string, n int, hello, ready string) *crowd {
	return gatherEach(b, addr, n, func(int) string { return hello }, ready)
}

func gatherEach(b *testing.B, addr string, n int, hello func(i int) string, ready string) *crowd {
	c := &crowd{wake: make(chan struct{}, 1)}
	for i := range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.WriteString(conn, hello(i)); err != nil {
			b.Fatal(err)
		}
		c.conns = append(c.conns, conn)
	}
	for _, conn := range c.conns {
		readUntil(b, conn, ready)
		c.done.Go(func() { c.count(conn) })
	}
	b.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
		c.done.Wait()
	})
	return c
}

func readUntil(b *testing.B, conn net.Conn, ready string) {
	buf := make([]byte, 4096)
	for got := ""; !strings.Contains(got, ready); {
		n, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		got += string(buf[:n])
	}
}

func (c *crowd) count(r io.Reader) {
	buf := make([]byte, 1+16<<10) // after the last byte of the read before
	for {
		n, err := r.Read(buf[1:])
		marks := bytes.Count(buf[:1+n], []byte(mark))
		buf[0] = buf[n]
		if c.got.Add(int64(marks)) >= c.want.Load() {
			select {
			case c.wake <- struct{}{}:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// await returns when every client got what is expected.
func (c *crowd) await() {
	want := c.want.Load()
	for c.got.Load() < want {
		<-c.wake
	}
}

func (c *crowd) expect(n int) { c.want.Add(int64(n * len(c.conns))) }

// deliver publishes bursts of events and waits until all clients have them.
func deliver(b *testing.B, c *crowd, burst int, publish func()) {
	b.ResetTimer()
	used := cpuTime()
	for range b.N {
		c.expect(burst)
		for range burst {
			publish()
		}
		c.await()
	}
	b.StopTimer()
	deliveries := float64(b.N * burst * len(c.conns))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
	b.ReportMetric(float64((cpuTime()-used).Nanoseconds())/deliveries, "cpu-ns/delivery")
}

// one masks a WebSocket text frame with zeros: RFC 6455, section 5.2.
func one(payload string) string {
	return string([]byte{0x81, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

const (
	helloSSE = "GET /ren?s=realtime HTTP/1.1\r\nHost: x\r\n\r\n"
	helloWS  = "GET /realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

func subscribeWS(channel string) string {
	return helloWS + one(`{"op":"hello","cid":"0123456789abcdef"}`) + one(`{"op":"subscribe","channel":"`+channel+`"}`)
}

func serve(b *testing.B) (*realtime.Realtime, string) {
	rt, err := realtime.New(everything(), &realtime.Options{Hijack: realtime.Hijack(*hijack)})
	if err != nil {
		b.Fatal(err)
	}
	return rt, serveRT(b, rt)
}

func serveRT(b *testing.B, rt *realtime.Realtime) (addr string) {
	srv := httptest.NewServer(rt.Handler())
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		rt.Close(ctx)
		srv.Close()
	})
	return srv.Listener.Addr().String()
}

// everything is AllowAll without its warning.
func everything() realtime.Policy {
	all := realtime.AllowAll()
	return realtime.Policy{Authenticate: all.Authenticate, Allow: all.Allow, Grants: all.Grants}
}

func BenchmarkDeliver(b *testing.B) {
	for _, kind := range []struct{ name, hello, ready string }{
		{"SSE", helloSSE, `"fresh"`},
		{"WebSocket", subscribeWS("room"), `"fresh"`},
	} {
		for _, clients := range []int{1, 100, 5000} {
			for _, burst := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/clients=%d/burst=%d", kind.name, clients, burst), func(b *testing.B) {
					rt, addr := serve(b)
					c := gather(b, addr, clients, kind.hello, kind.ready)
					deliver(b, c, burst, func() {
						if err := rt.Publish(b.Context(), "room", payload); err != nil {
							b.Fatal(err)
						}
					})
				})
			}
		}
	}
}

func BenchmarkDeliverRaw(b *testing.B) {
	for _, clients := range []int{1, 100, 5000} {
		for _, burst := range []int{1, 64} {
			b.Run(fmt.Sprintf("clients=%d/burst=%d", clients, burst), func(b *testing.B) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				accepted := make(chan net.Conn, clients)
				go func() {
					for range clients {
						conn, _ := l.Accept()
						accepted <- conn
					}
				}()
				c := gather(b, l.Addr().String(), clients, "", "")
				servers := make([]net.Conn, clients)
				for i := range servers {
					servers[i] = <-accepted
					defer servers[i].Close()
				}
				frame := bytes.Repeat([]byte("id: hoftbqjitc.10\ndata: {\"t\":\"realtime.message\",\"r\":\"realtime\",\"ts\":1795465200123,\"ch\":\"room\",\"data\":\""+payload+"\"}\n\n"), burst)
				pending := 0
				deliver(b, c, burst, func() {
					if pending++; pending < burst {
						return
					}
					pending = 0
					for _, conn := range servers {
						conn.Write(frame)
					}
				})
			})
		}
	}
}

// BenchmarkPublishUnfollowed publishes to a channel nobody follows, beside many
// that somebody does.
func BenchmarkPublishUnfollowed(b *testing.B) {
	for _, channels := range []int{0, 10000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			rt, addr := serve(b)
			for i := range channels / 100 {
				hello := helloWS + one(`{"op":"hello","cid":"0123456789abcdef"}`)
				for k := range 50 { // within the burst of operations a connection may send
					hello += one(fmt.Sprintf(`{"op":"subscribe","channel":"room:%d:%d"}`, i, k))
				}
				gather(b, addr, 2, hello, fmt.Sprintf(`room:%d:49`, i))
			}
			ctx, data := b.Context(), any(payload) // which takes memory of its own
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := rt.Publish(ctx, "nobody", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGrants delivers to one of many streams, each of which is granted keys of its
// own, and publishes what none of them is granted.
func BenchmarkGrants(b *testing.B) {
	for _, streams := range []int{10, 4000} {
		rt, err := realtime.New(ownKeys(), nil)
		if err != nil {
			b.Fatal(err)
		}
		addr := serveRT(b, rt)
		c := gatherEach(b, addr, streams, func(i int) string { return fmt.Sprintf("GET /ren?user=user%d HTTP/1.1\r\nHost: x\r\n\r\n", i) }, `"fresh"`)
		emit := func(b *testing.B, key string) {
			if err := rt.Emit(b.Context(), realtime.KVPut("todos", key)); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("streams=%d/of-one", streams), func(b *testing.B) {
			for i := range b.N {
				c.want.Add(1)
				emit(b, fmt.Sprintf("user%d:"+mark, i%streams))
				c.await()
			}
		})
		b.Run(fmt.Sprintf("streams=%d/of-none", streams), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				emit(b, "nobody")
			}
		})
	}
}

// ownKeys grants each user the keys under its name.
func ownKeys() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: r.FormValue("user")}, nil
		},
		Grants: func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("kv").In("todos").Under(id.User)}, nil
		},
	}
}

// BenchmarkIdle reports what a connection that waits takes of the process, its
// client's end left out as far as it is in Go.
func BenchmarkIdle(b *testing.B) {
	const clients = 2000
	for _, kind := range []struct{ name, hello, ready string }{
		{"SSE", helloSSE, `"fresh"`},
		{"WebSocket", subscribeWS("room"), `"fresh"`},
	} {
		b.Run(kind.name, func(b *testing.B) {
			for range b.N {
				_, addr := serve(b)
				before, goroutines := inUse(), runtime.NumGoroutine()
				for range clients {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { conn.Close() })
					io.WriteString(conn, kind.hello)
					readUntil(b, conn, kind.ready)
				}
				b.ReportMetric(float64(inUse()-before)/clients, "B/conn")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/clients, "goroutines/conn")
			}
		})
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkHandlers measures what a handled event costs beside many registered
// patterns, from publish to the end of its handler.
func BenchmarkHandlers(b *testing.B) {
	for _, patterns := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("patterns=%d", patterns), func(b *testing.B) {
			rt, err := realtime.New(realtime.Policy{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer rt.Close(b.Context())
			handled := make(chan struct{}, 1)
			for i := range patterns {
				// A third each: exact, prefix, and glob.
				key := fmt.Sprintf("list:%d", i)
				key += []string{"", ":*", ":item:*:done"}[i%3]
				err := rt.OnKVChange(realtime.KVMatch{Namespace: "demo", Key: key}, func(context.Context, realtime.RenEvent) error {
					handled <- struct{}{}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := rt.Emit(b.Context(), realtime.KVPut("demo", "list:0")); err != nil {
					b.Fatal(err)
				}
				<-handled
			}
		})
		b.Run(fmt.Sprintf("unmatched/patterns=%d", patterns), func(b *testing.B) {
			rules, err := realtime.NewIndex(patterns)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if rules.Find(realtime.KVPut("demo", "list:77777:item:1")) != 0 {
					b.Fatal("found")
				}
			}
		})
	}
}

// cpuTime is what this process has used of processors, also while the machine is busy.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
