//go:build !linux

package realtime

import (
	"net"
	"time"
)

func setUserTimeout(*net.TCPConn, time.Duration) {}
