// Package run measures targets in turns.
package run

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime/bench/internal/load"
	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

// Target is a server to be measured.
type Target struct {
	Name    string
	Ref     string       // the target that it is compared with
	Skip    string       // tests that make no sense for it
	Only    string       // the only test that does; "": all but beat
	Burst   int          // the only size of bursts that is measured; 0: all
	As      string       // whose results its own are; "": its own
	Install func() error // what it needs, before all tests; nil: nothing. An error skips the target
	Serve   func()       // in a process of its own; does not return
}

// Channel is the one that all subscribe to, where it is one.
const Channel = "bench"

// Plan says what is measured.
type Plan struct {
	Tests      []string
	Rounds     int
	Within     time.Duration // a round that would take longer than what is left of it is not begun; 0: all are
	Sizes      []int         // fan: numbers of subscribers
	Slope      [2]int        // mem: connections, between which the memory of each is taken
	Many       int           // many: connections, each with a channel of its own
	Connects   int           // conn: connections
	Beating    int           // beat: connections
	Deliveries int           // fan: that are measured, one at a time; of bursts four times as many. many: a third of the messages that nobody follows, at most

	Progress func(format string, args ...any) // is told how long it takes; nil: nobody is
}

// The tests of memory, and of heartbeats.
const (
	memory = "mem"
	beat   = "beat"
)

var allTests = []string{"fan", memory, "many", "conn", beat}

// steady has the tests of which so many rounds are enough.
var steady = map[string]int{memory: 2, beat: 1}

// Beat is the interval of heartbeats of the targets that are measured with them: the
// default of this library.
const Beat = 25 * time.Second

// Main is the program. The targets run as processes of the same program.
func Main(targets []Target) {
	log.SetFlags(0)
	tests := flag.String("tests", strings.Join(allTests, ","), "tests to run")
	which := flag.String("targets", "*", "names of targets, or what they begin with and *, separated by commas")
	rounds := flag.Int("rounds", 5, "how often everything is measured, in turns")
	within := flag.Duration("within", 0, "begin no round that would not end within this time; 0 for as long as it takes")
	out := flag.String("out", "", "file to which results are appended")
	against := flag.String("against", "", "another build of this program: say how much more a delivery costs in this one")
	docs := flag.String("docs", "", "directory: put the results of the files that are named into its performance.md")
	serve := flag.String("serve", "", "be this target")
	flag.Parse()
	switch {
	case *serve != "":
		Serve(targets, *serve)
	case *docs != "":
		if err := document(*docs, flag.Args()); err != nil {
			log.Fatal(err)
		}
	case *against != "":
		pin()
		if err := compare(os.Stdout, choose(targets, *which), *against); err != nil {
			log.Fatal(err)
		}
	default:
		w := io.Writer(os.Stdout)
		if *out != "" {
			f, err := os.OpenFile(*out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				log.Fatal(err)
			}
			w = io.MultiWriter(w, f)
		}
		plan := Plan{
			Tests: strings.Split(*tests, ","), Rounds: *rounds, Within: *within,
			Sizes: []int{100, 1000, 5000}, Slope: [2]int{1000, 9000}, Many: 10_000, Connects: 5000,
			Beating: 5000, Deliveries: 100_000,
		}
		plan.Progress = log.Printf
		pin()
		if err := plan.Run(w, choose(targets, *which)); err != nil {
			log.Fatal(err)
		}
	}
}

// Serve is the target of that name. It does not return.
func Serve(targets []Target, name string) {
	for _, t := range targets {
		if t.Name == name {
			t.Serve()
		}
	}
	log.Fatalf("no target %s", name)
}

func choose(targets []Target, which string) (list []Target) {
	for _, t := range targets {
		if slices.ContainsFunc(strings.Split(which, ","), func(w string) bool {
			begin, more := strings.CutSuffix(w, "*")
			return w == t.Name || more && strings.HasPrefix(t.Name, begin)
		}) {
			list = append(list, t)
		}
	}
	return list
}

// Run measures targets, and writes a line for each result.
func (p *Plan) Run(w io.Writer, targets []Target) error {
	for _, test := range p.Tests {
		if !slices.Contains(allTests, test) {
			return fmt.Errorf("no test %s", test)
		}
	}
	targets = p.install(targets)
	if len(targets) == 0 {
		return errors.New("no target is left")
	}
	began := time.Now()
	p.say("This takes about %v on a machine that does nothing else.", p.estimate(targets, 0).Round(time.Minute))
	for round := range p.Rounds {
		if err := p.round(w, targets, round); err != nil {
			return err
		}
		took := time.Since(began)
		// As much slower than the estimate as it has been so far.
		whole, left := p.estimate(targets, 0), p.estimate(targets, round+1)
		left = time.Duration(float64(left) * float64(took) / float64(whole-left))
		p.say("Round %d of %d is done after %v; about %v are left.", round+1, p.Rounds, took.Round(time.Second), left.Round(time.Minute))
		if rounds := p.Rounds - round - 1; p.Within > 0 && rounds > 0 && took+left/time.Duration(rounds) > p.Within {
			p.say("Another round would not end within %v.", p.Within)
			break
		}
	}
	return nil
}

// install installs what targets need, and returns those that can run.
func (p *Plan) install(targets []Target) (list []Target) {
	for _, t := range targets {
		if t.Install != nil {
			if err := t.Install(); err != nil {
				p.say("SKIPPED: %s: %v", t.Name, err)
				continue
			}
		}
		list = append(list, t)
	}
	return list
}

func (p *Plan) say(format string, args ...any) {
	if p.Progress != nil {
		p.Progress(format, args...)
	}
}

// round measures targets in turns.
func (p *Plan) round(w io.Writer, targets []Target, round int) error {
	for _, test := range p.Tests {
		for _, t := range targets {
			if !t.has(test, round) {
				continue
			}
			if err := p.measure(t, test, func(r Result) {
				r.Round, r.Target, r.Ref, r.Test, r.Load = round, cmp.Or(t.As, t.Name), t.Ref, test, loadAverage()
				line, _ := json.Marshal(r) // strings and numbers
				fmt.Fprintln(w, string(line))
			}); err != nil {
				return fmt.Errorf("%s of %s: %w", test, t.Name, err)
			}
		}
	}
	return nil
}

// has reports whether a test of a target is part of a round. Those of heartbeats and of
// memory are long, and differ little from one time to the next: they are part of the first
// rounds only.
func (t *Target) has(test string, round int) bool {
	if rounds, ok := steady[test]; ok && round >= rounds {
		return false
	}
	if test == beat {
		return t.Only == test
	}
	return t.Skip != test && (t.Only == "" || t.Only == test)
}

// estimate returns about how long the rounds from one on take, from what tests took on a
// machine with 2 CPUs.
func (p *Plan) estimate(targets []Target, from int) (sum time.Duration) {
	each := map[string]time.Duration{
		"fan": time.Duration(len(p.Sizes)) * 3500 * time.Millisecond, memory: 7 * time.Second, "many": 8 * time.Second,
		"conn": 2 * time.Second, beat: Beat + 5*time.Second,
	}
	for round := from; round < p.Rounds; round++ {
		for _, test := range p.Tests {
			for _, t := range targets {
				if t.has(test, round) {
					sum += each[test]
				}
			}
		}
	}
	return sum
}

// server is a target that runs.
type server struct {
	cmd    *exec.Cmd
	client *load.Client
}

// start starts a target of this program, and a client for it.
func start(t Target, channels int) (*server, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startOf(program, t, channels)
}

// startOf starts a target of another build of this program.
func startOf(program string, t Target, channels int) (*server, error) {
	args := []string{program, "-serve", t.Name}
	if pin, err := exec.LookPath("taskset"); err == nil {
		args = append([]string{pin, "-c", "0"}, args...)
	}
	s := &server{cmd: exec.Command(args[0], args[1:]...)}
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	var spec target.Spec
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &spec)
	}
	if err == nil {
		s.client, err = load.New(spec)
	}
	if err == nil {
		_, err = s.client.Do(patience, "prep %d", channels)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it is, or has ended
	_ = s.cmd.Wait()
	if s.client != nil {
		s.client.Close()
	}
}

func (s *server) stats(how string) (st target.Stats, err error) {
	reply, err := s.client.Do(patience, "%s", how)
	if err == nil {
		err = json.Unmarshal([]byte(reply), &st)
	}
	return st, err
}

const (
	patience = 60 * time.Second
	nap      = 100 * time.Microsecond
)
