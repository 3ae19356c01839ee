package progress

import (
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// A goroutine that waits for the floor is told of everything that moves it.
func TestMoved(t *testing.T) {
	for name, move := range map[string]func(*Tracker){
		"Read":             func(tr *Tracker) { tr.Done(at(1)); tr.Done(at(2)); tr.Read(at(9)) },
		"Done":             func(tr *Tracker) { tr.Done(at(1)) },
		"Evict":            func(tr *Tracker) { tr.Evict(at(1)) },
		"Restart":          func(tr *Tracker) { tr.Restart(at(5)) },
		"Done after Evict": func(tr *Tracker) { tr.Evict(at(1)); tr.Done(at(1)) },
	} {
		tr := New(at(0))
		tr.Begin(at(1))
		tr.Begin(at(2))
		tr.Read(at(2))
		closed := func(moved <-chan struct{}) bool {
			select {
			case <-moved:
				return true
			default:
				return false
			}
		}
		moved := tr.Advanced()
		if closed(moved) {
			t.Errorf("%s: told before", name)
		}
		if move(tr); !closed(moved) {
			t.Errorf("%s: not told", name)
		}
	}
	tr := New(at(0))
	moved := tr.Advanced()
	tr.Read(at(1)) // where nothing was begun
	select {
	case <-moved:
	default:
		t.Error("Read alone: not told")
	}
}

// A commit learns what is new, and nothing else.
func TestWorked(t *testing.T) {
	tr := New(at(0))
	tr.Begin(at(1))
	tr.Begin(at(2))
	tr.Begin(at(3))
	tr.Read(at(3))
	told := func() bool {
		select {
		case <-tr.Changed():
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		what string
		do   func()
		want bool
	}{
		{"nothing", func() {}, false},
		{"a failure", func() { tr.Failed(at(2), 1) }, true},
		{"the end of one", func() { tr.Done(at(2)) }, true},
		{"the same again", func() { tr.Done(at(2)) }, false},
		{"a failure in another epoch", func() { tr.Failed(backend.Position{Epoch: 2, Seq: 3}, 1) }, false},
		{"one that is let go", func() { tr.Evict(at(1)); tr.Failed(at(1), 1); tr.Done(at(1)) }, false},
	} {
		if c.do(); told() != c.want {
			t.Errorf("%s: told %v", c.what, !c.want)
		}
	}
	p, _ := tr.Delta()
	if p.Failed != nil {
		t.Errorf("nothing has failed in the end: %v", p.Failed)
	}
}
