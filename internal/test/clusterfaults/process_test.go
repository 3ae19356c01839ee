package clusterfaults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// process is one that tests start, kill and start again. Its methods are for one
// goroutine at a time.
type process struct {
	t     testing.TB
	name  string
	make  func() *exec.Cmd
	ready func() error // nil once it can be used
	heard func(string) // gets its lines; nil: they are logged

	cmd   *exec.Cmd
	input io.WriteCloser // its end ends a process of this program
	gone  chan struct{}  // closed when it has ended and its lines were heard
}

// start starts the process, again if it was killed, and waits until it can be used.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	p.await()
}

// launch starts the process.
func (p *process) launch() {
	p.t.Helper()
	p.cmd = p.make()
	log := p.log()
	p.cmd.Stderr = log
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, gone := p.cmd, make(chan struct{})
	p.gone = gone
	go func() {
		defer close(gone)
		for s := bufio.NewScanner(out); s.Scan(); {
			if p.heard != nil {
				p.heard(s.Text())
			} else {
				fmt.Fprintln(log, s.Text())
			}
		}
		_ = cmd.Wait() // it was killed
	}()
}

// await waits until the process can be used. One that has ended, because its port was
// not free yet, is started again.
func (p *process) await() {
	p.t.Helper()
	var err error
	if !pace.Poll(patience, 20*time.Millisecond, func() bool {
		if err = p.ready(); err != nil && p.ended() {
			p.kill()
			p.launch()
		}
		return err == nil
	}) {
		p.t.Fatalf("%s cannot be used: %v; it said: %s", p.name, err, p.said())
	}
}

func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// kill is kill -9. It returns when the process is gone and all its lines were heard.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.gone
	p.cmd = nil
}

// end kills the process at the end of a test, and tells what it said if the test has failed.
func (p *process) end() {
	p.kill()
	if p.t.Failed() {
		p.t.Logf("%s: %s", p.name, p.said())
	}
}

// pause stops the process, as a machine does whose memory is exhausted, or whose
// virtual machine is moved.
func (p *process) pause() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// wake continues it.
func (p *process) wake() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// log is where the process writes what it has to say: -artifacts keeps it.
func (p *process) log() *os.File {
	f, err := os.OpenFile(p.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { f.Close() })
	return f
}

// said is the end of its log.
func (p *process) said() string {
	b, _ := os.ReadFile(p.logName()) // it is for an error
	return string(b[max(0, len(b)-2000):])
}

func (p *process) logName() string { return filepath.Join(p.t.ArtifactDir(), p.name+".log") }

// self returns a command that runs this program in a role.
func self(t testing.TB, role string, config any) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(encoded), "GOMAXPROCS=2")
	return cmd
}
