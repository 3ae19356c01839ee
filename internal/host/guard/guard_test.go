package guard

import (
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
)

// A panic is an error, with its value and the stack of where it was; all else is as
// it was without a guard.
func TestCall(t *testing.T) {
	if err := Call(func() error { return nil }); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := Call(func() error { return io.EOF }); err != io.EOF {
		t.Errorf("of an error: %v", err)
	}
	for _, value := range []any{"oops", 42, io.EOF, errors.New("e")} {
		err := Call(func() error { panic(value) })
		var p *Panic
		if !errors.As(err, &p) || !errors.Is(err, ErrPanic) || p.Value != value || !strings.Contains(string(p.Stack), "TestCall") {
			t.Errorf("of %v: %v", value, err)
		}
		if _, isErr := value.(error); isErr != errors.Is(err, io.EOF) && value == io.EOF {
			t.Errorf("%v is not what was panicked with", err)
		}
	}
	if err := Call(func() error { panic(nil) }); !errors.Is(err, ErrPanic) {
		t.Errorf("of nil: %v", err)
	}
	first := Call(func() error { panic("oops") })
	if err := Call(func() error { panic(first) }); err != first {
		t.Errorf("of a panic that is passed on: %v", err)
	}
	went := make(chan bool, 1)
	go func() {
		defer close(went)
		_ = Call(func() error { runtime.Goexit(); return nil })
		went <- true
	}()
	if <-went {
		t.Error("a goroutine that was to end goes on")
	}
}

func TestLog(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	if err := Log(log, "it failed", func() error { return io.EOF }, "who", "ada"); err != io.EOF || out.Len() > 0 {
		t.Errorf("%v, and it logs %q", err, out.String())
	}
	err := Log(log, "it failed", func() error { panic("oops") }, "who", "ada")
	for _, want := range []string{"level=ERROR", `msg="it failed"`, "who=ada", "panic=oops", "TestLog"} {
		if !errors.Is(err, ErrPanic) || !strings.Contains(out.String(), want) {
			t.Errorf("%v, and it logs %q, without %s", err, out.String(), want)
		}
	}
}
