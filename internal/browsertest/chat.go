package browsertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildChat builds the chat example, once for the test binary.
var buildChat = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "browsertest")
	if err != nil {
		return "", err
	}
	cleanup(func() error { return os.RemoveAll(dir) })
	path := filepath.Join(dir, "chat")
	build := exec.Command("go", "build", "-o", path, "github.com/maravilla-realtime/realtime/examples/chat")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// Chat is a running chat example.
type Chat struct {
	URL  string // ends with a slash
	Addr string // host:port

	t      testing.TB
	cmd    *exec.Cmd
	log    bytes.Buffer // of stderr; read it when the process has ended
	ended  chan struct{}
	result error
}

// StartChat starts the real binary on a free port. It ends with the test, and
// has to end well.
func StartChat(t testing.TB) *Chat {
	t.Helper()
	path, err := buildChat()
	if err != nil {
		t.Fatalf("build the chat: %v", err)
	}
	c := &Chat{t: t, cmd: exec.Command(path, "-addr", "127.0.0.1:0"), ended: make(chan struct{})}
	c.cmd.Stderr = &c.log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		c.result = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(c.Stop)
	if err != nil {
		t.Fatalf("the chat said nothing: %v", err)
	}
	_, c.URL, _ = strings.Cut(strings.TrimSpace(line), ": ")
	at, err := url.Parse(c.URL)
	if err != nil || at.Port() == "" || at.Port() == "0" {
		t.Fatalf("the chat said %q", line)
	}
	c.Addr = at.Host
	return c
}

// Stop ends the server as an operator does, and fails the test if it does not go
// in time and in order.
func (c *Chat) Stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended already
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.ended
		c.t.Error("the chat did not end in 10 s")
	}
	if log := c.log.String(); c.result != nil || strings.Contains(log, "panic") {
		c.t.Errorf("the chat ended with %v: %s", c.result, log)
	}
}

// Say has the server publish a message.
func (c *Chat) Say(room, text string) {
	c.t.Helper()
	c.post("api/say", map[string]string{"room": room, "user": "robot", "name": "Robot", "text": text})
}

func (c *Chat) post(path string, body any) {
	c.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := http.Post(c.URL+path, "application/json", bytes.NewReader(data))
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		c.t.Fatalf("POST %s: %s", path, answer.Status)
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
