package shard

import (
	"net"
	"sync"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// pipe makes a link of any connection.
type pipe struct {
	conn  net.Conn
	to    poll.Listener
	start func(func())

	mu    sync.Mutex
	state pipeState
	n     int // that the last write took
	err   error
}

type pipeState int

const (
	idle    pipeState = iota
	writing           // a goroutine does
	written           // and has
)

func (p *Pool) pipe(c net.Conn, to poll.Listener) *pipe {
	return &pipe{conn: c, to: to, start: p.start}
}

// Write implements [Link].
func (l *pipe) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case idle:
		l.state = writing
		l.start(func() { l.write(p) })
		return 0, nil
	case writing:
		return 0, nil
	default:
		l.state = idle
		return l.n, l.err
	}
}

// write is the goroutine that writes.
func (l *pipe) write(p []byte) {
	n, err := l.conn.Write(p)
	l.mu.Lock()
	l.state, l.n, l.err = written, n, err
	l.mu.Unlock()
	l.to.Ready(poll.Writable)
}

// Close implements [Link]. [crypto/tls.Conn.Close] says goodbye, and waits for up to 5 s
// where the peer takes nothing; except while something is being written, which it ends.
func (l *pipe) Close() {
	l.mu.Lock()
	busy := l.state == writing
	l.mu.Unlock()
	if busy {
		l.conn.Close()
	} else {
		l.start(func() { l.conn.Close() })
	}
}

// mostUnwanted is how many bytes are read that nobody wants. Then the end of the peer is
// noticed by what is written, and it does not cost more than that.
const mostUnwanted = 64 << 10

// listen is the goroutine that waits for the end of the peer.
func (l *pipe) listen() {
	var buf [512]byte
	for left := mostUnwanted; left > 0; {
		n, err := l.conn.Read(buf[:])
		if err != nil {
			l.to.Ready(poll.Gone)
			return
		}
		left -= n
	}
}
