package redisbackend_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/redisbackend"
	"github.com/redis/rueidis"
)

// startSentinel starts a sentinel that watches a master, and fails it over by itself.
func startSentinel(t *testing.T, k enginetest.Redis, master *server) (addr string) {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	host, masterPort := "127.0.0.1", master.addr[len("127.0.0.1:"):]
	file := filepath.Join(dir, "sentinel.conf")
	conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nprotected-mode no\nsentinel monitor main %s %s 1\n"+
		"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n", port, dir, host, masterPort)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: fmt.Sprint("127.0.0.1:", port), dir: dir, args: []string{k.Sentinel, file}}
	s.start()
	t.Cleanup(s.kill)
	do(t, s.addr, enginetest.ShortTilt)
	return s.addr
}

// After a failover the log continues on the new master, in a greater epoch: what the
// old master had accepted and the new one does not have is not missed untold.
func TestSentinelFailover(t *testing.T) { onEach(t, testSentinelFailover) }

func testSentinelFailover(t *testing.T, k enginetest.Redis) {
	master := startServer(t, k)
	host, port := "127.0.0.1", master.addr[len("127.0.0.1:"):]
	replica := startServer(t, k, "--replicaof", host, port)
	sentinel := startSentinel(t, k, master)
	b := openSentinel(t, sentinel)
	before := enginetest.Append(t, b, "before")
	f := enginetest.Follow(t, b, before)
	for i := range 20 {
		enginetest.Append(t, b, fmt.Sprint("old ", i))
		f.Next(t)
	}
	waitForReplica(t, replica.addr)
	master.kill()
	after := enginetest.Append(t, b, "after")
	if after.Epoch <= before.Epoch {
		t.Errorf("after the failover the log continues at %v, before it was at %v", after, before)
	}
	lost := f.Lost(t)
	if lost.Next.Epoch != after.Epoch {
		t.Errorf("Next is %v, the first record of the new master is at %v", lost.Next, after)
	}
	if got := enginetest.Follow(t, b, backend.Position{Epoch: after.Epoch, Seq: after.Seq - 1}).Next(t); string(got.Data) != "after" {
		t.Errorf("following the new master gives %q", got.Data)
	}
}

// openSentinel opens a backend of the master that a sentinel knows, once it does.
func openSentinel(t *testing.T, sentinel string) *redisbackend.Backend {
	t.Helper()
	return open(t, sentinel, func(o *redisbackend.Options) {
		o.Client.Sentinel = rueidis.SentinelOption{MasterSet: "main"}
	})
}
