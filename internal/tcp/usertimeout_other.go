//go:build !linux

package tcp

import (
	"net"
	"time"
)

func setUserTimeout(*net.TCPConn, time.Duration) {}
