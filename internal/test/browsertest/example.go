package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// examples are those that run here. Except for cluster, gotth and postgres, which are
// modules of their own, they are tools of this module as well.
var examples = []string{"ai", "chat", "cluster", "dashboard", "embed", "gotth", "postgres", "react", "roster", "uploads"}

// build builds them, once for the test binary.
var build = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "browsertest"); err != nil {
		return "", err
	}
	cleanup(func() error { return os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-o", dir+"/")
	for _, name := range examples {
		build.Args = append(build.Args, "github.com/maravilla-realtime/realtime/examples/"+name)
	}
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// Example is a running example.
type Example struct {
	URL  string // ends with a slash
	Addr string // host:port

	t      testing.TB
	name   string
	slower float64 // how many times longer than usual its graces are
	cmd    *exec.Cmd
	log    bytes.Buffer // of stderr; read it when the process has ended
	ended  chan struct{}
	result error
}

// Start starts the real binary of an example on a free port, with graces and
// timeouts at the machine's pace. It ends with the test, and has to end well.
func Start(t testing.TB, name string, args ...string) *Example {
	t.Helper()
	const most = 8 // beyond it, waiting for a grace takes longer than anything else
	return StartSlower(t, min(pace.Factor(), most), name, args...)
}

// patient makes graces so long that nobody leaves only because their browser is
// busy: minutes.
const patient = 100

// StartSlower is Start with graces and timeouts so many times longer than usual.
func StartSlower(t testing.TB, slower float64, name string, args ...string) *Example {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatalf("build the examples: %v", err)
	}
	e := &Example{t: t, name: name, slower: slower, ended: make(chan struct{})}
	e.cmd = exec.Command(filepath.Join(dir, name), append(args, "-addr", "127.0.0.1:0")...)
	e.cmd.Env = append(os.Environ(), fmt.Sprint("REALTIME_EXAMPLE_SLOWER=", slower))
	e.cmd.Stderr = &e.log
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		e.result = e.cmd.Wait()
		close(e.ended)
	}()
	t.Cleanup(e.Stop)
	if err != nil {
		t.Fatalf("%s said nothing: %v", name, err)
	}
	_, e.URL, _ = strings.Cut(strings.TrimSpace(line), ": ")
	at, err := url.Parse(e.URL)
	if err != nil || at.Port() == "" || at.Port() == "0" {
		t.Fatalf("%s said %q", name, line)
	}
	e.Addr = at.Host
	return e
}

// Slow returns how long the example makes a grace or a timeout that usually is d.
func (e *Example) Slow(d time.Duration) time.Duration {
	return time.Duration(float64(d) * e.slower)
}

// Stop ends the server as an operator does, and fails the test if it does not go
// in time and in order.
func (e *Example) Stop() {
	e.t.Helper()
	_ = e.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended already
	late, cancel := pace.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-e.ended:
	case <-late.Done():
		_ = e.cmd.Process.Kill()
		<-e.ended
		e.t.Errorf("%s did not end in %v at the machine's pace", e.name, patience)
	}
	if log := e.log.String(); e.result != nil || strings.Contains(log, "panic") {
		e.t.Errorf("%s ended with %v: %s", e.name, e.result, log)
	}
}

var cleanups struct {
	mu   sync.Mutex
	list []func() error
}

// cleanup has f called when all tests have ended.
func cleanup(f func() error) {
	cleanups.mu.Lock()
	defer cleanups.mu.Unlock()
	cleanups.list = append(cleanups.list, f)
}
