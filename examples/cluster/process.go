package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// stopTime is how long whatever is asked to end may take.
const stopTime = 15 * time.Second

// process is the running process of a node.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   *url.URL
	ended chan struct{} // closed when it has ended
}

// startProcess starts a node and returns when it serves.
func startProcess(name, nats string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), nodeEnv+"="+name, natsEnv+"="+nats)
	p.cmd.Stderr = os.Stderr
	stdin, inErr := p.cmd.StdinPipe()
	stdout, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, p.cmd.Start()); err != nil {
		return nil, err
	}
	p.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n') // it says where it serves, or ends
	go func() {
		_ = p.cmd.Wait() // how it ended is known, or in its log
		close(p.ended)
	}()
	if err == nil {
		_, at, _ := strings.Cut(strings.TrimSpace(line), ": ")
		p.url, err = url.Parse(at)
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("node %s does not start: %w", name, err)
	}
	return p, nil
}

// kill ends it as kill -9 does, also where it is paused.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails where it has ended already
	<-p.ended
}

// stop asks it to end.
func (p *process) stop() {
	_ = p.resume()
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		p.kill()
	}
}
