package clusterfaults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
	"github.com/nats-io/nats.go"
	"github.com/redis/rueidis"
)

// answerTime is how long a server may take for an answer, at the machine's pace, before it
// is asked again.
const answerTime = 2 * time.Second

// server is one of an engine's, with a directory of its own.
type server struct {
	*process
	addr string
	dir  string
}

// copied returns copies of the servers' directories as a kill of all would leave them at
// this moment. They are stopped meanwhile: copies of different moments are nothing that
// a cluster could have been in.
func copied(t testing.TB, servers []*server) (dirs []string) {
	t.Helper()
	for _, s := range servers {
		s.pause()
		defer s.wake()
	}
	for _, s := range servers {
		to := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(to, os.DirFS(s.dir)); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, to)
	}
	return dirs
}

// putBack gives the server, which must not run, another directory; "" is an empty one.
func (s *server) putBack(copied string) {
	s.t.Helper()
	err := os.RemoveAll(s.dir)
	if err == nil && copied == "" {
		err = os.Mkdir(s.dir, 0o700)
	} else if err == nil {
		err = os.Rename(copied, s.dir)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// playNATS runs a server of NATS.
func playNATS(config string) error {
	var o embedded.Options
	if err := json.Unmarshal([]byte(config), &o); err != nil {
		return err
	}
	s, err := embedded.Start(o)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startNATS starts one server, or a cluster of several.
func startNATS(t testing.TB, n int) []*server {
	routes := make([]string, n)
	for i := range routes {
		routes[i] = fmt.Sprint("127.0.0.1:", freePort(t))
	}
	servers := make([]*server, n)
	for i := range servers {
		s := &server{addr: fmt.Sprint("127.0.0.1:", freePort(t)), dir: filepath.Join(t.TempDir(), "nats")}
		o := embedded.Options{Name: fmt.Sprint("nats", i), Dir: s.dir, Listen: s.addr}
		if n > 1 {
			o.Cluster, o.Routes = routes[i], routes
		}
		s.process = &process{t: t, name: o.Name, make: func() *exec.Cmd { return self(t, roleNATS, o) }, ready: func() error {
			nc, err := nats.Connect("nats://"+s.addr, nats.Timeout(pace.Slow(answerTime)))
			if err == nil {
				nc.Close()
			}
			return err
		}}
		s.launch()
		t.Cleanup(s.end)
		servers[i] = s
	}
	for _, s := range servers {
		s.await()
	}
	return servers
}

// startRedis starts a Redis or Valkey that has what it answered for on disk.
func startRedis(t testing.TB, name string, args ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{addr: fmt.Sprint("127.0.0.1:", port), dir: filepath.Join(t.TempDir(), "redis")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := redisPrograms(t).Server
	args = append([]string{
		"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", s.dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--protected-mode", "no",
	}, args...)
	s.process = &process{t: t, name: name, make: func() *exec.Cmd { return exec.Command(path, args...) }, ready: func() error {
		_, err := redisInfo(s.addr, "server")
		return err
	}}
	s.start()
	t.Cleanup(s.end)
	return s
}

// redisInfo asks a server about itself.
func redisInfo(addr, section string) (string, error) { return redisDo(addr, "INFO", section) }

// redisDo sends a command to a server.
func redisDo(addr string, command ...string) (string, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, Dialer: net.Dialer{Timeout: pace.Slow(answerTime)}})
	if err != nil {
		return "", err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), pace.Slow(answerTime))
	defer cancel()
	return c.Do(ctx, c.B().Arbitrary(command...).Build()).ToString()
}

// startSentinel starts a sentinel that watches a master, once the master has its
// replica.
func startSentinel(t testing.TB, master *server, replicas ...*server) *server {
	t.Helper()
	for _, r := range replicas {
		within(t, patience, "the replica is linked", func() bool {
			info, err := redisInfo(r.addr, "replication")
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	port := freePort(t)
	s := &server{addr: fmt.Sprint("127.0.0.1:", port), dir: t.TempDir()}
	host, masterPort, err := net.SplitHostPort(master.addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nprotected-mode no\nsentinel monitor main %s %s 1\n"+
		"sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 5000\n", port, s.dir, host, masterPort)
	file := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	path := redisPrograms(t).Sentinel
	s.process = &process{t: t, name: "sentinel", make: func() *exec.Cmd { return exec.Command(path, file) }, ready: func() error {
		info, err := redisInfo(s.addr, "sentinel")
		if err == nil && !strings.Contains(info, fmt.Sprintf("slaves=%d", len(replicas))) {
			err = fmt.Errorf("the sentinel does not know the replicas yet: %s", info)
		}
		return err
	}}
	s.start()
	t.Cleanup(s.end)
	if _, err := redisDo(s.addr, enginetest.ShortTilt...); err != nil {
		t.Fatal(err)
	}
	return s
}
