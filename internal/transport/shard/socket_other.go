//go:build !linux

package shard

import (
	"net"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// socket returns nil: see [poll.ErrUnsupported].
func (p *Pool) socket(net.Conn, poll.Events, poll.Listener) Link { return nil }
