package poll

import (
	"syscall"
	"testing"
)

// fillUp writes until the kernel takes no more, and returns how much it took.
func fillUp(t testing.TB, c syscall.RawConn) (sent int) {
	t.Helper()
	var buf [64 << 10]byte
	var failed error
	err := c.Write(func(fd uintptr) bool {
		for {
			n, err := syscall.Write(int(fd), buf[:])
			if err != nil {
				failed = err
				return true
			}
			sent += n
		}
	})
	if err != nil || failed != syscall.EAGAIN {
		t.Fatal(err, failed)
	}
	return sent
}
