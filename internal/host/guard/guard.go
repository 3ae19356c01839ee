// Package guard calls functions that are not the library's: the host's handlers,
// policy and callbacks, and the middlewares around its requests. A panic in one of
// them must end what it was called for, and nothing else.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// ErrPanic is what every [*Panic] matches.
var ErrPanic = errors.New("panic")

// Panic is the error of a function that has panicked.
type Panic struct {
	Value any    // of the panic
	Stack []byte // of its goroutine
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Is reports whether target is [ErrPanic].
func (p *Panic) Is(target error) bool { return target == ErrPanic }

// Unwrap returns the value of the panic, if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Call calls f. If f panics, the error is a [*Panic]; otherwise it is f's. A [*Panic]
// that f panics with is passed on as it is. A f that ends its goroutine ends that of
// the caller.
func Call(f func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *Panic: // which somebody has passed on
			err = v
		default:
			err = &Panic{v, debug.Stack()}
		}
	}()
	return f()
}

// Log is Call that logs a panic as an error, with message, attrs, the value and the
// stack.
func Log(log *slog.Logger, message string, f func() error, attrs ...any) error {
	err := Call(f)
	if err == nil {
		return nil // without looking for a panic, which allocates
	}
	if p := (*Panic)(nil); errors.As(err, &p) {
		log.Error(message, append(attrs, "panic", p.Value, "stack", string(p.Stack))...)
	}
	return err
}
