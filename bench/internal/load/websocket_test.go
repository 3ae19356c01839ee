package load

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

// A client that leaves pings without an answer loses its connection.
func TestPingsAreAnswered(t *testing.T) {
	ping := []byte("\x89\x011")
	message := append([]byte{text, 5}, "{...}"...)
	long := append([]byte{text, 126, 0, 200}, strings.Repeat("x", 200)...)
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
		want := strings.Repeat("\x8A\x81\x00\x00\x00\x001", c.pings)
		if got := answers(t, &Client{}, c.read); got != want {
			t.Errorf("%s: % x, want %d pongs", name, got, c.pings)
		}
	}
}

// Engine.IO has pings of its own, and takes a hello only after it has opened a session.
func TestEngineIO(t *testing.T) {
	c := &Client{spec: target.Spec{Proto: "ws", EngineIO: true, Hello: []string{"40"}}}
	message := func(s string) []byte { return append([]byte{text, byte(len(s))}, s...) }
	for read, want := range map[string]string{
		`0{"sid":"a"}`: "\x81\x82\x00\x00\x00\x0040",
		`2`:            "\x81\x81\x00\x00\x00\x003",
		`40{"sid":""}`: "",
		`42["m",{}]`:   "",
		`2probe`:       "",
		``:             "",
	} {
		if got := answers(t, c, message(read)); got != want {
			t.Errorf("%s: % x, want % x", read, got, want)
		}
	}
}

// answers returns what a client sends when it has read b.
func answers(t *testing.T, c *Client, b []byte) string {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[1])
	err = c.answer(&conn{fd: fds[0]}, b)
	syscall.Close(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	var got [64]byte
	n, err := syscall.Read(fds[1], got[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(got[:n])
}
