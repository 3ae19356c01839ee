//go:build !386

package shard

import (
	"syscall"
	"unsafe"
)

// send is send(2) of p, which must not be empty. It does not block, even if the host has
// put the socket into blocking mode. So Go's scheduler need not know of it. Otherwise it
// would give the processor to another goroutine where the kernel takes some microseconds,
// and would wake up every 20 µs to find that out: up to a tenth of what a delivery costs.
func send(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
