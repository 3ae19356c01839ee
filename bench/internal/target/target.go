// Package target is the server's half of the benchmark. A target gives a handler that
// subscribes a connection to a channel, and a function that publishes. [Main] serves the
// handler, and obeys the runner on a control socket: a line of text in, a line out, "ok"
// or a JSON object.
//
//	pub N SIZE CHANNEL    publish N messages as fast as possible
//	rr N SIZE K           publish N messages, in turn to c0 … c(K-1)
//	prep K                create the channels c0 … c(K-1), where a target needs that
//	stats                 what Go's runtime counts
//	gc                    the same, after memory was given back
package target

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Magic begins the time stamp in every payload. The client looks for it and for nothing
// else, so it need not know how messages are framed.
const Magic = "@@T"

const minSize = 40

// Payload makes a JSON object of size bytes that carries the current time, as 16
// hexadecimal digits. It does little, since the CPU that it takes is measured as well.
func Payload(size int) []byte {
	const head, mid, tail = `{"m":"` + Magic, `","p":"`, `"}`
	size = max(size, minSize)
	b := make([]byte, size)
	var now [8]byte
	binary.BigEndian.PutUint64(now[:], uint64(time.Now().UnixNano()))
	n := copy(b, head)
	n += hex.Encode(b[n:], now[:])
	n += copy(b[n:], mid)
	for end := size - len(tail); n < end; {
		n += copy(b[n:end], filler)
	}
	copy(b[n:], tail)
	return b
}

var filler = strings.Repeat("x", 128)

// Spec tells the client how to subscribe. {ch} stands for the channel.
type Spec struct {
	Proto string   `json:"proto"` // "sse" or "ws"
	Path  string   `json:"path"`
	Hello []string `json:"hello,omitempty"` // the first messages on a WebSocket

	// EngineIO tells it that messages have the types of Engine.IO 4. It says hello after
	// the server has opened the session, and answers pings of that protocol, too.
	EngineIO bool `json:"engineIO,omitempty"`

	Addr string `json:"addr"`
	Ctl  string `json:"ctl"`
}

// Target is one server.
type Target struct {
	Spec
	Handler      http.Handler
	ConnContext  func(context.Context, net.Conn) context.Context // of the http.Server
	Publish      func(channel string, data []byte)
	PublishBatch func(channel string, data [][]byte) // in place of Publish, if it is set
	Prepare      func(channels int)
}

// Main serves t until the process is killed.
func Main(t Target) {
	ln, ctl := listen(), listen()
	srv := &http.Server{Handler: t.Handler, ConnContext: t.ConnContext}
	go func() { log.Fatal(srv.Serve(ln)) }()
	t.Addr, t.Ctl = ln.Addr().String(), ctl.Addr().String()
	line, err := json.Marshal(t.Spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	for {
		c, err := ctl.Accept()
		if err != nil {
			log.Fatal(err)
		}
		t.control(c)
	}
}

func listen() net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

func (t *Target) control(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := fmt.Fprintln(c, t.obey(strings.Fields(line))); err != nil {
			return
		}
	}
}

func (t *Target) obey(f []string) string {
	num := func(i int) int {
		n, _ := strconv.Atoi(append(f, "", "", "", "")[i]) // 0 where there is none
		return n
	}
	switch append(f, "")[0] {
	case "pub":
		t.publish(num(1), num(2), f[3])
	case "rr":
		for i := range num(1) {
			t.Publish("c"+strconv.Itoa(i%num(3)), Payload(num(2)))
		}
	case "prep":
		if t.Prepare != nil {
			t.Prepare(num(1))
		}
	case "gc":
		runtime.GC()
		runtime.GC()
		debug.FreeOSMemory()
		return stats()
	case "stats":
		return stats()
	default:
		return "err unknown command"
	}
	return "ok"
}

func (t *Target) publish(n, size int, channel string) {
	if t.PublishBatch == nil {
		for range n {
			t.Publish(channel, Payload(size))
		}
		return
	}
	batch := make([][]byte, n)
	for i := range batch {
		batch[i] = Payload(size)
	}
	t.PublishBatch(channel, batch)
}

// Stats answers "stats" and "gc". All of it is zero if the target is not a Go program.
type Stats struct {
	Mallocs    uint64
	Goroutines int
}

func stats() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, _ := json.Marshal(Stats{m.Mallocs, runtime.NumGoroutine()}) // numbers
	return string(b)
}
