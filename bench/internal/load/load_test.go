package load

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A client that leaves pings without an answer loses its connection.
func TestPingsAreAnswered(t *testing.T) {
	ping := []byte("\x89\x011")
	message := append([]byte{0x81, 5}, "{...}"...)
	long := append([]byte{0x81, 126, 0, 200}, strings.Repeat("x", 200)...)
	for name, c := range map[string]struct {
		read  []byte
		pings int
	}{
		"alone":            {ping, 1},
		"two":              {slices.Concat(ping, ping), 2},
		"after a message":  {slices.Concat(message, ping), 1},
		"after a long one": {slices.Concat(long, ping, message), 1},
		"within a message": {[]byte("...}"), 0},
		"half of it":       {ping[:2], 0},
		"half a message":   {long[:100], 0},
		"half a header":    {long[:3], 0},
	} {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := answerPings(fds[0], c.read); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		syscall.Close(fds[0])
		var got [64]byte
		n, err := syscall.Read(fds[1], got[:])
		syscall.Close(fds[1])
		const pong = 2 + 4 + 1 // bytes
		if err != nil || n != c.pings*pong || n > 0 && got[0] != 0x8A {
			t.Errorf("%s: % x %v, want %d pongs", name, got[:n], err, c.pings)
		}
	}
}
