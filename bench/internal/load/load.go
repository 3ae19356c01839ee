// Package load is the client half of the benchmark: thousands of subscribers in
// one thread, on raw sockets and one epoll. It knows just enough HTTP and
// WebSocket to connect; after that it only looks for target.Magic in what
// arrives, counts, and reads the time stamps. Linux only.
package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime/bench/internal/target"
	"github.com/maravilla-realtime/realtime/bench/internal/wire"
)

const (
	stDial = iota
	stHead
	stOpen
	stDead
)

const markLen = len(target.Magic) + 16

type conn struct {
	fd      int
	state   uint8
	tailLen uint8
	tail    [markLen]byte
	last    uint64
	count   uint64
	head    []byte
	req     []byte
	channel string
	chunk   chunks
}

// chunks takes the HTTP chunk framing out of a stream: a chunk may end in the
// middle of a mark.
type chunks struct {
	on   bool
	left int // of the chunk's data
	skip int // the line end after it
	size int // read so far of the next chunk's size
}

// strip moves the data in b together and returns it.
func (c *chunks) strip(b []byte) []byte {
	out := b[:0]
	for len(b) > 0 {
		switch {
		case c.left > 0:
			n := min(c.left, len(b))
			out = append(out, b[:n]...)
			b, c.left = b[n:], c.left-n
			if c.left == 0 {
				c.skip = 2
			}
		case c.skip > 0:
			b, c.skip = b[1:], c.skip-1
		default:
			switch d := b[0]; {
			case d == '\n':
				c.left, c.size = c.size, 0
			case d >= '0' && d <= '9':
				c.size = c.size<<4 | int(d-'0')
			case d >= 'a' && d <= 'f':
				c.size = c.size<<4 | int(d-'a'+10)
			}
			b = b[1:]
		}
	}
	return out
}

// Client holds the subscribers.
type Client struct {
	spec  target.Spec
	to    syscall.SockaddrInet4
	epfd  int
	conns []*conn
	byFD  map[int]*conn
	open  int
	dead  int
	err   error

	ctlFD    int
	ctlBuf   []byte
	ctlLines []string

	evs [1024]syscall.EpollEvent
	buf [32 + 256<<10]byte

	// Count is the number of messages received, Disorder that of messages
	// older than the one before on the same connection.
	Count, Disorder uint64

	// Reads is how often something was read, whatever it was.
	Reads int
}

// New connects to the target's control socket.
func New(spec target.Spec) (*Client, error) {
	epfd, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	c := &Client{spec: spec, epfd: epfd, byFD: map[int]*conn{}}
	if c.to, err = sockaddr(spec.Addr); err != nil {
		return nil, err
	}
	to, err := sockaddr(spec.Ctl)
	if err != nil {
		return nil, err
	}
	c.ctlFD, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(c.ctlFD, &to); err != nil {
		return nil, err
	}
	syscall.SetsockoptInt(c.ctlFD, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	syscall.SetNonblock(c.ctlFD, true)
	return c, c.watch(c.ctlFD, syscall.EPOLLIN)
}

func sockaddr(s string) (sa syscall.SockaddrInet4, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return sa, err
	}
	copy(sa.Addr[:], net.ParseIP(host).To4())
	sa.Port, err = strconv.Atoi(port)
	return sa, err
}

func (c *Client) watch(fd int, ev uint32) error {
	return syscall.EpollCtl(c.epfd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: ev, Fd: int32(fd)})
}

// Connect opens n subscribers, at most par of them at a time under way, on the
// channels that channel names, and waits until each has its response head.
func (c *Client) Connect(n, par int, channel func(i int) string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	want := c.open + n
	started := 0
	for c.open < want {
		for started < n && started-(c.open-(want-n)) < par {
			if err := c.dial(channel(started)); err != nil {
				return err
			}
			started++
		}
		if err := c.poll(time.Second); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("connect: %d of %d open after %v", c.open-(want-n), n, timeout)
		}
	}
	return nil
}

func (c *Client) dial(channel string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	// A few source addresses, so that ports held in TIME_WAIT never run out.
	src := syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + len(c.conns)%16)}}
	syscall.SetsockoptInt(fd, syscall.SOL_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, 1)
	if err := syscall.Bind(fd, &src); err != nil {
		return err
	}
	if err := syscall.Connect(fd, &c.to); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	path := strings.ReplaceAll(c.spec.Path, "{ch}", channel)
	req := "GET " + path + " HTTP/1.1\r\nHost: " + c.spec.Addr + "\r\nOrigin: http://" + c.spec.Addr + "\r\n"
	if c.spec.Proto == "ws" {
		req += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	} else {
		req += "Accept: text/event-stream\r\n\r\n"
	}
	k := &conn{fd: fd, req: []byte(req), channel: channel}
	c.conns = append(c.conns, k)
	c.byFD[fd] = k
	return c.watch(fd, syscall.EPOLLOUT)
}

// poll waits once for events and handles them.
func (c *Client) poll(wait time.Duration) error {
	n, err := syscall.EpollWait(c.epfd, c.evs[:], int(wait.Milliseconds()))
	if err != nil && !errors.Is(err, syscall.EINTR) {
		return err
	}
	for i := range max(n, 0) {
		fd := int(c.evs[i].Fd)
		if fd == c.ctlFD {
			c.readCtl()
			continue
		}
		k := c.byFD[fd]
		if k == nil {
			continue
		}
		if k.state == stDial {
			if _, err := syscall.Write(fd, k.req); err != nil {
				return fmt.Errorf("request: %w", err)
			}
			k.req, k.state = nil, stHead
			ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
			if err := syscall.EpollCtl(c.epfd, syscall.EPOLL_CTL_MOD, fd, &ev); err != nil {
				return err
			}
			continue
		}
		if err := c.read(k); err != nil {
			return err
		}
	}
	return c.err
}

func (c *Client) read(k *conn) error {
	t := int(k.tailLen)
	off := 32 - t
	copy(c.buf[off:32], k.tail[:t])
	n, err := syscall.Read(k.fd, c.buf[32:])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return nil
	}
	if n <= 0 || err != nil {
		if k.state == stOpen {
			c.open--
		}
		c.dead++
		k.state = stDead
		delete(c.byFD, k.fd)
		syscall.Close(k.fd)
		if k.head != nil {
			return fmt.Errorf("closed by server: %q", k.head)
		}
		return nil
	}
	c.Reads++
	if c.spec.Proto == "ws" && k.state == stOpen {
		if err := answerPings(k.fd, c.buf[32:32+n]); err != nil {
			return err
		}
	}
	b := c.buf[off : 32+n]
	if k.chunk.on {
		b = c.buf[off : 32+len(k.chunk.strip(c.buf[32:32+n]))]
	}
	if k.state == stHead {
		k.head = append(k.head, b...)
		i := bytes.Index(k.head, []byte("\r\n\r\n"))
		if i < 0 {
			return nil
		}
		if !bytes.HasPrefix(k.head, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(k.head, []byte("HTTP/1.1 101")) {
			return fmt.Errorf("refused: %q", k.head)
		}
		b = k.head[i+4:]
		if bytes.Contains(k.head[:i], []byte("Transfer-Encoding: chunked")) {
			k.chunk.on = true
			b = k.chunk.strip(b)
		}
		k.head, k.state = nil, stOpen
		c.open++
		for _, h := range c.spec.Hello {
			if _, err := syscall.Write(k.fd, wire.AppendMaskedText(nil, []byte(strings.ReplaceAll(h, "{ch}", k.channel)))); err != nil {
				return fmt.Errorf("hello: %w", err)
			}
		}
	}
	c.scan(k, b)
	return nil
}

// answerPings sends a pong for each ping in b. What is read may begin within a frame: a
// ping is looked for at its beginning, and after whole messages there, as servers that are
// idle send it.
func answerPings(fd int, b []byte) error {
	const fin, text, ping, pong, long, longer = 0x80, 1, 9, 10, 126, 127
	for len(b) >= 2 && (b[0] == fin|text || b[0] == fin|ping) {
		at, size := 2, int(b[1])
		if size == long && len(b) >= 4 {
			at, size = 4, int(binary.BigEndian.Uint16(b[2:]))
		}
		if b[1] >= longer || len(b) < at+size {
			return nil
		}
		if b[0] == fin|ping {
			answer := wire.AppendMaskedText(nil, b[at:at+size])
			answer[0] = fin | pong
			if _, err := syscall.Write(fd, answer); err != nil {
				return fmt.Errorf("pong: %w", err)
			}
		}
		b = b[at+size:]
	}
	return nil
}

var magic = []byte(target.Magic)

func (c *Client) scan(k *conn, b []byte) {
	k.tailLen = 0
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			// The start of a mark may be the end of what came.
			for j := max(0, len(b)-len(magic)+1); j < len(b); j++ {
				if bytes.HasPrefix(magic, b[j:]) {
					k.tailLen = uint8(copy(k.tail[:], b[j:]))
					return
				}
			}
			return
		}
		if len(b)-i < markLen {
			k.tailLen = uint8(copy(k.tail[:], b[i:]))
			return
		}
		ts := unhex(b[i+len(magic) : i+markLen])
		b = b[i+markLen:]
		if ts < k.last {
			c.Disorder++
		}
		k.last = ts
		k.count++
		c.Count++
	}
}

func unhex(b []byte) (v uint64) {
	for _, d := range b {
		if d >= 'a' {
			d -= 'a' - 10
		} else {
			d -= '0'
		}
		v = v<<4 | uint64(d)
	}
	return v
}

func (c *Client) readCtl() {
	var b [64 << 10]byte
	n, err := syscall.Read(c.ctlFD, b[:])
	if errors.Is(err, syscall.EAGAIN) {
		return
	}
	if n <= 0 || err != nil {
		c.err = errors.New("control connection lost: the target died")
		return
	}
	c.ctlBuf = append(c.ctlBuf, b[:n]...)
	for {
		i := bytes.IndexByte(c.ctlBuf, '\n')
		if i < 0 {
			return
		}
		c.ctlLines = append(c.ctlLines, string(c.ctlBuf[:i]))
		c.ctlBuf = c.ctlBuf[i+1:]
	}
}

// Send gives the target a command without waiting for the reply.
func (c *Client) Send(format string, args ...any) error {
	_, err := fmt.Fprintf(fdWriter(c.ctlFD), format+"\n", args...)
	return err
}

type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) { return syscall.Write(int(w), p) }

// Reply waits for the reply to the oldest command, serving subscribers meanwhile.
func (c *Client) Reply(timeout time.Duration) (string, error) {
	deadline := time.Now().Add(timeout)
	for len(c.ctlLines) == 0 {
		if err := c.poll(time.Until(deadline)); err != nil {
			return "", err
		}
		if time.Now().After(deadline) {
			return "", errors.New("control: no reply")
		}
	}
	s := c.ctlLines[0]
	c.ctlLines = c.ctlLines[1:]
	if strings.HasPrefix(s, "err") {
		return s, errors.New("control: " + s)
	}
	return s, nil
}

// Do sends a command and waits for its reply.
func (c *Client) Do(timeout time.Duration, format string, args ...any) (string, error) {
	if err := c.Send(format, args...); err != nil {
		return "", err
	}
	return c.Reply(timeout)
}

// Until serves subscribers until Count reaches n; false when quiet (no message
// for that long) came first.
//
// It looks at the sockets every nap and never sleeps on them: a sleeping reader
// would have to be woken by the very system call of the target that is being
// measured, a cost no remote reader causes. A nap of zero sleeps on them
// nonetheless, for the sake of latency.
func (c *Client) Until(n uint64, quiet, nap time.Duration) (bool, error) {
	heard := time.Now()
	for c.Count < n {
		before := c.Count
		wait := time.Duration(0)
		if nap == 0 {
			wait = quiet
		}
		if err := c.poll(wait); err != nil {
			return false, err
		}
		if c.Count != before {
			heard = time.Now()
			continue
		}
		if time.Since(heard) > quiet {
			return false, nil
		}
		if nap > 0 {
			ts := syscall.NsecToTimespec(int64(nap))
			syscall.Nanosleep(&ts, nil)
		}
	}
	return true, nil
}

// Pump serves subscribers for d.
func (c *Client) Pump(d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		if err := c.poll(left + time.Millisecond); err != nil {
			return err
		}
	}
}

// Warm publishes to channel until every subscriber has had a message, so that
// all are known to be subscribed.
func (c *Client) Warm(cmd string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		if _, err := c.Do(timeout, "%s", cmd); err != nil {
			return err
		}
		if err := c.Pump(300 * time.Millisecond); err != nil {
			return err
		}
		cold := 0
		for _, k := range c.conns {
			if k.state == stOpen && k.count == 0 {
				cold++
			}
		}
		if cold == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("warm: %d of %d subscribers got nothing", cold, c.open)
		}
	}
	c.Reset()
	return nil
}

// PingAll sends a WebSocket ping on every connection, so that the target's read
// side has been used once.
func (c *Client) PingAll() {
	if c.spec.Proto != "ws" {
		return
	}
	for _, k := range c.conns {
		if k.state == stOpen {
			syscall.Write(k.fd, []byte{0x89, 0x80, 0, 0, 0, 0})
		}
	}
}

// Reset zeroes the counters.
func (c *Client) Reset() {
	c.Count, c.Disorder = 0, 0
}

// Open and Dead count subscribers.
func (c *Client) Open() int { return c.open }
func (c *Client) Dead() int { return c.dead }

// CloseAll closes every subscriber with a reset, so that no port lingers.
func (c *Client) CloseAll() {
	for _, k := range c.conns {
		if k.state != stDead {
			syscall.SetsockoptLinger(k.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
			syscall.Close(k.fd)
		}
	}
	c.conns, c.byFD, c.open = nil, map[int]*conn{}, 0
}

// Close ends the client.
func (c *Client) Close() {
	c.CloseAll()
	syscall.Close(c.ctlFD)
	syscall.Close(c.epfd)
}
