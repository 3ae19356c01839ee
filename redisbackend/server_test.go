package redisbackend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/redisbackend"
	"github.com/redis/rueidis"
)

// installed returns the kinds that are installed. Without one the test is skipped, or
// fails where REALTIME_REQUIRE_REDIS is set.
func installed(t testing.TB) []enginetest.Redis {
	t.Helper()
	kinds, err := enginetest.FindRedis()
	if errors.Is(err, enginetest.ErrNoRedis) && os.Getenv("REALTIME_REQUIRE_REDIS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// onEach tests with each kind of server that is installed.
func onEach(t *testing.T, test func(t *testing.T, k enginetest.Redis)) {
	for _, k := range installed(t) {
		t.Run(k.Name, func(t *testing.T) { test(t, k) })
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// server is a Redis in a directory of its own.
type server struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// startServer starts a server on a free port; the test stops it.
func startServer(t testing.TB, k enginetest.Redis, args ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{t: t, addr: fmt.Sprint("127.0.0.1:", port), dir: t.TempDir()}
	s.args = append([]string{
		k.Server, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--protected-mode", "no",
	}, args...)
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.out.Reset()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true})
		if err == nil {
			err = c.Do(ctx, c.B().Ping().Build()).Error()
			c.Close()
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("the server does not answer: %v\n%s", err, s.out.String())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (s *server) kill() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// waitForReplica waits until a replica is linked to its master, and a sentinel has
// seen so.
func waitForReplica(t *testing.T, addr string) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		info, err := c.Do(t.Context(), c.B().Info().Section("replication").Build()).ToString()
		if err == nil && strings.Contains(info, "master_link_status:up") {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("the replica is not linked: %v\n%s", err, info)
		}
	}
}

var prefixes atomic.Int64

// open returns a backend with keys of its own.
func open(t testing.TB, addr string, change func(*redisbackend.Options)) *redisbackend.Backend {
	t.Helper()
	o := redisbackend.Options{
		Client: rueidis.ClientOption{InitAddress: strings.Split(addr, ",")}, Prefix: fmt.Sprint("test", prefixes.Add(1)), Events: 1000,
	}
	if change != nil {
		change(&o)
	}
	b, err := redisbackend.New(t.Context(), o)
	for began := time.Now(); err != nil; b, err = redisbackend.New(t.Context(), o) {
		if time.Since(began) > time.Minute { // a sentinel that starts does not know its master yet
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}
