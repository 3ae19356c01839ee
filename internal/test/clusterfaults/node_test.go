package clusterfaults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// node is a process of the cluster under test.
type node struct {
	*process
	number  int
	addr    string
	proxies []*faultproxy.Proxy // between it and the engine
	users   []string            // that its host has joined

	began  time.Time
	killed time.Time // zero: it lives

	mu      sync.Mutex
	handled []handling
	missed  []time.Time
}

// handling is a call of a handler.
type handling struct {
	node        *node
	id          int
	began, done time.Time // done is zero if it did not return
}

// startNode starts a node and waits until it serves.
func startNode(t testing.TB, number int, config nodeConfig, proxies []*faultproxy.Proxy) *node {
	t.Helper()
	n := &node{number: number, proxies: proxies, began: time.Now()}
	serving := make(chan string, 1)
	n.process = &process{
		t: t, name: fmt.Sprint("node", number), make: func() *exec.Cmd { return self(t, roleNode, config) },
		heard: func(line string) {
			if addr, ok := strings.CutPrefix(line, "ready "); ok {
				serving <- addr
				return
			}
			n.hear(line)
		},
		ready: func() error {
			select {
			case n.addr = <-serving:
				return nil
			default:
				return errors.New("it does not serve yet")
			}
		},
	}
	n.start()
	t.Cleanup(n.process.end)
	return n
}

// hear records what a handler does.
func (n *node) hear(line string) {
	what, rest, _ := strings.Cut(line, " ")
	id, _ := strconv.Atoi(rest)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch what {
	case "begin":
		n.handled = append(n.handled, handling{node: n, id: id, began: time.Now()})
	case "done":
		for i := len(n.handled) - 1; i >= 0; i-- {
			if h := &n.handled[i]; h.id == id && h.done.IsZero() {
				h.done = time.Now()
				break
			}
		}
	case "missed":
		n.missed = append(n.missed, time.Now())
	}
}

// kill is kill -9.
func (n *node) kill() {
	n.mu.Lock()
	n.killed = time.Now()
	n.mu.Unlock()
	n.process.kill()
}

// hostClient calls hosts of nodes, each time over another connection.
var hostClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// errGone: the node has not answered, and perhaps done what it was asked for.
var errGone = errors.New("the node has not answered")

// call asks the host of a node to do something. An error of the answer is not one of
// call.
func (n *node) call(ctx context.Context, what string, q ask) (a answer, err error) {
	ctx, cancel := pace.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.addr+"/host/"+what, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := hostClient.Do(req)
	if err != nil {
		return a, fmt.Errorf("%w: %w", errGone, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, fmt.Errorf("%w: %w", errGone, err)
	}
	return a, nil
}

// ok is call, and reports whether there was no error at all.
func (n *node) ok(ctx context.Context, what string, q ask) bool {
	a, err := n.call(ctx, what, q)
	return err == nil && a.Error == ""
}
