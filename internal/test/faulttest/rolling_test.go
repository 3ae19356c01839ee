package faulttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
)

// process is a running chat example.
type process struct {
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
	end  func() error
}

func buildChat(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/maravilla-realtime/realtime/examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("build the chat: %v: %s", err, out)
	}
	return path
}

func startChat(t testing.TB, path string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, "-addr", "127.0.0.1:0")}
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.end = sync.OnceValue(p.cmd.Wait)
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.end() }) // where it has not ended
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the chat said nothing: %v", err)
	}
	_, address, _ := strings.Cut(strings.TrimSpace(line), ": ")
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = at.Host
	return p
}

// chatter publishes numbered notes through the chat's HTTP.
type chatter struct {
	base   string
	failed int
}

// say returns whether the note was accepted.
func (c *chatter) say(t testing.TB, n int) bool {
	t.Helper()
	body, err := json.Marshal(map[string]string{"room": "lobby", "user": "robot", "name": "Robot", "text": fmt.Sprint(n)})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Post(c.base+"/api/say", "application/json", bytes.NewReader(body))
	if err != nil {
		c.failed++
		return false
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		c.failed++
		return false
	}
	return true
}

// A rolling restart of the chat example: a new process takes the traffic, the old
// one is ended by SIGTERM. Its history ends with it, so this is what can be
// promised and is checked: whatever a process had accepted before it was told to
// end, all who were connected to it have before its goodbye; they come back to
// the next, and are told by a reset that something may be missing; and nobody
// misses anything untold.
func TestRollingRestart(t *testing.T) {
	side(t)
	const room = "room:lobby"
	restarts, n := size(2, 20), 40
	path := buildChat(t)
	current := startChat(t, path)
	balancer := faultproxy.New(t, current.addr)
	clients := make([]*client, n)
	for i := range clients {
		c := &client{kind: kinds[i%2], base: "http://" + balancer.Addr, path: "/api/maravilla", channels: []string{room}, wait: backoff}
		clients[i] = c.start(t)
	}
	allOpen(t, clients)
	robot := chatter{base: "http://" + balancer.Addr}
	accepted, missing := 0, 0
	say := func(until func() bool) {
		for !until() {
			if robot.say(t, accepted+1) {
				accepted++
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	count := func(n int) func() bool { return func() bool { n--; return n < 0 } }
	for round := range restarts {
		say(count(50))
		next := startChat(t, path)
		balancer.SetTarget(next.addr)
		before := accepted
		_ = current.cmd.Process.Signal(syscall.SIGTERM)
		say(func() bool { return reopened(clients, int64(round+2)) })
		for i, c := range clients {
			if c.byes.Load() != int64(round+1) {
				t.Errorf("client %d (%s) was told %d times, want %d", i, c.kind, c.byes.Load(), round+1)
			}
			missing += max(0, before-c.hadAtBye(room))
		}
		if err := current.end(); err != nil || strings.Contains(current.log.String(), "panic") {
			t.Errorf("the chat ended with %v: %s", err, current.log.String())
		}
		current = next
	}
	say(count(10))
	for i, c := range clients {
		eventually(t, fmt.Sprintf("client %d (%s) has the last message", i, c.kind), func() bool { return c.at(room, accepted) })
	}
	sum, err := total(clients)
	figure(t, "12 rolling restart", "%d restarts, %d clients, %d messages accepted, %d refused: %d accepted before an end and not delivered; %v",
		restarts, n, accepted, robot.failed, missing, sum)
	if err != nil || missing+sum.gaps+sum.duplicates > 0 {
		t.Errorf("%v: %v", sum, err)
	}
	if want := restarts * n; sum.resets != want {
		t.Errorf("%d resets were told, want %d", sum.resets, want)
	}
}

// reopened says whether all are open, for the nth time at least.
func reopened(clients []*client, n int64) bool {
	for _, c := range clients {
		if c.opened.Load() < n || !c.open.Load() {
			return false
		}
	}
	return true
}
