package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goldenFrame is a frame of testdata/wire.json, and what it means.
type goldenFrame struct {
	Name, Frame string
	Means       []struct {
		Case  string
		Lines []string
	}
}

func readGolden(t *testing.T) (g struct{ REN, Server []goldenFrame }) {
	t.Helper()
	b, err := os.ReadFile("../testdata/wire.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// stage is where the scripts of testdata/wire.json are played: a client and the
// server it is connected to. What the lines mean is in testdata/README.md.
type stage interface {
	dial()                          // the client connects
	greet()                         // the server says that all is well
	app(what string)                // the program uses the client
	say(frame string)               // the server says something,
	beat()                          // or only that it is there
	answer(op, frame string) string // the frame as the answer to the last operation of a kind
	attempts() int
	members() []string
	sent() []string // since it was asked before
}

// play plays a script.
type play struct {
	*testing.T
	*network
	stage
	frames map[string]string
	token  string

	mu    sync.Mutex
	told  []string
	state string
}

func (p *play) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, fmt.Sprintf(format, args...))
}

// heard returns what the program was told since it was asked before. Each loop
// is told of what ends them all, which counts as one.
func (p *play) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := p.told
	p.told = nil
	slices.Sort(told)
	kept := told[:0]
	for _, word := range told {
		if !strings.HasPrefix(word, "error ") || !slices.Contains(kept, word) {
			kept = append(kept, word)
		}
	}
	return kept
}

func (p *play) run(lines []string) {
	if !slices.Contains(lines, "dial") {
		p.dial()
		p.greet()
		synctest.Wait()
		p.sent()
	}
	for lines = p.expect("the beginning", lines); len(lines) > 0; {
		line := lines[0]
		p.act(line)
		synctest.Wait()
		lines = p.expect(line, lines[1:])
	}
}

// act does what one line says.
func (p *play) act(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "dial":
		p.dial()
	case "token":
		p.mu.Lock()
		p.token = rest
		p.mu.Unlock()
	case "app":
		p.app(rest)
	case "say":
		p.say(p.frame(rest))
	case "answer":
		op, frame, _ := strings.Cut(rest, " ")
		p.say(p.answer(op, p.frame(frame)))
	case "pass":
		for left := millis(rest); left > 0; left -= 20 * time.Second {
			time.Sleep(min(left, 20*time.Second))
			if left > 20*time.Second {
				p.beat()
			}
			synctest.Wait()
		}
	case "break":
		p.listen.Cut()
	case "cut":
		before := p.attempts()
		p.listen.Cut()
		for range 200 {
			if synctest.Wait(); p.attempts() == before {
				time.Sleep(100 * time.Millisecond)
			}
		}
		p.greet()
	case "wait":
		low, high, _ := strings.Cut(rest, " ")
		before := p.attempts()
		time.Sleep(millis(low) - time.Millisecond)
		if synctest.Wait(); p.attempts() > before {
			p.Errorf("%s: it came back sooner", line)
		}
		time.Sleep(millis(high) - millis(low) + 2*time.Millisecond)
		if synctest.Wait(); p.attempts() != before+1 {
			p.Errorf("%s: %d attempts", line, p.attempts()-before)
		}
	default:
		p.Fatalf("%q is no line of a script", line)
	}
}

func (p *play) frame(name string) string {
	text, ok := p.frames[name]
	if !ok {
		p.Fatalf("there is no frame %q", name)
	}
	return text
}

func millis(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return time.Duration(n) * time.Millisecond
}

// expect compares what has come of a line with the lines after it that say so, and
// returns the rest.
func (p *play) expect(line string, lines []string) []string {
	var sent, told []string
	state, roster := "", "-"
	for ; len(lines) > 0; lines = lines[1:] {
		if strings.HasPrefix(lines[0], "ts: ") {
			continue
		}
		next, own := strings.CutPrefix(lines[0], "go: ")
		verb, rest, _ := strings.Cut(next, " ")
		if !slices.Contains([]string{"sent", "told", "state", "roster"}, verb) {
			if own {
				p.Fatalf("%q: only what comes of a line may differ", lines[0])
			}
			break
		}
		switch verb {
		case "sent":
			sent = append(sent, rest)
		case "told":
			told = append(told, rest)
		case "state":
			state = rest
		case "roster":
			roster = rest
		}
	}
	slices.Sort(told)
	if diff := cmp.Diff(append(sent, told...), append(p.sent(), p.heard()...)); diff != "" {
		p.Errorf("after %q (-want +got):\n%s", line, diff)
	}
	if got := strings.Join(p.members(), " "); roster != "-" && got != roster {
		p.Errorf("the roster is %q, want %q", got, roster)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if state != "" && p.state != state {
		p.Errorf("the state is %q, want %q", p.state, state)
	}
	return lines
}

// perform plays all scripts of some frames.
func perform(t *testing.T, frames []goldenFrame, enter func(*play)) {
	texts := map[string]string{}
	for _, g := range frames {
		texts[g.Name] = g.Frame
	}
	for _, g := range frames {
		if len(g.Means) == 0 {
			t.Errorf("%s: a frame without a meaning", g.Name)
		}
		for _, m := range g.Means {
			bubble(t, g.Name+": "+m.Case, func(t *testing.T) {
				p := &play{T: t, frames: texts}
				enter(p)
				p.run(m.Lines)
				if t.Failed() {
					t.Log(strings.Join(m.Lines, "\n"))
				}
			})
		}
	}
}

func compact(data json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return err.Error()
	}
	return b.String()
}
