// Package load is the client half of the benchmark: thousands of subscribers in
// one thread, on raw sockets and one epoll. It knows just enough HTTP and
// WebSocket to connect; after that it only looks for target.Magic in what
// arrives, counts, and reads the time stamps. Linux only.
package load

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

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
