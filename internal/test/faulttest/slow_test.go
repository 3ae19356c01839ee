package faulttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// valve is the network of clients that stop reading.
type valve struct {
	mu     sync.Mutex
	shut   chan struct{} // closed to let bytes pass again; nil: they pass
	opened bool          // again
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened = true; v.shut != nil {
		close(v.shut)
		v.shut = nil
	}
}

func (v *valve) wasOpened() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened
}

// client is an HTTP client whose connections read through the valve. Until that
// is opened, the kernel's buffers at its end are small, so that it is the server's
// that count. (With the large segments of loopback they would make what comes
// later wait for the kernel's timers.)
func (v *valve) client() *http.Client {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if v.wasOpened() {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return valved{conn, v}, nil
		},
	}}
}

type valved struct {
	net.Conn
	valve *valve
}

func (c valved) Read(p []byte) (int, error) {
	c.valve.pass()
	return c.Conn.Read(p)
}

// pass waits until the valve is open.
func (v *valve) pass() {
	v.mu.Lock()
	shut := v.shut
	v.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// fill is what is published to stall readers: more than the kernel holds.
type fill struct {
	kind string
	srv  *server
	size int // bytes
}

func (f fill) publish(t testing.TB) {
	t.Helper()
	const piece = 16 << 10
	speaker := newSpeaker(f.srv)
	speaker.pad = strings.Repeat("x", piece)
	for range f.size / piece {
		if f.kind == "WS" {
			speaker.say(t, "fill")
		} else if err := f.srv.Emit(t.Context(), realtime.RenEvent{Resource: "fill", Type: "fill.piece", Data: []byte(`{"pad":"` + speaker.pad + `"}`)}); err != nil {
			t.Fatal(err)
		}
	}
}

func heartbeat() time.Duration { return size(3*time.Second, 9*time.Second) }

// stalling returns clients that also follow what fill publishes. They give up after a
// silence of quiet, since a connection that the kernel has given up ends without a sign,
// and come back when the valve is open: so all are ended at some time.
func stalling(t testing.TB, kind, addr string, n int, v *valve, quiet time.Duration) []*client {
	t.Helper()
	clients, network := make([]*client, n), v.client()
	back := func(int, time.Duration) time.Duration {
		v.pass()
		return rand.N(20 * time.Millisecond)
	}
	for i := range clients {
		c := &client{kind: kind, base: "http://" + addr, channels: []string{"room"}, http: network, wait: back, quiet: quiet}
		if kind == "WS" {
			c.channels = append(c.channels, "fill")
		} else {
			c.domains = "realtime,fill"
		}
		clients[i] = c.start(t)
	}
	allOpen(t, clients)
	return clients
}

func allOpen(t testing.TB, clients []*client) {
	t.Helper()
	for i, c := range clients {
		eventually(t, fmt.Sprintf("client %d is greeted", i), c.open.Load)
	}
}

// Promise 4: half of the readers stall. Neither the other half nor the publisher notices.
// The memory that stalled readers take does not grow with the events that wait for them.
// They are ended, and resume.
func TestSlowReaders(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { testSlowReaders(t, kind) })
	}
}

func testSlowReaders(t *testing.T, kind string) {
	half, stall, quiet := size(50, 500), size(slow(4*time.Second), 10*time.Second), slow(heartbeat()*5/2)
	srv := serve(t, &realtime.Options{WriteTimeout: stall, Heartbeat: heartbeat()})
	lat := &latencies{}
	healthy := reading(t, kind, srv, half, lat.add)
	var v valve
	stalled := stalling(t, kind, srv.addr, half, &v, quiet)
	t.Cleanup(v.open) // before the clients are stopped
	speaker := newSpeaker(srv)
	talk(t, speaker, 10) // warms up
	complete(t, speaker, healthy)

	machine := watchMachine(t)
	notes := size(60, 240)
	lat.take()
	talk(t, speaker, notes)
	complete(t, speaker, healthy)
	baseline := lat.take()

	v.close()
	heap := heapInUse()
	backlog := fill{kind, srv, 2 << 20}
	backlog.publish(t)
	lat.take()
	worst := talk(t, speaker, notes)
	complete(t, speaker, healthy)
	beside := lat.take()
	growth := int64(heapInUse()) - int64(heap)
	kernel := kernelMemory(t, srv.addr)
	within(t, patience+quiet, "the stalled ones are ended", func() bool { return srv.streams() == half })

	v.open()
	allOpen(t, stalled)
	speaker.say(t, "room")
	caughtUp(t, stalled, speaker.said["room"])
	sum, err := total(slices.Concat(healthy, stalled))
	ended := reopenings(healthy)
	figure(t, "4 slow readers, "+kind, "%d of %d stalled, lagging by %d KiB: p99 of the others %v, was %v (ratio %.2f); publish ≤ %v; heap %+d KiB; kernel %d KiB a stalled reader; %d others ended; %d resumed, %d gaps, %d resets",
		half, 2*half, backlog.size>>10, p99(beside), p99(baseline), float64(p99(beside))/float64(p99(baseline)), worst, growth>>10,
		kernel/int64(half)>>10, ended, sum.resumed, sum.gaps, sum.resets)
	stood := machine()
	if err != nil {
		t.Error(err)
	}
	// A process that gets no time of the processor answers no ping in time. That is not
	// an error.
	if ended > 0 && stood < time.Second {
		t.Errorf("%d others ended, while the machine never stood still for longer than %v", ended, stood)
	}
	if worst > slow(2*time.Second) {
		t.Errorf("a publish took %v", worst)
	}
	// The history holds the backlog once, and its encoding.
	if limit := int64(8*backlog.size + half*(64<<10)); growth > limit {
		t.Errorf("the heap grew by %d KiB, more than %d", growth>>10, limit>>10)
	}
	if first := stalled[0].counts; first.resumed == 0 {
		t.Error("the first stalled client did not resume")
	}
}

// reading starts n clients that read all of the room.
func reading(t *testing.T, kind string, srv *server, n int, onNote func(note)) []*client {
	t.Helper()
	list := make([]*client, n)
	for i := range list {
		list[i] = (&client{kind: kind, base: "http://" + srv.addr, channels: []string{"room"}, onNote: onNote}).start(t)
	}
	allOpen(t, list)
	return list
}

// caughtUp waits until all clients have the notes of the room up to n.
func caughtUp(t *testing.T, clients []*client, n int) {
	t.Helper()
	for _, c := range clients {
		eventually(t, "a stalled client has all", func() bool { return c.at("room", n) })
	}
}

// reopenings counts the connections that came after the first one of each client.
func reopenings(clients []*client) (n int64) {
	for _, opened := range openings(clients) {
		n += opened - 1
	}
	return n
}

// watchMachine returns a function that tells for how long this process did not get
// a turn, at worst, until then.
func watchMachine(t testing.TB) (worst func() time.Duration) {
	stop, most := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		const every = 50 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		longest, last := time.Duration(0), time.Now()
		for {
			select {
			case <-tick.C:
				longest, last = max(longest, time.Since(last)-every), time.Now()
			case <-stop:
				most <- longest
				return
			}
		}
	}()
	stopped := sync.OnceValue(func() time.Duration { close(stop); return <-most })
	t.Cleanup(func() { stopped() })
	return stopped
}

// talk says n notes at 30 a second, and returns how long the slowest took.
func talk(t testing.TB, p *speaker, n int) (worst time.Duration) {
	t.Helper()
	tick := time.NewTicker(time.Second / 30)
	defer tick.Stop()
	for range n {
		<-tick.C
		began := time.Now()
		p.say(t, "room")
		worst = max(worst, time.Since(began))
	}
	return worst
}

// It measures the kernel's memory for a stalled reader until the reader is ended, with
// and without ConnContext. Without it, only the server ends the reader. A stream that has
// left net/http has it in any case.
func TestKernelMemory(t *testing.T) {
	const readers = 10
	for _, kind := range kinds {
		var of [2]int64
		for i, tuned := range []bool{true, false} {
			srv := newServer(t, &realtime.Options{WriteTimeout: slow(4 * time.Second), Heartbeat: heartbeat(), Hijack: realtime.HijackNever})
			if !tuned {
				srv.http.ConnContext = nil
			}
			srv.listen(t, "127.0.0.1:0")
			var v valve
			quiet := slow(heartbeat() * 5 / 2)
			stalling(t, kind, srv.addr, readers, &v, quiet)
			t.Cleanup(v.open)
			v.close()
			fill{kind, srv, 8 << 20}.publish(t)
			most := int64(0) // until they are ended, as nobody knows when the kernel is full
			within(t, patience+quiet, "the stalled ones are ended", func() bool {
				time.Sleep(100 * time.Millisecond)
				most = max(most, kernelMemory(t, srv.addr))
				return srv.streams() == 0
			})
			of[i] = most / readers
		}
		figure(t, "4 kernel memory, "+kind, "%d KiB a stalled reader with ConnContext, %d KiB without", of[0]>>10, of[1]>>10)
		// A WebSocket's connection is the library's in any case.
		if kind == "SSE" && of[0] > of[1]/2 || kind == "WS" && of[1] > 2*of[0] {
			t.Errorf("%s: %d bytes with ConnContext, %d without", kind, of[0], of[1])
		}
	}
}

var skmem = regexp.MustCompile(`skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)`)

// kernelMemory returns what the connections of a server hold in the kernel, in
// bytes.
func kernelMemory(t testing.TB, addr string) (sum int64) {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command(program(t, "ss"), "-tnmH", "sport", "=", ":"+port).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range skmem.FindAllSubmatch(out, -1) {
		for _, field := range m[1:] {
			n, _ := strconv.ParseInt(string(field), 10, 64) // digits
			sum += n
		}
	}
	return sum
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// latencies are how long notes took from their publisher to a client.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(n note) { l.took(time.Duration(time.Now().UnixNano() - n.At)) }

func (l *latencies) took(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

func (l *latencies) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	slices.Sort(all)
	return all
}

func p99(sorted []time.Duration) time.Duration { return quantile(sorted, 0.99) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Microsecond)
}
