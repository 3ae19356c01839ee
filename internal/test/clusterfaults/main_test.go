package clusterfaults

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/figures"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

var (
	full = flag.Bool("full", false, "print the figures of docs/reliability.md instead of a short form")
	seed = flag.Uint64("seed", 1, "of the faults; -full takes the ones after it as well")
)

// size returns how large a test is to be.
func size[T any](short, long T) T {
	if *full {
		return long
	}
	return short
}

// side lets a test run beside others in the short form. In the full one it would
// compute at their expense.
func side(t *testing.T) {
	if !*full {
		t.Parallel()
	}
}

// patience is how long tests wait for what has to come, at the machine's pace.
const patience = time.Minute

// figure reports what a promise, with its number, was measured at.
func figure(t testing.TB, promise, format string, args ...any) {
	t.Helper()
	figures.Add(t, fmt.Sprintf("%-30s %s: %s", promise, t.Name(), fmt.Sprintf(format, args...)))
}

// The roles of a process of this program.
const (
	roleVariable   = "CLUSTERFAULTS_ROLE"
	configVariable = "CLUSTERFAULTS_CONFIG"
	roleNode       = "node"
	roleNATS       = "nats"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, os.Getenv(configVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(figures.Run(m, "What was promised of a cluster, and measured"))
}

// play runs this process as something other than tests, until its input ends, which it
// does with the process that has started it.
func play(role, config string) error {
	switch role {
	case roleNode:
		return playNode(config)
	case roleNATS:
		return playNATS(config)
	}
	return fmt.Errorf("unknown role %q", role)
}

// redisPrograms returns the programs of a Redis or Valkey. Without one the test is skipped,
// or fails where it must not be.
func redisPrograms(t testing.TB) enginetest.Redis {
	t.Helper()
	found, err := enginetest.FindRedis()
	if errors.Is(err, enginetest.ErrNoRedis) && os.Getenv("REALTIME_REQUIRE_REDIS") == "" && os.Getenv("CI") != "true" {
		figure(t, "SKIPPED", "%v", err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found[0]
}

// freePort returns a port that nobody listens on, and that no outgoing connection is
// given while a server is down: those come from 32768 on.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 15000 + rand.IntN(17000)
		if ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// within waits until the answer is yes.
func within(t testing.TB, limit time.Duration, what string, ask func() bool) {
	t.Helper()
	if !pace.Poll(limit, 10*time.Millisecond, ask) {
		t.Fatalf("not within %v at the machine's pace: %s", limit, what)
	}
}
