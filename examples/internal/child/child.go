// Package child runs a part of an example in a process of its own: the same program once
// more, told by its environment which part it is. It says where it serves, as
// [github.com/maravilla-realtime/realtime/examples/internal/web.Serve] does, and ends when
// its standard input does, which is when the program that has started it ends in
// whichever way.
package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

// nameEnv tells such a process its name.
const nameEnv = "REALTIME_EXAMPLE_PROCESS"

// Name is the name of this process; "" if [Start] has not started it.
func Name() string { return os.Getenv(nameEnv) }

// StopTime is how long whatever is asked to end may take.
const StopTime = 15 * time.Second

// Process is one that runs, or has run.
type Process struct {
	Name  string
	URL   *url.URL      // where it serves
	Ended chan struct{} // closed when it has ended

	cmd   *exec.Cmd
	stdin io.Closer
}

// Start starts this program under a name, with an addition to its environment, and returns
// when it serves. If ctx ends before, so does the process.
func Start(ctx context.Context, name string, env ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{Name: name, cmd: exec.Command(self), Ended: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), nameEnv+"="+name), env...)
	p.cmd.Stderr = os.Stderr
	stdin, inErr := p.cmd.StdinPipe()
	stdout, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, p.cmd.Start()); err != nil {
		return nil, err
	}
	p.stdin = stdin
	starts := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n') // it says where it serves, or ends
	go func() {
		_ = p.cmd.Wait() // how it ended is known, or in its log
		close(p.Ended)
	}()
	if !starts() {
		err = context.Cause(ctx)
	}
	if err == nil {
		_, at, _ := strings.Cut(strings.TrimSpace(line), ": ")
		p.URL, err = url.Parse(at)
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("node %s does not start: %w", name, err)
	}
	return p, nil
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends it a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends it as kill -9 does, also where it is paused.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails where it has ended already
	<-p.Ended
}

// Stop asks it to end, and returns when it has.
func (p *Process) Stop() {
	_ = p.stdin.Close()
	select {
	case <-p.Ended:
	case <-time.After(StopTime):
		p.Kill()
	}
}

// Main is the main function of such a process: it has run serve until the program that
// has started it asks it to end, or is gone.
func Main(serve func(ctx context.Context, name string) error) {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the program that has started this one
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := serve(ctx, Name()); err != nil {
		fmt.Fprintf(os.Stderr, "node %s: %v\n", Name(), err)
		os.Exit(1)
	}
}
